// PieceReader: reads bytes that lie in pieces of several blobs.
//
// The blobs are opened when read (through Sources, which keeps recent ones open) and pinned for the
// reader's life, so that a release meanwhile does not take them away. Thread-safe: immutable.
#pragma once

#include <span>
#include <vector>

#include "content/files.h"

namespace tarn::content {

class PieceReader {
 public:
  PieceReader(SourcesRef sources, Pieces pieces);
  ~PieceReader();
  PieceReader(const PieceReader&) = delete;
  PieceReader& operator=(const PieceReader&) = delete;

  /// Fills `out` from `offset` on: holes and what lies past the last piece are zeros.
  Status read(uint64_t offset, std::span<std::byte> out) const;
  uint64_t size() const { return size_; }
  const Pieces& pieces() const { return pieces_; }
  /// The pieces of bytes [offset, offset + length), cut to fit; zeros past the end as a hole.
  void append_range(uint64_t offset, uint64_t length, Pieces& to) const;
  /// First byte at or after `offset` in a piece (`is_data`) or in a hole; size() when none.
  uint64_t find(uint64_t offset, bool is_data) const;
  /// Where bytes from `offset` lie together; length 0 in a hole or when the blob does not open.
  File::Extent extent(uint64_t offset, uint64_t length) const;

 private:
  size_t index_of(uint64_t offset) const;

  const SourcesRef sources_;
  const Pieces pieces_;
  std::vector<uint64_t> begins_;  // of each piece in the file
  uint64_t size_ = 0;
  std::vector<BlobId> pinned_;
};

}  // namespace tarn::content
