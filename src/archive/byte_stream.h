// ByteStream: the sequence of bytes that a tar reader parses, plain or decompressed.
//
// peek() shows what comes next without copying, consume() and skip() move on. PlainStream reads a
// Source through a small window and skips by seeking: after a skip it reads 4 KiB, and more only
// while headers lie close together, so that an archive of large members costs one small read a
// member. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "archive/source.h"
#include "base/status.h"

namespace tarn::archive {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// The next bytes, at least one; none at the end. `want` is a hint. Valid until the next call.
  virtual Result<std::span<const std::byte>> peek(size_t want) = 0;
  /// Passes over `n` bytes of what peek showed.
  virtual void consume(size_t n) = 0;
  /// Passes over `n` bytes. Returns how many there were: fewer only at the end.
  virtual Result<uint64_t> skip(uint64_t n) = 0;
  /// Raw bytes of the archive behind what has been passed.
  virtual uint64_t raw_bytes() const = 0;
  /// All bytes of the stream, when that is known before reading.
  virtual std::optional<uint64_t> size() const { return std::nullopt; }
  /// Bytes passed.
  uint64_t position() const { return position_; }

 protected:
  uint64_t position_ = 0;
};

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(Source& source) : source_(source) {}
  Result<std::span<const std::byte>> peek(size_t want) override;
  void consume(size_t n) override;
  Result<uint64_t> skip(uint64_t n) override;
  uint64_t raw_bytes() const override { return position_; }
  std::optional<uint64_t> size() const override { return source_.size(); }

 private:
  Source& source_;
  std::vector<std::byte> window_;
  uint64_t window_begin_ = 0;  // offset of window_[0]
  size_t window_size_ = 0;
  size_t next_read_ = 0;
  uint64_t last_end_ = 0;  // where the last read ended
};

}  // namespace tarn::archive
