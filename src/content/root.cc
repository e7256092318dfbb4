#include "content/root.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <random>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "content/ballast.h"
#include "content/superblock.h"

namespace tarn::content {
namespace {

constexpr TimeNs kSpaceRefreshNs = 100 * kMillisecondNs;

/// Name of one entry in `path`, or "" when it is empty.
Result<std::string> first_entry(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return last_errno(fmt::format("open directory '{}'", path));
  std::string found;
  while (dirent* entry = ::readdir(directory)) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    found = name;
    break;
  }
  ::closedir(directory);
  return found;
}

std::string make_uuid() {
  std::random_device device;
  std::string bytes;
  while (bytes.size() < 16) {
    uint32_t word = device();
    bytes.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  return bytes;
}

std::string boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id", 256);
  std::string hex;
  for (char c : text.is_ok() ? *text : std::string()) {
    if (c != '-' && c != '\n') hex.push_back(c);
  }
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size() && bytes.size() < 16; i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  bytes.resize(16, '\0');
  return bytes;
}

/// Never reused while the kernel runs (Linux 6.8): a root whose file system was mounted anew may
/// have lost what was not synced, as after a power cut. 0 where the kernel cannot tell.
uint64_t unique_mount_id(int fd) {
  constexpr unsigned kStatxMntIdUnique = 0x4000;
  struct statx buffer{};
  if (::statx(fd, "", AT_EMPTY_PATH, kStatxMntIdUnique, &buffer) != 0) return 0;
  if ((buffer.stx_mask & kStatxMntIdUnique) == 0) return 0;
  return buffer.stx_mnt_id;
}

class RootImpl final : public Root {
 public:
  RootImpl(std::string path, UniqueFd directory, UniqueFd lock, Superblock superblock, LastEnd end)
      : path_(std::move(path)),
        directory_(std::move(directory)),
        lock_(std::move(lock)),
        superblock_(std::move(superblock)),
        last_end_(end),
        ballast_(directory_.get(), superblock_.ballast_bytes) {}

  const std::string& path() const override { return path_; }
  int directory_fd() const override { return directory_.get(); }
  std::string uuid() const override { return format_uuid(superblock_.uuid); }
  LastEnd last_end() const override { return last_end_; }

  Status mark_clean() override {
    superblock_.end_state = EndState::kClean;
    TARN_TRY(write_at(lock_.get(), 0, as_bytes(encode(superblock_))));
    return sync_file(lock_.get());
  }

  Result<Space> space() override {
    struct statvfs vfs{};
    if (::fstatvfs(directory_.get(), &vfs) != 0) return last_errno("statvfs of the root");
    Space space;
    space.ballast_bytes = ballast_.present();
    const uint64_t unit = vfs.f_frsize;
    const uint64_t available = vfs.f_bavail * unit;
    const uint64_t missing = ballast_.wanted() - std::min(ballast_.wanted(), space.ballast_bytes);
    space.bytes_total = vfs.f_blocks * unit;
    space.bytes_free = available - std::min(available, missing);
    space.files_total = vfs.f_files;
    space.files_free = vfs.f_favail;
    space.is_low = space.bytes_free < 2 * ballast_.wanted();
    return space;
  }

  Status check_may_write() override {
    const TimeNs now = Clock::system().monotonic();
    if (now - checked_at_.load(std::memory_order_relaxed) >= kSpaceRefreshNs) {
      checked_at_.store(now, std::memory_order_relaxed);
      TARN_ASSIGN(Space space, this->space());
      is_low_.store(space.is_low, std::memory_order_relaxed);
      bytes_free_.store(space.bytes_free, std::memory_order_relaxed);
    }
    if (!is_low_.load(std::memory_order_relaxed)) return {};
    return Status(
        Code::kNoSpace,
        fmt::format("{} bytes are free under '{}', and new files need more than {} (twice "
                    "the ballast): delete files or enlarge the disk",
                    bytes_free_.load(std::memory_order_relaxed), path_, 2 * ballast_.wanted()));
  }

  Status release_ballast() override {
    checked_at_.store(0, std::memory_order_relaxed);
    return ballast_.release();
  }
  void restore_ballast() override {
    auto space = this->space();
    if (!space.is_ok()) return;
    // Only when making it again leaves the disk above the mark at which writers are refused.
    ballast_.restore(space->bytes_free > 3 * ballast_.wanted());
  }

