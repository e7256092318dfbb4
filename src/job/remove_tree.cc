#include "job/remove_tree.h"

#include <filesystem>
#include <vector>

#include <fmt/format.h>

namespace tarn::job {
namespace {

namespace stdfs = std::filesystem;

/// Lets the owner into every directory. What fails shows when the tree is removed.
void open_directories(const stdfs::path& top) {
  std::vector<stdfs::path> left = {top};
  while (!left.empty()) {
    const stdfs::path directory = std::move(left.back());
    left.pop_back();
    std::error_code ignored;
    stdfs::permissions(directory, stdfs::perms::owner_all, stdfs::perm_options::add, ignored);
    std::error_code error;
    for (stdfs::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
      if (stdfs::is_directory(at->symlink_status(ignored))) left.push_back(at->path());
    }
  }
}

}  // namespace

Status remove_tree(const std::string& path) {
  std::error_code error;
  stdfs::remove_all(path, error);
  if (error == std::errc::permission_denied) {
    open_directories(path);
    error.clear();
    stdfs::remove_all(path, error);
  }
  if (!error) return {};
  return errno_status(error.value(), fmt::format("remove '{}'", path));
}

}  // namespace tarn::job
