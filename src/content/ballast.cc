#include "content/ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

namespace tarn::content {

uint64_t Ballast::present() const {
  struct stat info{};
  if (::fstatat(directory_fd_, "ballast", &info, 0) != 0) return 0;
  return static_cast<uint64_t>(info.st_blocks) * 512;
}

Status Ballast::release() {
  MutexLock lock(mutex_);
  if (present() == 0) return {};
  log_warn("content.ballast.release", "bytes={} because the disk is full", present());
  TARN_ASSIGN(UniqueFd fd, open_at(directory_fd_, "ballast", O_RDWR));
  if (::ftruncate(fd.get(), 0) != 0) return last_errno("truncate the ballast");
  // ext4 hands freed blocks out again only after the freeing transaction is on disk.
  return sync_file(fd.get());
}

void Ballast::restore(bool has_room) {
  MutexLock lock(mutex_);
  if (wanted_ == 0 || present() >= wanted_ || !has_room) return;
  auto fd = open_at(directory_fd_, "ballast", O_RDWR | O_CREAT, 0600);
  if (!fd.is_ok()) return;
  if (::fallocate(fd->get(), 0, 0, static_cast<off_t>(wanted_)) != 0) {
    log_warn("content.ballast.restore", "bytes={} failed: {}", wanted_,
             last_errno("fallocate").to_string());
    // A part of it would only take room from others.
    [[maybe_unused]] int ignored = ::ftruncate(fd->get(), 0);
    return;
  }
  log_info("content.ballast.restore", "bytes={}", wanted_);
}

}  // namespace tarn::content
