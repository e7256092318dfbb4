#include "content/blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include <fmt/format.h>

#include "base/clock.h"
#include "content/kill_points.h"

namespace tarn::content {
namespace {

std::string leaf_of(BlobId id) {
  return fmt::format("blobs/{:02x}/{:02x}", id.value >> 16 & 0xff, id.value >> 8 & 0xff);
}

bool parse_id(std::string_view name, BlobId& id) {
  if (name.size() != 16) return false;
  uint64_t value = 0;
  for (char c : name) {
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return false;
    value = value << 4 | static_cast<uint64_t>(digit);
  }
  id = BlobId(value);
  return true;
}

Result<std::vector<std::string>> names_in(int directory_fd, const std::string& path) {
  TARN_ASSIGN(UniqueFd fd, open_at(directory_fd, path, O_RDONLY | O_DIRECTORY));
  DIR* directory = ::fdopendir(fd.release());
  if (directory == nullptr) return last_errno(fmt::format("read directory '{}'", path));
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  return names;
}

/// Looks, changes and looks again, faster than any clock ticks that stamps coarsely.
bool find_fine_times(int directory_fd) {
  constexpr int kRounds = 8;
  auto fd = open_at(directory_fd, "blobs", O_RDWR | O_TMPFILE | O_NOATIME, 0600);
  if (!fd.is_ok()) return false;
  struct stat before{}, after{};
  if (::fstat(fd->get(), &before) != 0) return false;
  for (int round = 0; round < kRounds; ++round) {
    // A mode needs no room, and the kernel stamps it as it does a write.
    if (::fchmod(fd->get(), round % 2 == 0 ? 0640 : 0600) != 0) return false;
    if (::fstat(fd->get(), &after) != 0) return false;
    if (from_timespec(before.st_ctim) == from_timespec(after.st_ctim)) return false;
    before = after;
  }
  return true;
}

Status unlink_at(int directory_fd, const std::string& path) {
  if (::unlinkat(directory_fd, path.c_str(), 0) == 0 || errno == ENOENT) return {};
  return last_errno(fmt::format("unlink '{}'", path));
}

}  // namespace

BlobStore::BlobStore(Root& root)
    : root_(root), has_fine_times_(find_fine_times(root.directory_fd())) {}

std::string BlobStore::blob_path(BlobId id) {
  return fmt::format("{}/{:016x}", leaf_of(id), id.value);
}
std::string BlobStore::pack_path(BlobId id) {
  return fmt::format("packs/{:016x}", id.value);
}

Result<BlobStore::New> BlobStore::create(BlobId id) {
  New made;
  auto fd = open_at(root_.directory_fd(), "blobs", O_RDWR | O_TMPFILE | O_NOATIME, 0600);
  if (fd.is_ok()) {
    made.fd = std::move(fd).value();
    return made;
  }
  if (!fd.is(Code::kNotSupported) && !fd.is(Code::kIsDirectory)) return fd.status();
  TARN_TRY(make_directories_for(id));
  TARN_ASSIGN(made.fd,
              open_at(root_.directory_fd(), blob_path(id), O_RDWR | O_CREAT | O_EXCL, 0600));
  made.is_named = true;
  return made;
}

Result<UniqueFd> BlobStore::open(BlobId id, int flags) {
  return open_at(root_.directory_fd(), blob_path(id), flags);
}
Result<UniqueFd> BlobStore::open_pack(BlobId id, int flags) {
  return open_at(root_.directory_fd(), pack_path(id), flags, 0600);
}

Status BlobStore::make_directories_for(BlobId id) {
  const std::string leaf = leaf_of(id);
  for (const std::string& path : {leaf.substr(0, 8), leaf}) {
    if (::mkdirat(root_.directory_fd(), path.c_str(), 0700) == 0) {
      MutexLock lock(mutex_);
      unsynced_directories_.insert(path);
    } else if (errno != EEXIST) {
      return last_errno(fmt::format("mkdir '{}'", path));
    }
  }
  return {};
}

Status BlobStore::link(int fd, BlobId id) {
  TARN_KILL_POINT("content.name.before_link");
  const std::string from = fmt::format("/proc/self/fd/{}", fd);
  const std::string to = blob_path(id);
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (::linkat(AT_FDCWD, from.c_str(), root_.directory_fd(), to.c_str(), AT_SYMLINK_FOLLOW) ==
        0) {
      TARN_KILL_POINT("content.name.after_link");
      return {};
    }
    if (errno != ENOENT || attempt == 1) break;
    TARN_TRY(make_directories_for(id));
  }
  return last_errno(fmt::format("link blob {} to '{}'", id.value, to));
}

Status BlobStore::sync_directory_at(const std::string& path) {
  TARN_ASSIGN(UniqueFd fd, open_at(root_.directory_fd(), path, O_RDONLY | O_DIRECTORY));
  return sync_file(fd.get());
}

Status BlobStore::sync_name(BlobId id) {
  const std::string leaf = leaf_of(id);
  TARN_TRY(sync_directory_at(leaf));
  const std::string middle = leaf.substr(0, 8);
  bool is_new_leaf = false, is_new_middle = false;
  {
    MutexLock lock(mutex_);
    is_new_leaf = unsynced_directories_.contains(leaf);
    is_new_middle = unsynced_directories_.contains(middle);
  }
  if (is_new_leaf) TARN_TRY(sync_directory_at(middle));
  if (is_new_middle) TARN_TRY(sync_directory_at("blobs"));
  if (is_new_leaf || is_new_middle) {
    MutexLock lock(mutex_);
    if (is_new_leaf) unsynced_directories_.erase(leaf);
    if (is_new_middle) unsynced_directories_.erase(middle);
  }
  return {};
}

Status BlobStore::sync_all() {
  std::set<std::string> covered;
  {
    MutexLock lock(mutex_);
    covered = unsynced_directories_;
  }
  if (::syncfs(root_.directory_fd()) != 0) return last_errno("syncfs of the root");
  MutexLock lock(mutex_);
  for (const std::string& path : covered) unsynced_directories_.erase(path);
  return {};
}

Status BlobStore::sync_packs_directory() {
  return sync_directory_at("packs");
}

bool BlobStore::exists(BlobId id) {
  return ::faccessat(root_.directory_fd(), blob_path(id).c_str(), F_OK, 0) == 0;
}

Status BlobStore::unlink(BlobId id) {
  return unlink_at(root_.directory_fd(), blob_path(id));
}
Status BlobStore::unlink_pack(BlobId id) {
  return unlink_at(root_.directory_fd(), pack_path(id));
}

Status BlobStore::for_each(const std::function<bool(BlobId)>& visitor) {
  TARN_ASSIGN(auto outer, names_in(root_.directory_fd(), "blobs"));
  for (const std::string& xx : outer) {
    TARN_ASSIGN(auto middle, names_in(root_.directory_fd(), "blobs/" + xx));
    for (const std::string& yy : middle) {
      TARN_ASSIGN(auto leaf, names_in(root_.directory_fd(), "blobs/" + xx + "/" + yy));
      for (const std::string& name : leaf) {
        BlobId id;
        if (parse_id(name, id) && !visitor(id)) return {};
      }
    }
  }
  return {};
}

Status BlobStore::for_each_pack(const std::function<bool(BlobId)>& visitor) {
  TARN_ASSIGN(auto names, names_in(root_.directory_fd(), "packs"));
  for (const std::string& name : names) {
    BlobId id;
    if (parse_id(name, id) && !visitor(id)) return {};
  }
  return {};
}

}  // namespace tarn::content
