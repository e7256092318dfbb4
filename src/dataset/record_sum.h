// The sum of every record byte of a CIFAR-10 data set.
//
// The cheapest work that needs every byte: it proves that all records were unpickled and read, and
// the sum can be compared with what any other reader finds. Runs at the speed of the disk: several
// threads, each with its next chunk asked for ahead. Thread rules: thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace tarn::dataset {

struct FileSum {
  std::string path;
  uint64_t records = 0;
  uint64_t record_bytes = 0;
  uint64_t sum = 0;
};

struct RecordSum {
  std::vector<FileSum> files;  // train first, then test
  uint64_t records = 0, record_bytes = 0, sum = 0;
  std::vector<uint64_t> labels;  // how often each label occurs
};

/// The sum of the bytes as unsigned numbers.
uint64_t sum_bytes(std::span<const std::byte> bytes);
/// NotFound when there is no CIFAR-10 data set (or batch file) at `path`.
Result<RecordSum> sum_records(const std::string& path);

}  // namespace tarn::dataset
