#include "content/rows.h"

#include <fmt/format.h>

#include "base/coding.h"

namespace tarn::content {
namespace {

std::string key_of(std::string_view prefix, std::initializer_list<uint64_t> numbers) {
  std::string key(prefix);
  for (uint64_t number : numbers) append_be64(key, number);
  return key;
}

Status check_end(const Reader& in, std::string_view what) {
  if (in.is_ok() && in.at_end()) return {};
  return Status(Code::kCorrupt, fmt::format("{} row is damaged", what));
}

}  // namespace

std::string info_prefix() {
  return "bi";
}
std::string info_key(BlobId blob) {
  return key_of("bi", {blob.value});
}
std::string crc_prefix(BlobId blob) {
  return key_of("bc", {blob.value});
}
std::string crc_key(BlobId blob, uint64_t chunk) {
  return key_of("bc", {blob.value, chunk});
}
std::string released_prefix() {
  return "bx";
}
std::string released_key(BlobId blob) {
  return key_of("bx", {blob.value});
}
std::string damage_prefix() {
  return "bd";
}
std::string damage_prefix(BlobId blob) {
  return key_of("bd", {blob.value});
}
std::string damage_key(BlobId blob, uint64_t offset) {
  return key_of("bd", {blob.value, offset});
}
std::string owner_prefix(BlobId blob) {
  return key_of("v", {blob.value});
}
std::string owner_key(BlobId blob, uint64_t offset, Ino ino) {
  return key_of("v", {blob.value, offset, ino.value});
}
std::string window_prefix(BlobId pack) {
  return key_of("kw", {pack.value});
}
std::string window_key(BlobId pack, uint64_t window) {
  return key_of("kw", {pack.value, window});
}
std::string delta_prefix() {
  return "kd";
}
std::string delta_prefix(BlobId pack) {
  return key_of("kd", {pack.value});
}
std::string delta_key(BlobId pack, uint64_t offset, Ino ino) {
  return key_of("kd", {pack.value, offset, ino.value});
}

uint64_t number_of_key(std::string_view key, size_t n) {
  const size_t at = (key.starts_with('v') ? 1 : 2) + 8 * n;
  return at + 8 <= key.size() ? read_be64(key.substr(at, 8)) : 0;
}

std::string encode(const BlobInfo& v) {
  Writer out;
  out.u8(static_cast<uint8_t>((v.is_pack ? 1 : 0) | (v.has_crcs ? 2 : 0)));
  out.varint(v.size);
  out.varint(v.ino.value);
  out.varint(v.generation.value);
  out.varint(v.live_records);
  out.varint(v.live_bytes);
  return out.take();
}

std::string encode(const Owner& v) {
  Writer out;
  out.varint(v.generation.value);
  out.varint(v.length);
  return out.take();
}

std::string encode(const std::vector<PackedOwner>& v) {
  Writer out;
  out.varint(v.size());
  for (const PackedOwner& owner : v) {
    out.varint(owner.offset);
    out.varint(owner.length);
    out.varint(owner.ino.value);
    out.varint(owner.generation.value);
  }
  return out.take();
}

std::string encode(const Delta& v) {
  Writer out;
  out.u8(v.is_added ? 1 : 0);
  out.varint(v.generation.value);
  out.varint(v.length);
  return out.take();
}

Result<BlobInfo> decode_info(std::string_view bytes) {
  Reader in(bytes);
  BlobInfo v;
  const uint8_t flags = in.u8();
  v.is_pack = (flags & 1) != 0;
  v.has_crcs = (flags & 2) != 0;
  v.size = in.varint();
  v.ino = Ino(in.varint());
  v.generation = Generation(in.varint());
  v.live_records = in.varint();
  v.live_bytes = in.varint();
  TARN_TRY(check_end(in, "blob"));
  return v;
}

Result<Owner> decode_owner(std::string_view bytes) {
  Reader in(bytes);
  Owner v;
  v.generation = Generation(in.varint());
  v.length = in.varint();
  TARN_TRY(check_end(in, "owner"));
  return v;
}

Result<std::vector<PackedOwner>> decode_window(std::string_view bytes) {
  Reader in(bytes);
  std::vector<PackedOwner> v;
  const uint64_t count = in.varint();
  for (uint64_t i = 0; i < count && in.is_ok(); ++i) {
    PackedOwner owner;
    owner.offset = in.varint();
    owner.length = in.varint();
    owner.ino = Ino(in.varint());
    owner.generation = Generation(in.varint());
    v.push_back(owner);
  }
  TARN_TRY(check_end(in, "pack window"));
  return v;
}

Result<Delta> decode_delta(std::string_view bytes) {
  Reader in(bytes);
  Delta v;
  v.is_added = in.u8() != 0;
  v.generation = Generation(in.varint());
  v.length = in.varint();
  TARN_TRY(check_end(in, "pack delta"));
  return v;
}

}  // namespace tarn::content
