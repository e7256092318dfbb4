// Packs: many small files in one, each record with a header that says whose bytes they are.
//
// A pack begins with 64 bytes: magic "TARNPACK", u32 version 1, u32 zero, u64 pack id, 36 zeros,
// u32 CRC-32C of bytes 0..59. Records follow, each at a multiple of 8, all little-endian:
//
//    0 magic "TARNREC1"    8 u32 header bytes (all before the data)   12 u32 flags (0)
//   16 u64 inode          24 u64 generation   32 u64 parent           40 u64 data bytes
//   48 u32 mode           52 u32 uid          56 u32 gid              60 u32 name bytes
//   64 i64 mtime          72 i64 ctime        80 i64 btime            88 u64 CRC-64/NVME of the
//   data 96 name, zeros up to a multiple of 8
//    n u32 header bytes again    n+4 u32 CRC-32C of the header before it      then the data
//
// The header's end carries its length, so that a reader who knows where the data is (a Slice) finds
// the header before it. Blobs carry the same header (data bytes = the file's size, CRC 0) in an
// attribute. Damaged packs are read on from the next magic. Plain functions; golden file in the
// tests.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"

namespace tarn::content {

inline constexpr uint64_t kPackHeaderBytes = 64;
inline constexpr size_t kRecordTailBytes = 8;
inline constexpr size_t kRecordHeaderBytesMax = 96 + 256 + kRecordTailBytes;

/// What a record or blob says of the file whose bytes it holds.
struct Identity {
  Ino ino;
  Generation generation;
  Ino parent;
  std::string name;  // cut to 255 bytes
  uint32_t mode = 0, uid = 0, gid = 0;
  TimeNs mtime = 0, ctime = 0, btime = 0;
  bool operator==(const Identity&) const = default;
};

struct RecordHeader {
  Identity identity;
  uint64_t data_bytes = 0;
  uint64_t data_crc64 = 0;
  uint32_t header_bytes = 0;  // filled by decode
};

std::string encode_pack_header(BlobId pack);
Status check_pack_header(std::string_view bytes, BlobId pack);

std::string encode_record_header(const Identity& identity, uint64_t data_bytes,
                                 uint64_t data_crc64);
/// `bytes` begin at the magic and may go on past the header. kCorrupt when damaged or cut.
Result<RecordHeader> decode_record_header(std::string_view bytes);
/// Bytes that a record takes in a pack, padding included.
uint64_t record_bytes(uint64_t header_bytes, uint64_t data_bytes);

/// The header of the record whose data begins at `data_offset` of the pack `fd`. nullopt when no
/// record's data begins there (a slice within a record). kCorrupt when the header is damaged.
Result<std::optional<RecordHeader>> read_header_before(int fd, uint64_t data_offset);

struct ScannedRecord {
  RecordHeader header;
  uint64_t data_offset = 0;
  bool is_data_ok = false;
};
/// Reads a whole pack; what is damaged is skipped to the next record found. The visitor returns
/// false to stop. Returns the number of bytes skipped.
Result<uint64_t> scan_pack(int fd, const std::function<bool(const ScannedRecord&)>& visitor);

}  // namespace tarn::content
