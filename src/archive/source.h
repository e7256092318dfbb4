// Source: where an archive's bytes are read from.
//
// A Source gives random access to the bytes of one archive: a local file (FdSource), memory
// (MemorySource, for tests and small archives), or, in other rooms, a blob. It must not change
// while a Reader uses it. `read_at` must be thread-safe: a Reader of a compressed archive calls it
// from its own thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

namespace tarn::archive {

class Source {
 public:
  virtual ~Source() = default;
  /// Bytes in the archive, when that is known before reading.
  virtual std::optional<uint64_t> size() const = 0;
  /// Fills `out` from `offset` (bytes); fewer only at the end, 0 beyond it. Returns the count.
  virtual Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) = 0;
};

/// An open regular file or block device.
class FdSource : public Source {
 public:
  /// Opens `path` for reading. Fails as open(2) does, and with InvalidArgument for what cannot
  /// seek.
  static Result<std::unique_ptr<FdSource>> open(const std::string& path);
  /// Takes over `fd`. InvalidArgument for a descriptor that cannot seek (pipe, socket, directory).
  static Result<std::unique_ptr<FdSource>> adopt(UniqueFd fd);

  std::optional<uint64_t> size() const override { return size_; }
  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) override;

 private:
  FdSource(UniqueFd fd, uint64_t size) : fd_(std::move(fd)), size_(size) {}
  UniqueFd fd_;
  uint64_t size_;
};

/// Bytes in memory, owned.
class MemorySource : public Source {
 public:
  explicit MemorySource(std::string bytes) : bytes_(std::move(bytes)) {}
  std::optional<uint64_t> size() const override { return bytes_.size(); }
  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) override;
  std::string_view bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace tarn::archive
