#include "content/descriptor.h"

#include <fmt/format.h>

#include "base/coding.h"

namespace tarn::content {
namespace {

enum class Tag : uint8_t {
  kInline = 1,
  kWholeBlob = 2,
  kSlice = 3,
  kPieces = 4,
  kRemote = 5,
  kExternal = 6,
  kOverlay = 7,
};

struct Encoder {
  Writer out;

  void tag(Tag t) { out.u8(static_cast<uint8_t>(t)); }
  void operator()(const Empty&) {}
  void operator()(const Inline& v) {
    tag(Tag::kInline);
    out.bytes(v.bytes);
  }
  void operator()(const WholeBlob& v) {
    tag(Tag::kWholeBlob);
    out.varint(v.blob.value);
  }
  void operator()(const Slice& v) {
    tag(Tag::kSlice);
    out.varint(v.blob.value);
    out.u8(v.is_pack ? 1 : 0);
    out.varint(v.offset);
    out.varint(v.length);
  }
  void operator()(const Pieces& v) {
    tag(Tag::kPieces);
    out.varint(v.pieces.size());
    for (const Piece& piece : v.pieces) {
      out.varint(piece.blob.value);
      out.u8(piece.is_pack ? 1 : 0);
      out.varint(piece.offset);
      out.varint(piece.length);
    }
  }
  void operator()(const Remote& v) {
    tag(Tag::kRemote);
    out.bytes(v.link);
    out.bytes(v.key);
    out.bytes(v.etag);
    out.varint(v.partial.value);
  }
  void operator()(const External& v) {
    tag(Tag::kExternal);
    out.bytes(v.path);
    out.varint(v.device);
    out.varint(v.inode);
    out.varint(v.size);
    out.i64(v.mtime);
    out.i64(v.ctime);
  }
  void operator()(const Overlay& v) {
    tag(Tag::kOverlay);
    out.bytes(v.base);
    out.varint(v.blob.value);
    out.varint(v.base_size);
    out.u8(v.is_truncated ? 1 : 0);
  }
};

Descriptor decode_pieces(Reader& in) {
  Pieces v;
  uint64_t count = in.varint();
  // A piece takes at least 4 bytes, so a count beyond that is damage and must not become memory.
  if (count > in.rest().size() / 4) {
    in.raw(UINT64_MAX);
    return v;
  }
  v.pieces.reserve(count);
  for (uint64_t i = 0; i < count && in.is_ok(); ++i) {
    Piece piece;
    piece.blob = BlobId(in.varint());
    piece.is_pack = in.u8() != 0;
    piece.offset = in.varint();
    piece.length = in.varint();
    v.pieces.push_back(piece);
  }
  return v;
}

Descriptor decode_slice(Reader& in) {
  Slice v;
  v.blob = BlobId(in.varint());
  v.is_pack = in.u8() != 0;
  v.offset = in.varint();
  v.length = in.varint();
  return v;
}

Descriptor decode_external(Reader& in) {
  External v;
  v.path = in.bytes();
  v.device = in.varint();
  v.inode = in.varint();
  v.size = in.varint();
  v.mtime = in.i64();
  v.ctime = in.i64();
  return v;
}

Descriptor decode_remote(Reader& in) {
  Remote v;
  v.link = in.bytes();
  v.key = in.bytes();
  v.etag = in.bytes();
  v.partial = BlobId(in.varint());
  return v;
}

Descriptor decode_overlay(Reader& in) {
  Overlay v;
  v.base = in.bytes();
  v.blob = BlobId(in.varint());
  v.base_size = in.varint();
  v.is_truncated = in.u8() != 0;
  return v;
}

}  // namespace

std::string encode(const Descriptor& descriptor) {
  Encoder encoder;
  std::visit(encoder, descriptor);
  return encoder.out.take();
}

Result<Descriptor> decode(std::string_view bytes) {
  if (bytes.empty()) return Descriptor(Empty{});
  Reader in(bytes);
  uint8_t tag = in.u8();
  Descriptor descriptor;
  switch (static_cast<Tag>(tag)) {
    case Tag::kInline:
      descriptor = Inline{std::string(in.bytes())};
      break;
    case Tag::kWholeBlob:
      descriptor = WholeBlob{BlobId(in.varint())};
      break;
    case Tag::kSlice:
      descriptor = decode_slice(in);
      break;
    case Tag::kPieces:
      descriptor = decode_pieces(in);
      break;
    case Tag::kRemote:
      descriptor = decode_remote(in);
      break;
    case Tag::kExternal:
      descriptor = decode_external(in);
      break;
    case Tag::kOverlay:
      descriptor = decode_overlay(in);
      break;
    default:
      return Status(Code::kCorrupt, fmt::format("descriptor has unknown tag {}", tag));
  }
  if (!in.is_ok() || !in.at_end()) {
    return Status(
        Code::kCorrupt,
        fmt::format("descriptor of {} bytes with tag {} is cut or too long", bytes.size(), tag));
  }
  return descriptor;
}

}  // namespace tarn::content
