// Rows of room content in the store: keys and values.
//
//   'b' 'i' blob             BlobInfo: a settled blob or a pack
//   'b' 'c' blob chunk       CRC-64/NVME of 1,024 units of 1 MiB each (8 bytes little-endian each)
//   'b' 'x' blob             released, to be unlinked when nobody owns it: 'b' or 'p' (a pack)
//   'b' 'd' blob offset      damaged range: varint length
//   'v' blob offset ino      owner of a range of a blob: Owner
//   'k' 'w' pack window      records that begin in 64 KiB of a pack: list of PackedOwner
//   'k' 'd' pack offset ino  owner of a pack record added or removed since the window row: Delta
//
// Ids, offsets and numbers in keys are 8 bytes, big-endian. Values are varints in the order of the
// struct's members. Plain functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace tarn::content {

inline constexpr uint64_t kWindowBytes = 64 * 1024;
inline constexpr uint64_t kCrcsPerRow = 1024;

struct BlobInfo {
  bool is_pack = false;
  bool has_crcs = false;  // for `generation` of `ino`
  uint64_t size = 0;
  Ino ino;
  Generation generation;
  uint64_t live_records = 0, live_bytes = 0;  // packs
  bool operator==(const BlobInfo&) const = default;
};
struct Owner {
  Generation generation;
  uint64_t length = 0;  // 0: to the blob's end
  bool operator==(const Owner&) const = default;
};
struct PackedOwner {
  uint64_t offset = 0, length = 0;
  Ino ino;
  Generation generation;
  bool operator==(const PackedOwner&) const = default;
};
struct Delta {
  bool is_added = false;
  Generation generation;
  uint64_t length = 0;
  bool operator==(const Delta&) const = default;
};

std::string info_prefix();
std::string info_key(BlobId blob);
std::string crc_prefix(BlobId blob);
std::string crc_key(BlobId blob, uint64_t chunk);
std::string released_prefix();
std::string released_key(BlobId blob);
std::string damage_prefix();
std::string damage_prefix(BlobId blob);
std::string damage_key(BlobId blob, uint64_t offset);
std::string owner_prefix(BlobId blob);
std::string owner_key(BlobId blob, uint64_t offset, Ino ino);
std::string window_prefix(BlobId pack);
std::string window_key(BlobId pack, uint64_t window);
std::string delta_prefix();
std::string delta_prefix(BlobId pack);
std::string delta_key(BlobId pack, uint64_t offset, Ino ino);

/// The n-th 8-byte number of a key, after its prefix bytes (1 for 'v', else 2).
uint64_t number_of_key(std::string_view key, size_t n);

std::string encode(const BlobInfo& v);
std::string encode(const Owner& v);
std::string encode(const std::vector<PackedOwner>& v);
std::string encode(const Delta& v);
/// kCorrupt when it is not such a value.
Result<BlobInfo> decode_info(std::string_view bytes);
Result<Owner> decode_owner(std::string_view bytes);
Result<std::vector<PackedOwner>> decode_window(std::string_view bytes);
Result<Delta> decode_delta(std::string_view bytes);

}  // namespace tarn::content
