// The hygiene of a data set: how many images of which class, and which are there twice.
//
// Duplicates are exact: the same stored bytes, by MD5 (good against accident, not against malice).
// Copies that stand in train and in test make an accuracy too good; copies with different labels
// are mistakes of somebody. Thread rules: plain values; make_report uses several threads.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "dataset/dataset.h"

namespace tarn::dataset {

struct SplitReport {
  uint64_t count = 0;
  std::vector<uint64_t> by_label;  // as many as the data set has labels
};

/// Items with the same bytes.
struct DuplicateGroup {
  std::vector<uint64_t> items;
  bool has_train = false, has_test = false;
  bool has_different_labels = false;
};

struct DatasetReport {
  std::array<SplitReport, 2> splits;  // by Split
  uint64_t labels = 0;                // labels are below this
  /// Copies beyond the first within a split.
  uint64_t duplicates_train = 0, duplicates_test = 0;
  /// Test items whose bytes are in train too.
  uint64_t duplicates_across = 0;
  uint64_t groups = 0, groups_with_different_labels = 0;
  std::vector<DuplicateGroup> examples;  // the first kExamplesMax groups

  const SplitReport& split(Split which) const { return splits[static_cast<size_t>(which)]; }
};

inline constexpr size_t kExamplesMax = 20;

/// Reads every item once.
Result<DatasetReport> make_report(const Dataset& dataset);

}  // namespace tarn::dataset
