// Decoders: compressed bytes in, decompressed bytes out, with every checksum looked at.
//
// RawInput reads a Source from front to end and shows each byte to the on_raw hook. A Decoder pulls
// from it: gzip through ISA-L (members after each other, CRC-32 and length checked), zstd through
// libzstd (frames after each other, skippable frames), xz and bzip2 through libarchive. Memory is
// bounded: one input buffer and the format's window. One thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "archive/format.h"
#include "archive/options.h"
#include "archive/source.h"
#include "base/status.h"

namespace tarn::archive {

class RawInput {
 public:
  RawInput(Source& source, const Options& options);
  /// The next bytes of the Source, valid until the next call; none at the end.
  Result<std::span<const std::byte>> read();
  /// Bytes given out so far. Any thread.
  uint64_t position() const { return position_.load(std::memory_order_relaxed); }

 private:
  Source& source_;
  const Options& options_;
  std::vector<std::byte> buffer_;
  std::atomic<uint64_t> position_{0};
};

class Decoder {
 public:
  /// `compression` must not be kNone. `input` and `options` must outlive it.
  static Result<std::unique_ptr<Decoder>> open(Compression compression, RawInput& input,
                                               const Options& options);
  virtual ~Decoder() = default;
  /// Fills `out` (not empty); fewer bytes only at the end. 0: the end, the input is read to its end
  /// and whole. BadFormat names the offset in the compressed stream: damaged, truncated, or
  /// followed by bytes that are not part of it.
  virtual Result<size_t> decode(std::span<std::byte> out) = 0;
};

}  // namespace tarn::archive
