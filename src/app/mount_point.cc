#include "app/mount_point.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>

#include "app/root_setup.h"
#include "base/file.h"
#include "mount/mount_point.h"

namespace tarn::app {
namespace {

constexpr const char* kDevice = "/dev/fuse";

Result<std::string> without_links(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) return last_errno(fmt::format("'{}'", path));
  return std::string(resolved);
}

Status check_is_empty(const std::string& directory) {
  struct stat info{};
  if (stat(directory.c_str(), &info) != 0) return last_errno(fmt::format("'{}'", directory));
  if (!S_ISDIR(info.st_mode))
    return {Code::kNotDirectory, fmt::format("'{}' is not a directory", directory)};
  const auto closer = [](DIR* d) { closedir(d); };
  const std::unique_ptr<DIR, decltype(closer)> folder(opendir(directory.c_str()), closer);
  if (folder == nullptr) return last_errno(fmt::format("open '{}'", directory));
  while (const dirent* entry = readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    return {Code::kNotEmpty,
            fmt::format("'{}' is not empty (it holds '{}'): a mount would hide that; choose an "
                        "empty directory",
                        directory, name)};
  }
  return {};
}

}  // namespace

Status check_fuse_device() {
  const auto device = open_at(AT_FDCWD, kDevice, O_RDWR);
  if (device.is_ok()) return {};
  const char* help =
      device.is(Code::kAccessDenied)
          ? "this user may not open it: as root, chmod 666 /dev/fuse"
          : "this machine offers no FUSE: as root, modprobe fuse; for a container, --device "
            "/dev/fuse";
  return {device.code(),
          fmt::format("no mount without {}: {}. Without --mount, S3 and jobs work; the channels of "
                      "jobs are then copied",
                      device.status().message(), help)};
}

Status check_mount_point(const std::vector<MountEntry>& table, const std::string& directory,
                         const std::string& root) {
  if (is_below(directory, root))
    return {Code::kInvalidArgument,
            fmt::format("'{}' lies in the root '{}': choose a directory outside of it", directory,
                        root)};
  if (is_below(root, directory))
    return {Code::kInvalidArgument,
            fmt::format("a mount on '{}' would hide the root '{}': choose another directory",
                        directory, root)};
  const MountEntry* entry = mount_at(table, directory);
  if (entry == nullptr) return {};
  if (entry->is_tarn())
    return {Code::kBusy,
            fmt::format("'{}' is in use: the Tarn at '{}' is mounted there, served by {}",
                        directory, entry->source, serving_process(entry->source))};
  return {Code::kBusy, fmt::format("'{}' is in use: {} of '{}' is mounted there", directory,
                                   entry->type, entry->source)};
}

Result<std::string> prepare_mount_point(const std::string& directory, const std::string& root) {
  if (access(directory.c_str(), F_OK) != 0 && errno == ENOENT)
    TARN_TRY(make_directories(directory));
  TARN_ASSIGN(const std::string real_root, without_links(root));
  TARN_ASSIGN(std::string point, mount::absolute_mount_path(directory));
  TARN_ASSIGN(std::vector<MountEntry> table, read_mount_table());
  if (const MountEntry* entry = mount_at(table, point); entry != nullptr && entry->is_tarn()) {
    const auto detached = mount::detach_dead_mounts(point);
    if (!detached.is_ok() && !detached.is(Code::kBusy)) return detached.status();
    TARN_ASSIGN(table, read_mount_table());
  }
  TARN_TRY(check_mount_point(table, point, real_root));
  TARN_ASSIGN(point, without_links(point));
  TARN_TRY(check_mount_point(table, point, real_root));
  TARN_TRY(check_is_empty(point));
  return point;
}

}  // namespace tarn::app
