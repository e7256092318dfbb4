// Descriptors and whole-length I/O on them.
//
// UniqueFd owns a descriptor. The free functions retry EINTR and short transfers and report
// failures as Status with the name of the call. Thread rules: a UniqueFd is a plain value; the I/O
// functions are thread-safe as pread and pwrite are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace tarn {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

/// Opens `path` relative to directory descriptor `dir` (AT_FDCWD allowed); O_CLOEXEC is added.
Result<UniqueFd> open_at(int dir, const std::string& path, int flags, unsigned mode = 0644);

/// Reads up to out.size() bytes at `offset`; fewer only at end of file. Returns the count.
Result<size_t> read_at(int fd, uint64_t offset, std::span<std::byte> out);
/// Reads exactly out.size() bytes at `offset`; Corrupt when the file ends before.
Status read_exactly_at(int fd, uint64_t offset, std::span<std::byte> out);
/// Writes all of `data` at `offset`.
Status write_at(int fd, uint64_t offset, std::span<const std::byte> data);
/// Writes all of `data` at the current position (pipes, sockets, O_APPEND).
Status write_all(int fd, std::span<const std::byte> data);
/// fdatasync / fsync.
Status sync_data(int fd);
Status sync_file(int fd);
/// fsync of the directory itself.
Status sync_directory(const std::string& path);

Result<std::string> read_file(const std::string& path, size_t bytes_max);
/// Writes a new file beside `path`, syncs it, renames it over `path`, syncs the directory.
Status replace_file(const std::string& path, std::string_view data, unsigned mode = 0644);
/// mkdir -p.
Status make_directories(const std::string& path, unsigned mode = 0755);

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace tarn