 private:
  std::string path_;
  UniqueFd directory_, lock_;
  Superblock superblock_;
  LastEnd last_end_;
  Ballast ballast_;
  std::atomic<TimeNs> checked_at_{0};
  std::atomic<bool> is_low_{false};
  std::atomic<uint64_t> bytes_free_{0};
};

LastEnd how_it_ended(const Superblock& superblock, const std::string& boot, uint64_t mount) {
  switch (superblock.end_state) {
    case EndState::kFresh:
      return LastEnd::kFresh;
    case EndState::kClean:
      return LastEnd::kClean;
    case EndState::kServing:
      break;
  }
  const bool is_same = superblock.boot_id == boot && superblock.mount_id == mount;
  return is_same ? LastEnd::kProcessDied : LastEnd::kMachineDied;
}

}  // namespace

Status Root::create(const std::string& path, const RootOptions& options) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0) {
    if (!S_ISDIR(info.st_mode)) {
      return Status(Code::kExists, fmt::format("'{}' exists and is not a directory", path));
    }
    TARN_ASSIGN(std::string found, first_entry(path));
    if (!found.empty()) {
      const bool is_root = ::access((path + "/superblock").c_str(), F_OK) == 0;
      return Status(Code::kExists,
                    is_root ? fmt::format("'{}' is a Tarn root already", path)
                            : fmt::format("'{}' is not empty: it holds '{}'", path, found));
    }
  } else {
    TARN_TRY(make_directories(path, 0700));
  }
  for (const char* name : {"meta", "blobs", "packs", "log"}) {
    if (::mkdir((path + "/" + name).c_str(), 0700) != 0) {
      return last_errno(fmt::format("make directory '{}/{}'", path, name));
    }
  }
  TARN_ASSIGN(UniqueFd directory, open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  struct statvfs vfs{};
  if (::fstatvfs(directory.get(), &vfs) != 0) return last_errno("statvfs of the new root");
  Superblock superblock;
  superblock.uuid = make_uuid();
  superblock.created = Clock::system().now();
  superblock.ballast_bytes = options.ballast_bytes;
  if (superblock.ballast_bytes == 0) {
    const uint64_t wanted = std::max(limits::kBallastBytesMin, vfs.f_blocks * vfs.f_frsize / 100);
    superblock.ballast_bytes = std::min(wanted, vfs.f_bavail * vfs.f_frsize / 10);
  }
  Ballast ballast(directory.get(), superblock.ballast_bytes);
  ballast.restore(true);
  // The superblock comes last: a root without one is not a root.
  TARN_TRY(replace_file(path + "/superblock", encode(superblock), 0600));
  return sync_file(directory.get());
}

Result<std::unique_ptr<Root>> Root::open(const std::string& path) {
  TARN_ASSIGN(UniqueFd directory, open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  auto opened = open_at(directory.get(), "superblock", O_RDWR);
  if (opened.is(Code::kNotFound)) {
    return Status(Code::kBadFormat,
                  fmt::format("'{}' is not a Tarn root: it has no superblock", path));
  }
  TARN_ASSIGN(UniqueFd lock, std::move(opened));
  std::string bytes(kSuperblockBytes, '\0');
  const int lock_result = ::flock(lock.get(), LOCK_EX | LOCK_NB);
  const int lock_error = errno;
  auto length = read_at(lock.get(), 0, std::as_writable_bytes(std::span(bytes)));
  TARN_TRY(length);
  bytes.resize(*length);
  auto decoded = decode_superblock(bytes);
  if (lock_result != 0) {
    if (lock_error != EWOULDBLOCK) return errno_status(lock_error, "flock of the superblock");
    return Status(Code::kBusy,
                  fmt::format("root '{}' is in use by process {}", path,
                              decoded.is_ok() ? std::to_string(decoded->owner_pid) : "unknown"));
  }
  if (!decoded.is_ok()) return decoded.status().with_context(fmt::format("root '{}'", path));
  Superblock superblock = std::move(decoded).value();
  const std::string boot = boot_id();
  const uint64_t mount = unique_mount_id(directory.get());
  const LastEnd end = how_it_ended(superblock, boot, mount);
  superblock.boot_id = boot;
  superblock.mount_id = mount;
  superblock.end_state = EndState::kServing;
  superblock.owner_pid = static_cast<uint64_t>(::getpid());
  // In place, since a rename would replace the inode that carries the lock. 512 bytes are one
  // sector, which disks write as a whole.
  TARN_TRY(write_at(lock.get(), 0, as_bytes(encode(superblock))));
  TARN_TRY(sync_file(lock.get()));
  return std::unique_ptr<Root>(std::make_unique<RootImpl>(
      path, std::move(directory), std::move(lock), std::move(superblock), end));
}

}  // namespace tarn::content
