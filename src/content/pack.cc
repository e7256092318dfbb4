#include "content/pack.h"

#include <sys/stat.h>

#include <vector>

#include <fmt/format.h>

#include "base/coding.h"
#include "base/file.h"
#include "base/limits.h"
#include "digest/crc.h"

namespace tarn::content {
namespace {

constexpr std::string_view kPackMagic = "TARNPACK";
constexpr std::string_view kRecordMagic = "TARNREC1";
constexpr uint32_t kPackVersion = 1;
constexpr size_t kRecordFixedBytes = 96;

constexpr uint64_t round_up_8(uint64_t v) {
  return (v + 7) / 8 * 8;
}
Status damaged(std::string_view what) {
  return Status(Code::kCorrupt, fmt::format("pack record: {}", what));
}

}  // namespace

std::string encode_pack_header(BlobId pack) {
  Writer out;
  out.raw(kPackMagic);
  out.u32(kPackVersion);
  out.u32(0);
  out.u64(pack.value);
  std::string bytes = out.take();
  bytes.resize(kPackHeaderBytes - 4, '\0');
  Writer tail;
  tail.u32(digest::crc32c(as_bytes(bytes)));
  return bytes + tail.str();
}

Status check_pack_header(std::string_view bytes, BlobId pack) {
  Reader in(bytes);
  if (in.raw(8) != kPackMagic) return Status(Code::kCorrupt, "pack does not begin with TARNPACK");
  const uint32_t version = in.u32();
  in.u32();
  const uint64_t id = in.u64();
  if (bytes.size() < kPackHeaderBytes) return Status(Code::kCorrupt, "pack header is cut");
  Reader tail(bytes.substr(kPackHeaderBytes - 4));
  if (tail.u32() != digest::crc32c(as_bytes(bytes.substr(0, kPackHeaderBytes - 4)))) {
    return Status(Code::kCorrupt, "pack header is damaged: its CRC does not fit");
  }
  if (version != kPackVersion) {
    return Status(Code::kBadFormat,
                  fmt::format("pack has version {}, known is {}", version, kPackVersion));
  }
  if (id != pack.value) {
    return Status(Code::kCorrupt, fmt::format("pack {} says that it is {}", pack.value, id));
  }
  return {};
}

std::string encode_record_header(const Identity& identity, uint64_t data_bytes,
                                 uint64_t data_crc64) {
  const std::string_view name = std::string_view(identity.name).substr(0, limits::kNameBytesMax);
  const auto header_bytes =
      static_cast<uint32_t>(round_up_8(kRecordFixedBytes + name.size()) + kRecordTailBytes);
  Writer out;
  out.raw(kRecordMagic);
  out.u32(header_bytes);
  out.u32(0);
  out.u64(identity.ino.value);
  out.u64(identity.generation.value);
  out.u64(identity.parent.value);
  out.u64(data_bytes);
  out.u32(identity.mode);
  out.u32(identity.uid);
  out.u32(identity.gid);
  out.u32(static_cast<uint32_t>(name.size()));
  out.i64(identity.mtime);
  out.i64(identity.ctime);
  out.i64(identity.btime);
  out.u64(data_crc64);
  out.raw(name);
  std::string bytes = out.take();
  bytes.resize(header_bytes - kRecordTailBytes, '\0');
  Writer tail;
  tail.u32(header_bytes);
  const uint32_t crc = digest::crc32c(as_bytes(tail.str()), digest::crc32c(as_bytes(bytes)));
  tail.u32(crc);
  return bytes + tail.str();
}

Result<RecordHeader> decode_record_header(std::string_view bytes) {
  Reader in(bytes);
  if (in.raw(8) != kRecordMagic) return damaged("no magic");
  RecordHeader header;
  header.header_bytes = in.u32();
  if (header.header_bytes < kRecordFixedBytes + kRecordTailBytes ||
      header.header_bytes > kRecordHeaderBytesMax) {
    return damaged(fmt::format("header of {} bytes", header.header_bytes));
  }
  if (bytes.size() < header.header_bytes) return damaged("header is cut");
  Reader tail(bytes.substr(header.header_bytes - kRecordTailBytes));
  const uint32_t length_again = tail.u32();
  const uint32_t crc = tail.u32();
  if (length_again != header.header_bytes ||
      crc != digest::crc32c(as_bytes(bytes.substr(0, header.header_bytes - 4)))) {
    return damaged("header does not fit its CRC");
  }
  in.u32();
  Identity& id = header.identity;
  id.ino = Ino(in.u64());
  id.generation = Generation(in.u64());
  id.parent = Ino(in.u64());
  header.data_bytes = in.u64();
  id.mode = in.u32();
  id.uid = in.u32();
  id.gid = in.u32();
  const uint32_t name_bytes = in.u32();
  id.mtime = in.i64();
  id.ctime = in.i64();
  id.btime = in.i64();
  header.data_crc64 = in.u64();
  id.name = in.raw(name_bytes);
  if (!in.is_ok()) return damaged(fmt::format("name of {} bytes", name_bytes));
  return header;
}

uint64_t record_bytes(uint64_t header_bytes, uint64_t data_bytes) {
  return header_bytes + round_up_8(data_bytes);
}

Result<std::optional<RecordHeader>> read_header_before(int fd, uint64_t data_offset) {
  if (data_offset < kPackHeaderBytes + kRecordFixedBytes + kRecordTailBytes) {
    return std::optional<RecordHeader>();
  }
  const uint64_t begin =
      data_offset - std::min<uint64_t>(data_offset - kPackHeaderBytes, kRecordHeaderBytesMax);
  std::string bytes(data_offset - begin, '\0');
  TARN_TRY(read_exactly_at(fd, begin, std::as_writable_bytes(std::span(bytes))));
  Reader tail(std::string_view(bytes).substr(bytes.size() - kRecordTailBytes));
  const uint32_t length = tail.u32();
  if (length < kRecordFixedBytes + kRecordTailBytes || length > bytes.size() ||
      bytes.compare(bytes.size() - length, kRecordMagic.size(), kRecordMagic) != 0) {
    return std::optional<RecordHeader>();
  }
  TARN_ASSIGN(RecordHeader header,
              decode_record_header(std::string_view(bytes).substr(bytes.size() - length)));
  return std::optional(std::move(header));
}

Result<uint64_t> scan_pack(int fd, const std::function<bool(const ScannedRecord&)>& visitor) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return last_errno("fstat of a pack");
  const auto end = static_cast<uint64_t>(info.st_size);
  uint64_t at = kPackHeaderBytes, skipped = 0;
  std::string head(kRecordHeaderBytesMax, '\0'), data;
  while (at + kRecordFixedBytes + kRecordTailBytes <= end) {
    TARN_ASSIGN(size_t got, read_at(fd, at, std::as_writable_bytes(std::span(head))));
    auto header = decode_record_header(std::string_view(head).substr(0, got));
    const bool is_header_ok = header.is_ok() && header->data_bytes <= limits::kPackBytesMax &&
                              at + header->header_bytes + header->data_bytes <= end;
    if (!is_header_ok) {
      at += 8;
      skipped += 8;
      continue;
    }
    ScannedRecord record;
    record.header = std::move(header).value();
    record.data_offset = at + record.header.header_bytes;
    data.resize(record.header.data_bytes);
    TARN_TRY(read_exactly_at(fd, record.data_offset, std::as_writable_bytes(std::span(data))));
    record.is_data_ok = digest::crc64nvme(as_bytes(data)) == record.header.data_crc64;
    at += record_bytes(record.header.header_bytes, record.header.data_bytes);
    if (!visitor(record)) break;
  }
  return skipped;
}

}  // namespace tarn::content
