#include "dataset/cifar10_dataset.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "dataset/parallel.h"
#include "digest/md5_lanes.h"

namespace tarn::dataset {
namespace {

// Where a batch has its structure: labels before the rows, names after them (10,000 of at most 30
// bytes). Only these parts are read to open a data set.
constexpr uint64_t kHeadBytes = 64 * 1024, kTailBytes = 512 * 1024;

struct BatchFile : Cifar10File {
  explicit BatchFile(Cifar10File opened) : Cifar10File(std::move(opened)) {}
  void prefetch_rows(uint64_t begin, uint64_t count) const {
    file.prefetch(batch.data().subspan(begin * kCifarRowBytes, count * kCifarRowBytes));
  }
  std::string name = std::filesystem::path(path).filename().string();
  uint64_t first = 0;
};

class Cifar10Dataset : public Dataset {
 public:
  Cifar10Dataset(std::vector<BatchFile> files, std::vector<std::string> class_names)
      : files_(std::move(files)), class_names_(std::move(class_names)) {
    for (BatchFile& file : files_) {
      file.first = count_;
      count_ += file.batch.count();
    }
  }

  std::string_view format() const override { return "cifar10"; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  uint64_t count() const override { return count_; }
  Split split(uint64_t i) const override { return file_of(i).split; }
  uint32_t label(uint64_t i) const override {
    const BatchFile& file = file_of(i);
    return file.batch.labels()[i - file.first];
  }
  Result<Image> image(uint64_t i) const override {
    const BatchFile& file = file_of(i);
    return file.batch.image(i - file.first);
  }
  std::string location(uint64_t i) const override {
    const BatchFile& file = file_of(i);
    return fmt::format("{}[{}]", file.name, i - file.first);
  }
  Result<std::vector<digest::Digest>> digests(uint64_t first, uint64_t count) const override {
    std::vector<std::span<const std::byte>> rows;
    rows.reserve(count);
    for (uint64_t i = first; i < first + count; ++i) {
      const BatchFile& file = file_of(i);
      rows.push_back(file.batch.row(i - file.first));
    }
    prefetch(first, count);
    return digest::md5_many(rows);
  }

 private:
  void prefetch(uint64_t first, uint64_t count) const {
    for (const BatchFile& file : files_) {
      const uint64_t begin = std::max(first, file.first);
      const uint64_t end = std::min(first + count, file.first + file.batch.count());
      if (begin >= end) continue;
      file.prefetch_rows(begin - file.first, end - begin);
    }
  }
  const BatchFile& file_of(uint64_t i) const {
    const auto after =
        std::upper_bound(files_.begin(), files_.end(), i,
                         [](uint64_t item, const BatchFile& file) { return item < file.first; });
    return *std::prev(after);
  }

  std::vector<BatchFile> files_;
  std::vector<std::string> class_names_;
  uint64_t count_ = 0;
};

Result<Cifar10File> open_batch(const std::string& path, Split split) {
  TARN_ASSIGN(MappedFile file, MappedFile::open(path, Access::kPrefetched));
  const uint64_t size = file.bytes().size();
  file.prefetch(0, kHeadBytes);
  file.prefetch(size - std::min(size, kTailBytes), kTailBytes);
  auto batch = Cifar10Batch::parse(file.bytes());
  if (!batch.is_ok()) return batch.status().with_context(path);
  return Cifar10File{path, split, std::move(file), std::move(batch).value()};
}

}  // namespace

Result<std::vector<Cifar10File>> open_cifar10_files(const Cifar10Paths& paths) {
  const size_t count = paths.train.size() + paths.test.size();
  std::vector<std::optional<Result<Cifar10File>>> opened(count);
  parallel_for(count, io_threads(), [&](size_t i) {
    const size_t trains = paths.train.size();
    opened[i] = i < trains ? open_batch(paths.train[i], Split::kTrain)
                           : open_batch(paths.test[i - trains], Split::kTest);
  });
  std::vector<Cifar10File> out;
  out.reserve(count);
  for (auto& each : opened) {
    TARN_ASSIGN(Cifar10File file, std::move(*each));
    out.push_back(std::move(file));
  }
  return out;
}

Result<std::unique_ptr<Dataset>> open_cifar10(const Cifar10Paths& paths) {
  TARN_ASSIGN(std::vector<Cifar10File> opened, open_cifar10_files(paths));
  std::vector<BatchFile> files;
  for (Cifar10File& file : opened) {
    // An empty batch would share its first number with the next one.
    if (file.batch.count() > 0) files.emplace_back(std::move(file));
  }
  std::vector<std::string> names;
  if (paths.meta) {
    TARN_ASSIGN(const MappedFile file, MappedFile::open(*paths.meta));
    auto meta = Cifar10Meta::parse(file.bytes());
    if (!meta.is_ok()) return meta.status().with_context(*paths.meta);
    names = std::move(meta->label_names);
  }
  return std::unique_ptr<Dataset>(
      std::make_unique<Cifar10Dataset>(std::move(files), std::move(names)));
}

}  // namespace tarn::dataset
