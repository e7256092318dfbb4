// The format of tar: header blocks, number fields, pax records. Parsing only, no reading.
//
// Sources: POSIX.1-2017 pax ("ustar Interchange Format", "pax Interchange Format"), GNU tar manual
// appendix "Tar Internals" (old GNU, sparse formats 0.0, 0.1, 1.0), star(5) for SCHILY records.
//
//   offset size  field        | offset size  GNU ("ustar  \0")  | offset size  ustar ("ustar\0")
//        0  100  name         |    345   12  atime              |    345  155  prefix (131 in star)
//      100    8  mode         |    357   12  ctime              |
//      108    8  uid          |    386 4x24  sparse entries     |
//      116    8  gid          |    482    1  is extended        |
//      124   12  size         |    483   12  real size          |
//      136   12  mtime        |    257    8  magic and version
//      148    8  checksum     |    265   32  uname, 297 32 gname
//      156    1  type         |    329    8  device major, 337 8 device minor
//      157  100  link name    |
// Thread-safe: plain values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "archive/member.h"
#include "base/clock.h"
#include "base/status.h"

namespace tarn::archive {

inline constexpr size_t kBlockBytes = 512;
using Block = std::array<std::byte, kBlockBytes>;

bool is_zero_block(std::span<const std::byte> block);
/// The sum of the bytes, the checksum field taken as blanks, unsigned as POSIX says or signed as
/// old tars made it.
bool has_valid_checksum(std::span<const std::byte> block);

/// A number field: octal digits between blanks, ended by blank or NUL, or base 256 (high bit of the
/// first byte set, big-endian two's complement). An empty field is 0. BadFormat for anything else
/// and beyond 63 bits.
Result<int64_t> parse_tar_number(std::string_view field);

/// Decimal digits and nothing else. BadFormat otherwise and beyond 63 bits.
Result<uint64_t> parse_decimal(std::string_view text);

/// pax time: seconds with a sign and any number of decimals, to nanoseconds (rounded towards minus
/// infinity). Times beyond the range of TimeNs become its ends.
Result<TimeNs> parse_pax_time(std::string_view text);
/// Seconds to TimeNs, clamped in the same way.
TimeNs clamp_seconds(int64_t seconds);

enum class TarDialect { kV7, kUstar, kGnu };

/// One header block, read through accessors.
class TarHeader {
 public:
  explicit TarHeader(const Block& block) : block_(block) {}
  char type() const { return static_cast<char>(block_[156]); }
  TarDialect dialect() const;
  /// prefix, '/' and name where the dialect has a prefix; else the name.
  std::string name() const;
  std::string link_name() const { return std::string(text(157, 100)); }
  std::string uname() const;
  std::string gname() const;
  Result<int64_t> mode() const { return number(100, 8, "mode"); }
  Result<int64_t> uid() const { return number(108, 8, "uid"); }
  Result<int64_t> gid() const { return number(116, 8, "gid"); }
  /// BadFormat when negative.
  Result<uint64_t> size() const;
  Result<int64_t> mtime() const { return number(136, 12, "mtime"); }
  Result<int64_t> device_major() const { return number(329, 8, "device major"); }
  Result<int64_t> device_minor() const { return number(337, 8, "device minor"); }
  /// GNU only: seconds, absent when 0 or unreadable (old writers left rubbish there).
  std::optional<int64_t> gnu_atime() const { return gnu_time(345); }
  std::optional<int64_t> gnu_ctime() const { return gnu_time(357); }
  Result<uint64_t> gnu_real_size() const;
  bool gnu_is_extended() const { return block_[482] != std::byte{0}; }
  /// The sparse entries of the header.
  std::string_view gnu_sparse_entries() const { return field(386, 4 * 24); }

 private:
  std::string_view field(size_t offset, size_t size) const;
  std::string_view text(size_t offset, size_t size) const;  // up to the first NUL
  Result<int64_t> number(size_t offset, size_t size, std::string_view what) const;
  std::optional<int64_t> gnu_time(size_t offset) const;
  const Block& block_;
};

/// A stretch of a sparse file, as maps give it.
struct SparseEntry {
  uint64_t offset = 0;
  uint64_t length = 0;
};
/// Old GNU entries of 12 + 12 bytes, up to the first empty one.
Result<std::vector<SparseEntry>> parse_gnu_sparse(std::string_view entries);

/// What the pax records of a member say.
struct PaxRecords {
  std::optional<std::string> path, link_path, uname, gname;
  std::optional<uint64_t> size;
  std::optional<int64_t> uid, gid, device_major, device_minor;
  std::optional<TimeNs> mtime, atime, ctime;
  std::vector<Xattr> xattrs;
  std::optional<std::string> acl_access, acl_default;
  std::optional<std::string> sparse_name;
  std::optional<uint64_t> sparse_major, sparse_minor, sparse_real_size, schily_real_size;
  std::vector<SparseEntry> sparse_map;
  std::optional<uint64_t> sparse_offset;  // of a 0.0 map, until its length comes
  bool has_sparse_map = false;
  bool has_ignored_acl = false;  // NFSv4

  /// Adds the records of a header's body; a later record of a key replaces the earlier one, an
  /// empty value removes it. BadFormat for a malformed record, a NUL in a name, a bad number;
  /// NotSupported for a sparse format that is not known.
  Status add(std::string_view body);

 private:
  Status add_record(std::string_view key, std::string_view value);
  Status add_sparse_record(std::string_view key, std::string_view value);
  Status add_schily_record(std::string_view key, std::string_view value);
  void set_xattr(std::string name, std::string_view value);
};

}  // namespace tarn::archive
