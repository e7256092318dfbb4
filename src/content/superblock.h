// The superblock: 512 bytes at the start of ROOT/superblock that say what the folder is.
//
// Little-endian:
//   0 magic "TARNROOT"   8 u32 format version   12 u32 bytes (512)   16 uuid (16)
//   32 u64 compatible flags   40 u64 flags that forbid writing when unknown   48 u64 flags that
//   forbid opening when unknown   56 boot id (16)   72 u64 unique mount id   80 u64 end state   88
//   i64 created 96 u64 ballast bytes   104 u64 pid of the owner   112 zeros   508 u32 CRC-32C of
//   bytes 0..507
//
// One sector, rewritten in place. Plain values. Golden file: superblock in content's tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace tarn::content {

inline constexpr size_t kSuperblockBytes = 512;
inline constexpr uint32_t kFormatVersion = 1;

enum class EndState : uint64_t { kFresh = 0, kServing = 1, kClean = 2 };

struct Superblock {
  std::string uuid = std::string(16, '\0');
  uint64_t compat = 0, ro_compat = 0, incompat = 0;
  std::string boot_id = std::string(16, '\0');
  uint64_t mount_id = 0;
  EndState end_state = EndState::kFresh;
  TimeNs created = 0;
  uint64_t ballast_bytes = 0;
  uint64_t owner_pid = 0;
  bool operator==(const Superblock&) const = default;
};

std::string encode(const Superblock& superblock);
/// kBadFormat: not a Tarn root, a newer version or unknown flags (the message says which).
/// kCorrupt: the CRC does not fit.
Result<Superblock> decode_superblock(std::string_view bytes);
/// "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" of 16 bytes.
std::string format_uuid(std::string_view bytes);

}  // namespace tarn::content
