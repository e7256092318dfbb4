#include "dataset/dataset.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <random>

#include <fmt/format.h>

#include "dataset/cifar10_dataset.h"
#include "dataset/image_folder.h"

namespace tarn::dataset {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBatchPrefix = "data_batch_";

/// The number behind data_batch_, or nothing.
std::optional<uint32_t> batch_number(std::string_view name) {
  if (!name.starts_with(kBatchPrefix)) return std::nullopt;
  name.remove_prefix(kBatchPrefix.size());
  uint32_t number = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || stop != name.data() + name.size()) return std::nullopt;
  return number;
}

Result<Cifar10Paths> find_batches(const std::string& folder) {
  std::vector<std::pair<uint32_t, std::string>> train;
  Cifar10Paths out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (const auto number = batch_number(name)) {
      train.emplace_back(*number, it->path().string());
    } else if (name == "test_batch") {
      out.test.push_back(it->path().string());
    } else if (name == "batches.meta") {
      out.meta = it->path().string();
    }
  }
  if (error) return errno_status(error.value(), fmt::format("list '{}'", folder));
  std::sort(train.begin(), train.end());
  for (auto& [number, path] : train) out.train.push_back(std::move(path));
  return out;
}

/// One of `paths`, with a chance proportional to its size; files that have no size have none.
const std::string& choose_by_size(const std::vector<std::string>& paths, uint64_t seed) {
  std::vector<uint64_t> ends;
  uint64_t total = 0;
  for (const std::string& path : paths) {
    std::error_code error;
    const uint64_t size = fs::file_size(path, error);
    ends.push_back(total += error ? 0 : size);
  }
  if (total == 0) return paths.front();
  std::mt19937_64 random(seed);
  const uint64_t at = random() % total;
  const auto chosen = std::ranges::upper_bound(ends, at) - ends.begin();
  return paths[static_cast<size_t>(chosen)];
}

}  // namespace

std::string_view split_name(Split split) {
  return split == Split::kTrain ? "train" : "test";
}

std::string class_name(const Dataset& dataset, uint32_t label) {
  const auto& names = dataset.class_names();
  return label < names.size() ? names[label] : std::to_string(label);
}

Result<Cifar10Paths> find_cifar10(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) return Status(Code::kNotFound, fmt::format("no '{}'", path));
  if (!fs::is_directory(status)) {
    Cifar10Paths out;
    const bool is_test = fs::path(path).filename() == "test_batch";
    (is_test ? out.test : out.train).push_back(path);
    const std::string beside = (fs::path(path).parent_path() / "batches.meta").string();
    if (fs::exists(beside, error)) out.meta = beside;
    return out;
  }
  TARN_ASSIGN(Cifar10Paths here, find_batches(path));
  const std::string below = (fs::path(path) / "cifar-10-batches-py").string();
  if (!here.is_empty() || !fs::is_directory(below, error)) return here;
  return find_batches(below);
}

Result<std::unique_ptr<Dataset>> open_dataset(const std::string& path) {
  TARN_ASSIGN(const Cifar10Paths cifar, find_cifar10(path));
  if (!cifar.is_empty()) return open_cifar10(cifar);
  TARN_ASSIGN(std::unique_ptr<Dataset> folder, open_image_folder(path));
  if (folder) return folder;
  return Status(Code::kBadFormat,
                fmt::format("no data set in '{}': neither data_batch_N or test_batch (CIFAR-10) "
                            "nor CLASS/*.png or *.jpg",
                            path));
}

Result<std::unique_ptr<Dataset>> open_sample(const std::string& path, uint64_t count,
                                             uint64_t seed) {
  TARN_ASSIGN(const Cifar10Paths cifar, find_cifar10(path));
  if (cifar.train.size() < 2) return open_dataset(path);
  // Another sequence than the one that draws the items.
  const std::string& one = choose_by_size(cifar.train, ~seed);
  TARN_ASSIGN(auto sample, open_cifar10({.train = {one}, .test = {}, .meta = cifar.meta}));
  if (sample->count() >= count) return sample;
  return open_cifar10(cifar);
}

}  // namespace tarn::dataset
