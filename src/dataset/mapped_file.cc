#include "dataset/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#include <fmt/format.h>

namespace tarn::dataset {

Result<MappedFile> MappedFile::open(const std::string& path, Access access) {
  TARN_ASSIGN(UniqueFd fd, open_at(AT_FDCWD, path, O_RDONLY | O_NONBLOCK));
  return from_fd(std::move(fd), path, access);
}

Result<MappedFile> MappedFile::from_fd(UniqueFd fd, const std::string& name, Access access) {
  struct stat info{};
  if (fstat(fd.get(), &info) != 0) return last_errno(fmt::format("fstat '{}'", name));
  if (!S_ISREG(info.st_mode)) {
    return Status(Code::kInvalidArgument, fmt::format("'{}' is not a regular file", name));
  }
  const auto size = static_cast<size_t>(info.st_size);
  // mmap refuses an empty range.
  if (size == 0) return MappedFile(std::move(fd), {});
  void* at = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return last_errno(fmt::format("mmap '{}' of {} bytes", name, size));
  (void)madvise(at, size, access == Access::kSequential ? MADV_SEQUENTIAL : MADV_RANDOM);
  return MappedFile(std::move(fd), {static_cast<const std::byte*>(at), size});
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::prefetch(uint64_t offset, uint64_t length) const {
  if (offset >= bytes_.size()) return;
  const uint64_t here = std::min<uint64_t>(length, bytes_.size() - offset);
  (void)posix_fadvise(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(here),
                      POSIX_FADV_WILLNEED);
}

void MappedFile::prefetch(std::span<const std::byte> part) const {
  // As numbers: a part that is not in the file at all wraps to an offset beyond its end.
  prefetch(reinterpret_cast<uintptr_t>(part.data()) - reinterpret_cast<uintptr_t>(bytes_.data()),
           part.size());
}

}  // namespace tarn::dataset
