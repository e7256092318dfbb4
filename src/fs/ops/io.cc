// Reading, writing and durability of open files.
#include <fcntl.h>

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/kill_point.h"
#include "fs/file_system.h"

namespace tarn::fs {

Result<content::FileRef> FileSystemImpl::file_of(Fh fh) {
  Slot* slot = handles_->find(fh);
  if (slot == nullptr) return Status(Code::kBadHandle, fmt::format("no open file {}", fh.value));
  OpenInodes::Pin inode = open_inodes_.find(Ino(slot->ino));
  if (!inode) return Status(Code::kBadHandle, fmt::format("no open file {}", fh.value));
  MutexLock lock(inode->state);
  if (!inode->file) return Status(Code::kBadHandle, fmt::format("no open file {}", fh.value));
  return inode->file;
}

Result<size_t> FileSystemImpl::read(Fh fh, uint64_t offset, std::span<std::byte> out) {
  TARN_ASSIGN(content::FileRef file, file_of(fh));
  return file->read(offset, out);
}

Result<size_t> FileSystemImpl::write(const Caller& caller, Fh fh, uint64_t offset,
                                     std::span<const std::byte> data) {
  TARN_ASSIGN(content::FileRef file, file_of(fh));
  TARN_TRY(root_.check_may_write());
  TARN_ASSIGN(size_t written, file->write(offset, data));
  Slot* slot = handles_->find(fh);
  if (slot != nullptr) {
    if (OpenInodes::Pin inode = open_inodes_.find(Ino(slot->ino))) {
      MutexLock lock(inode->state);
      inode->was_written = true;
    }
    if (slot->flags & (O_DSYNC | O_SYNC)) TARN_TRY(file->sync());
  }
  if (slot != nullptr && !caller.request.is_from_kernel()) {
    invalidate_inode(Ino(slot->ino), caller);
  }
  return written;
}

Result<uint64_t> FileSystemImpl::seek(Fh fh, uint64_t offset, int whence) {
  TARN_ASSIGN(content::FileRef file, file_of(fh));
  return file->seek(offset, whence);
}

Status FileSystemImpl::allocate(const Caller&, Fh fh, int mode, uint64_t offset, uint64_t length) {
  TARN_ASSIGN(content::FileRef file, file_of(fh));
  TARN_TRY(root_.check_may_write());
  TARN_TRY(file->allocate(mode, offset, length));
  if (Slot* slot = handles_->find(fh)) {
    if (OpenInodes::Pin inode = open_inodes_.find(Ino(slot->ino))) {
      MutexLock lock(inode->state);
      inode->was_written = true;
    }
  }
  return {};
}

Result<uint64_t> FileSystemImpl::copy_range(const Caller& caller, Fh source, uint64_t source_offset,
                                            Fh target, uint64_t target_offset, uint64_t length) {
  TARN_ASSIGN(content::FileRef from, file_of(source));
  constexpr uint64_t kChunk = limits::kMiB;
  // One call may end early, as copy_file_range(2) allows: no request holds a thread for long.
  length = std::min<uint64_t>(length, 256 * limits::kMiB);
  std::vector<std::byte> buffer(std::min(length, kChunk));
  uint64_t done = 0;
  while (done < length) {
    size_t want = static_cast<size_t>(std::min<uint64_t>(buffer.size(), length - done));
    TARN_ASSIGN(size_t n, from->read(source_offset + done, std::span(buffer).first(want)));
    if (n == 0) break;
    TARN_ASSIGN(size_t written,
                write(caller, target, target_offset + done, std::span(buffer).first(n)));
    done += written;
  }
  return done;
}

Status FileSystemImpl::flush(const Caller&, Fh fh) {
  return detail::as_status(file_of(fh));
}

Status FileSystemImpl::fsync(Fh fh, bool) {
  Slot* slot = handles_->find(fh);
  if (slot == nullptr) return Status(Code::kBadHandle, fmt::format("no open file {}", fh.value));
  OpenInodes::Pin inode = open_inodes_.pin(Ino(slot->ino));
  content::FileRef file;
  bool is_deferred = false;
  {
    MutexLock lock(inode->state);
    if (inode->is_live) file = inode->file;
    is_deferred = inode->is_deferred;
  }
  if (file) {
    if (is_deferred) {
      MutexLock opening(inode->opening);
      TARN_TRY(commit_deferred(*inode));
    }
    // Rule (c): the bytes and their file's name, then the row.
    if (content::LocalFileRef local = file->local()) TARN_TRY(content_->ensure_named(local, true));
    TARN_TRY(file->sync());
  }
  TARN_KILL_POINT("fs.fsync.after_data");
  return barrier();
}

Status FileSystemImpl::fsync_directory(Fh) {
  return barrier();
}

}  // namespace tarn::fs
