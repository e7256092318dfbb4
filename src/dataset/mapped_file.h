// MappedFile: the bytes of a file, mapped for reading.
//
// The only door between room dataset and a file system: everything behind it works on spans of
// bytes. The mapping stays valid while the object lives and moves with it. `prefetch` asks the
// kernel for a range ahead of its use, so that several threads that walk through a cold file keep
// the disk busy. A file that is cut short by somebody else while it is mapped ends the process
// with SIGBUS, as for every program that maps files. Thread rules: const calls are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/status.h"

namespace tarn::dataset {

/// How a mapping will be read: from front to back, or where its reader has prefetched. The kernel
/// reads up to 8 MiB around a place that is touched first unless it is told not to.
enum class Access { kSequential, kPrefetched };

class MappedFile {
 public:
  MappedFile() = default;
  /// Maps the regular file at `path`; InvalidArgument for anything else, or the error of open.
  static Result<MappedFile> open(const std::string& path, Access access = Access::kSequential);
  /// Maps the whole of an open file and takes the descriptor; `name` stands in error messages.
  static Result<MappedFile> from_fd(UniqueFd fd, const std::string& name,
                                    Access access = Access::kSequential);

  MappedFile(MappedFile&& other) noexcept
      : fd_(std::move(other.fd_)), bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  /// Asks for `length` bytes from `offset` on, both cut to the file; a hint that cannot fail.
  void prefetch(uint64_t offset, uint64_t length) const;
  /// The same for a part of bytes().
  void prefetch(std::span<const std::byte> part) const;

 private:
  MappedFile(UniqueFd fd, std::span<const std::byte> bytes) : fd_(std::move(fd)), bytes_(bytes) {}

  UniqueFd fd_;
  std::span<const std::byte> bytes_;
};

}  // namespace tarn::dataset
