#include "dataset/report.h"

#include <algorithm>
#include <optional>

#include "dataset/parallel.h"

namespace tarn::dataset {
namespace {

// Items a thread hashes at a time: 12 MB of CIFAR-10.
constexpr uint64_t kItemsAtOnce = 4096;

struct Key {
  std::array<std::byte, 16> md5;
  uint64_t item;
};

Result<std::vector<Key>> read_keys(const Dataset& dataset) {
  std::vector<Key> keys(dataset.count());
  const uint64_t chunks = (keys.size() + kItemsAtOnce - 1) / kItemsAtOnce;
  std::vector<Status> failures(chunks);
  parallel_for(chunks, io_threads(), [&](size_t chunk) {
    const uint64_t first = chunk * kItemsAtOnce;
    const auto digests =
        dataset.digests(first, std::min<uint64_t>(kItemsAtOnce, keys.size() - first));
    if (!digests.is_ok()) {
      failures[chunk] = digests.status();
      return;
    }
    for (size_t i = 0; i < digests->size(); ++i) {
      Key& key = keys[first + i];
      std::ranges::copy((*digests)[i].bytes(), key.md5.begin());
      key.item = first + i;
    }
  });
  for (const Status& failure : failures) TARN_TRY(failure);
  return keys;
}

void count_labels(const Dataset& dataset, DatasetReport& report) {
  report.labels = dataset.class_names().size();
  for (uint64_t i = 0; i < dataset.count(); ++i) {
    report.labels = std::max<uint64_t>(report.labels, uint64_t{dataset.label(i)} + 1);
  }
  for (SplitReport& split : report.splits) split.by_label.assign(report.labels, 0);
  for (uint64_t i = 0; i < dataset.count(); ++i) {
    SplitReport& split = report.splits[static_cast<size_t>(dataset.split(i))];
    ++split.count;
    ++split.by_label[dataset.label(i)];
  }
}

void add_group(const Dataset& dataset, std::span<const Key> same, DatasetReport& report) {
  DuplicateGroup group;
  uint64_t train = 0, test = 0;
  for (const Key& key : same) {
    group.items.push_back(key.item);
    ++(dataset.split(key.item) == Split::kTrain ? train : test);
    if (dataset.label(key.item) != dataset.label(same.front().item)) {
      group.has_different_labels = true;
    }
  }
  group.has_train = train > 0;
  group.has_test = test > 0;
  report.duplicates_train += train > 0 ? train - 1 : 0;
  report.duplicates_test += test > 0 ? test - 1 : 0;
  if (group.has_train) report.duplicates_across += test;
  ++report.groups;
  if (group.has_different_labels) ++report.groups_with_different_labels;
  report.examples.push_back(std::move(group));
}

}  // namespace

Result<DatasetReport> make_report(const Dataset& dataset) {
  DatasetReport report;
  count_labels(dataset, report);
  TARN_ASSIGN(std::vector<Key> keys, read_keys(dataset));
  std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
    return a.md5 != b.md5 ? a.md5 < b.md5 : a.item < b.item;
  });
  for (size_t begin = 0; begin < keys.size();) {
    size_t end = begin + 1;
    while (end < keys.size() && keys[end].md5 == keys[begin].md5) ++end;
    if (end - begin > 1) add_group(dataset, std::span(keys).subspan(begin, end - begin), report);
    begin = end;
  }
  // By place, not by digest: what people look for is the first of them.
  std::sort(report.examples.begin(), report.examples.end(),
            [](const auto& a, const auto& b) { return a.items.front() < b.items.front(); });
  if (report.examples.size() > kExamplesMax) report.examples.resize(kExamplesMax);
  return report;
}

}  // namespace tarn::dataset
