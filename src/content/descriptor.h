// Descriptor: where the bytes of one generation of a file are. Encoded into InodeRow::content.
//
// Byte table and golden hex in docs/FORMAT.md. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"

namespace tarn::content {

struct Empty {  // size 0, or all hole
  bool operator==(const Empty&) const = default;
};
struct Inline {  // the bytes themselves, at most limits::kInlineBytesMax; symlink targets too
  std::string bytes;
  bool operator==(const Inline&) const = default;
};
struct WholeBlob {  // one file in blobs/
  BlobId blob;
  bool operator==(const WholeBlob&) const = default;
};
struct Slice {  // a range of a blob or pack
  BlobId blob;
  bool is_pack = false;
  uint64_t offset = 0, length = 0;
  bool operator==(const Slice&) const = default;
};
struct Piece {
  BlobId blob;  // none: hole
  bool is_pack = false;
  uint64_t offset = 0, length = 0;
  bool operator==(const Piece&) const = default;
};
struct Pieces {
  std::vector<Piece> pieces;  // contiguous in the file, in order
  bool operator==(const Pieces&) const = default;
};
struct Remote {  // object in a linked bucket; the fields' meaning is room remote's
  std::string link, key, etag;
  BlobId partial;  // sparse local copy, or none
  bool operator==(const Remote&) const = default;
};
struct External {  // a local file outside Tarn, valid while these agree
  std::string path;
  uint64_t device = 0, inode = 0, size = 0;
  TimeNs mtime = 0, ctime = 0;
  bool operator==(const External&) const = default;
};
/// Only while open: the private blob of an inode that is being written over older bytes, which stay
/// owned until it settles. Where the private blob is missing after a power cut, the older bytes
/// hold. Base bytes show through where the private blob has no whole unit of data, below the limit
/// in its attribute kOverlayXattr.
struct Overlay {
  std::string base;  // encoded descriptor
  BlobId blob;
  uint64_t base_size = 0;
  bool is_truncated = false;  // the older bytes were not wanted: changed even if nothing is written
  bool operator==(const Overlay&) const = default;
};

using Descriptor = std::variant<Empty, Inline, WholeBlob, Slice, Pieces, Remote, External, Overlay>;

std::string encode(const Descriptor& descriptor);
/// kCorrupt when it is not an encoding. An empty string decodes to Empty.
Result<Descriptor> decode(std::string_view bytes);

}  // namespace tarn::content
