#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "content/file_blob.h"

namespace tarn::content {

Status set_file_times(int fd, std::optional<TimeNs> atime, std::optional<TimeNs> mtime) {
  timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  if (atime) times[0] = to_timespec(*atime);
  if (mtime) times[1] = to_timespec(*mtime);
  if (::futimens(fd, times) != 0) return last_errno("set times of a blob");
  return {};
}

Status BlobFile::check_writable() const {
  if (is_writable_) return {};
  return Status(Code::kBadHandle, "the content was not prepared for writing");
}

Result<size_t> BlobFile::read(uint64_t offset, std::span<std::byte> out) {
  TARN_TRY(sources_->damage().check(blob_->blob(), offset, out.size()));
  return read_at(blob_->fd(), offset, out);
}

Result<size_t> BlobFile::write(uint64_t offset, std::span<const std::byte> data) {
  TARN_TRY(check_writable());
  TARN_TRY(write_at(blob_->fd(), offset, data));
  return data.size();
}

Status BlobFile::truncate(uint64_t size) {
  TARN_TRY(check_writable());
  if (::ftruncate(blob_->fd(), static_cast<off_t>(size)) != 0) {
    return last_errno(fmt::format("truncate blob {} to {}", blob_->blob().value, size));
  }
  return {};
}

Status BlobFile::allocate(int mode, uint64_t offset, uint64_t length) {
  TARN_TRY(check_writable());
  if (::fallocate(blob_->fd(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    return last_errno(fmt::format("fallocate of blob {}", blob_->blob().value));
  }
  return {};
}

Result<uint64_t> BlobFile::seek(uint64_t offset, int whence) {
  const off_t found = ::lseek(blob_->fd(), static_cast<off_t>(offset), whence);
  if (found < 0) return last_errno("seek in a blob");
  return static_cast<uint64_t>(found);
}

Status BlobFile::sync() {
  return is_writable_ ? blob_->sync() : Status();
}

Status BlobFile::set_times(std::optional<TimeNs> atime, std::optional<TimeNs> mtime) {
  return set_file_times(blob_->fd(), atime, mtime);
}

LocalFileRef BlobFile::local() const {
  // A damaged blob is served, so that its damaged ranges can answer with an error.
  if (sources_->damage().has(blob_->blob())) return nullptr;
  return blob_;
}

File::Extent BlobFile::extent(uint64_t offset, uint64_t length) {
  auto stat = blob_->stat();
  if (!stat.is_ok() || offset >= stat->size) return {};
  length = std::min(length, stat->size - offset);
  if (!sources_->damage().check(blob_->blob(), offset, length).is_ok()) return {};
  return {blob_->fd(), offset, length};
}

FileRef make_blob_file(SourcesRef sources, LocalBlobRef blob, bool is_writable,
                       Descriptor descriptor) {
  return std::make_shared<BlobFile>(std::move(sources), std::move(blob), is_writable,
                                    std::move(descriptor));
}

LocalBlobRef backing_of(const FileRef& file) {
  if (auto* blob = dynamic_cast<BlobFile*>(file.get())) return blob->blob();
  if (auto* overlay = dynamic_cast<OverlayFile*>(file.get())) return overlay->own();
  return nullptr;
}

}  // namespace tarn::content
