#include "dataset/image_folder.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "dataset/mapped_file.h"
#include "digest/md5_lanes.h"

namespace tarn::dataset {
namespace {

namespace fs = std::filesystem;

// Files whose digests are taken together: as many as there are lanes.
constexpr size_t kFilesOpenMax = 64;

struct Item {
  std::string relative;  // to the folder
  Split split;
  uint32_t label;
};

class ImageFolder : public Dataset {
 public:
  ImageFolder(std::string top, std::vector<Item> items, std::vector<std::string> class_names)
      : top_(std::move(top)), items_(std::move(items)), class_names_(std::move(class_names)) {}

  std::string_view format() const override { return "image-folder"; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  uint64_t count() const override { return items_.size(); }
  Split split(uint64_t i) const override { return items_[i].split; }
  uint32_t label(uint64_t i) const override { return items_[i].label; }
  std::string location(uint64_t i) const override { return items_[i].relative; }
  Result<Image> image(uint64_t i) const override {
    const std::string path = top_ + "/" + items_[i].relative;
    TARN_ASSIGN(const MappedFile file, MappedFile::open(path));
    auto image = decode_image(file.bytes());
    if (!image.is_ok()) return image.status().with_context(path);
    return image;
  }
  Result<std::vector<digest::Digest>> digests(uint64_t first, uint64_t count) const override {
    std::vector<digest::Digest> out;
    for (uint64_t begin = first; begin < first + count; begin += kFilesOpenMax) {
      const uint64_t end = std::min(begin + kFilesOpenMax, first + count);
      std::vector<UniqueFd> files;
      std::vector<digest::FileRange> ranges;
      for (uint64_t i = begin; i < end; ++i) {
        const std::string path = top_ + "/" + items_[i].relative;
        TARN_ASSIGN(UniqueFd file, open_at(AT_FDCWD, path, O_RDONLY));
        std::error_code error;
        const uint64_t size = fs::file_size(path, error);
        if (error) return errno_status(error.value(), fmt::format("size of '{}'", path));
        ranges.push_back({file.get(), 0, size});
        files.push_back(std::move(file));
      }
      for (const auto& digest : digest::md5_files(ranges)) {
        if (!digest.is_ok()) return digest.status().with_context(top_);
        out.push_back(*digest);
      }
    }
    return out;
  }

 private:
  std::string top_;
  std::vector<Item> items_;
  std::vector<std::string> class_names_;
};

/// The names in a folder that `is_wanted`, sorted.
template <class Wanted>
Result<std::vector<std::string>> names_in(const std::string& folder, const Wanted& is_wanted) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (is_wanted(*it)) out.push_back(it->path().filename().string());
  }
  if (error) return errno_status(error.value(), fmt::format("list '{}'", folder));
  std::sort(out.begin(), out.end());
  return out;
}

bool is_folder(const fs::directory_entry& entry) {
  std::error_code error;
  return entry.is_directory(error) && !entry.path().filename().string().starts_with('.');
}

bool is_image(const fs::directory_entry& entry) {
  std::error_code error;
  std::string suffix = entry.path().extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return (suffix == ".png" || suffix == ".jpg" || suffix == ".jpeg") &&
         entry.is_regular_file(error);
}

/// A folder of class folders, relative to the top ("" for the top itself).
struct Part {
  std::string prefix;
  Split split;
};

Result<std::vector<Part>> find_parts(const std::string& path) {
  TARN_ASSIGN(const std::vector<std::string> folders, names_in(path, is_folder));
  std::vector<Part> parts;
  const auto has = [&](const char* name) { return std::ranges::count(folders, name) > 0; };
  if (has("train")) {
    parts.push_back({"train/", Split::kTrain});
    for (const char* name : {"test", "val", "valid"}) {
      if (has(name)) parts.push_back({std::string(name) + "/", Split::kTest});
    }
  } else {
    parts.push_back({"", Split::kTrain});
  }
  return parts;
}

}  // namespace

Result<std::unique_ptr<Dataset>> open_image_folder(const std::string& path) {
  TARN_ASSIGN(const std::vector<Part> parts, find_parts(path));
  std::set<std::string> classes;
  std::vector<std::vector<std::string>> classes_of_part;
  for (const Part& part : parts) {
    TARN_ASSIGN(auto names, names_in(path + "/" + part.prefix, is_folder));
    classes.insert(names.begin(), names.end());
    classes_of_part.push_back(std::move(names));
  }
  std::vector<std::string> class_names(classes.begin(), classes.end());
  std::vector<Item> items;
  for (size_t p = 0; p < parts.size(); ++p) {
    for (const std::string& name : classes_of_part[p]) {
      const std::string folder = parts[p].prefix + name;
      TARN_ASSIGN(const auto files, names_in(path + "/" + folder, is_image));
      const auto label = std::ranges::lower_bound(class_names, name) - class_names.begin();
      for (const std::string& file : files) {
        items.push_back({folder + "/" + file, parts[p].split, static_cast<uint32_t>(label)});
      }
    }
  }
  if (items.empty()) return std::unique_ptr<Dataset>();
  return std::unique_ptr<Dataset>(
      std::make_unique<ImageFolder>(path, std::move(items), std::move(class_names)));
}

}  // namespace tarn::dataset
