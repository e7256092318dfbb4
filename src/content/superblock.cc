#include "content/superblock.h"

#include <fmt/format.h>

#include "base/coding.h"
#include "base/file.h"
#include "digest/crc.h"

namespace tarn::content {
namespace {

constexpr std::string_view kMagic = "TARNROOT";
constexpr uint64_t kKnownRoCompat = 0, kKnownIncompat = 0;

}  // namespace

std::string encode(const Superblock& superblock) {
  Writer out;
  out.raw(kMagic);
  out.u32(kFormatVersion);
  out.u32(static_cast<uint32_t>(kSuperblockBytes));
  out.raw(superblock.uuid);
  out.u64(superblock.compat);
  out.u64(superblock.ro_compat);
  out.u64(superblock.incompat);
  out.raw(superblock.boot_id);
  out.u64(superblock.mount_id);
  out.u64(static_cast<uint64_t>(superblock.end_state));
  out.i64(superblock.created);
  out.u64(superblock.ballast_bytes);
  out.u64(superblock.owner_pid);
  std::string bytes = out.take();
  bytes.resize(kSuperblockBytes - 4, '\0');
  Writer tail;
  tail.u32(digest::crc32c(as_bytes(bytes)));
  return bytes + tail.str();
}

Result<Superblock> decode_superblock(std::string_view bytes) {
  Reader in(bytes);
  if (in.raw(kMagic.size()) != kMagic) {
    return Status(Code::kBadFormat, "not a Tarn root: the superblock does not begin with TARNROOT");
  }
  const uint32_t version = in.u32();
  if (version > kFormatVersion) {
    return Status(Code::kBadFormat,
                  fmt::format("format version {} is newer than this program's {}: use a newer Tarn",
                              version, kFormatVersion));
  }
  if (bytes.size() != kSuperblockBytes || in.u32() != kSuperblockBytes) {
    return Status(Code::kCorrupt, fmt::format("superblock has {} bytes instead of {}", bytes.size(),
                                              kSuperblockBytes));
  }
  Reader tail(bytes.substr(kSuperblockBytes - 4));
  if (tail.u32() != digest::crc32c(as_bytes(bytes.substr(0, kSuperblockBytes - 4)))) {
    return Status(Code::kCorrupt, "superblock is damaged: its CRC does not fit");
  }
  Superblock superblock;
  superblock.uuid = in.raw(16);
  superblock.compat = in.u64();
  superblock.ro_compat = in.u64();
  superblock.incompat = in.u64();
  superblock.boot_id = in.raw(16);
  superblock.mount_id = in.u64();
  superblock.end_state = static_cast<EndState>(in.u64());
  superblock.created = in.i64();
  superblock.ballast_bytes = in.u64();
  superblock.owner_pid = in.u64();
  if ((superblock.incompat & ~kKnownIncompat) != 0 ||
      (superblock.ro_compat & ~kKnownRoCompat) != 0) {
    return Status(
        Code::kBadFormat,
        fmt::format("the root uses features that this program does not know (incompat "
                    "{:#x}, ro-compat {:#x}): use a newer Tarn",
                    superblock.incompat & ~kKnownIncompat, superblock.ro_compat & ~kKnownRoCompat));
  }
  return superblock;
}

std::string format_uuid(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    text += fmt::format("{:02x}", static_cast<unsigned char>(bytes[i]));
  }
  return text;
}

}  // namespace tarn::content
