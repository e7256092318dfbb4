// One gzip file, deflated in pieces by several threads.
//
// Each piece is deflated by itself (ISA-L, level 1) and ends on a byte boundary, so that pieces
// put one behind the other are one deflate stream: a gzip file with a single member that every
// reader takes (RFC 1951, 1952; pigz does the same). Thread rules: deflate_piece is thread-safe; a
// GzipAssembler belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace tarn::dataset {

struct GzipPiece {
  std::string deflated;
  uint32_t crc32 = 0;
  uint64_t bytes = 0;  // before deflating
};

/// `is_last` ends the stream.
GzipPiece deflate_piece(std::span<const std::byte> bytes, bool is_last);

class GzipAssembler {
 public:
  /// The 10 bytes in front of the first piece; no name, no time.
  static std::string header();
  /// Counts the next piece.
  void add(const GzipPiece& piece);
  /// The 8 bytes behind the last piece.
  std::string trailer() const;

 private:
  uint32_t crc32_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace tarn::dataset
