// Writes CIFAR-10's pickles as Python 2's cPickle wrote them: protocol 2, byte strings.
//
// Byte by byte what the original archive's files have: SHORT_BINSTRING and BINSTRING, memo entries
// from 1 on, lists in groups of 1,000, the array by numpy.core.multiarray._reconstruct with its
// bytes in one BINSTRING. Every Python with numpy reads it (Python 3 with encoding='bytes' or
// 'latin1'). The rows are filled in place, so that nothing is copied. Thread rules: plain
// functions and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tarn::dataset {

struct BatchContent {
  std::string batch_label;
  std::vector<uint8_t> labels;
  std::vector<std::string> filenames;  // one a label
  uint64_t row_bytes = 3072;
  /// Writes all rows; called once.
  std::function<void(std::span<std::byte> rows)> fill_rows;
};

/// The file of a batch.
std::string pickle_batch(const BatchContent& content);
/// The file batches.meta.
std::string pickle_meta(uint64_t cases_per_batch, std::span<const std::string_view> label_names,
                        uint64_t num_vis);

}  // namespace tarn::dataset
