// The half of TarReader that turns the headers of a member into a Member.
#include <algorithm>

#include <fmt/format.h>

#include "archive/acl_text.h"
#include "archive/path.h"
#include "archive/tar_reader.h"
#include "base/limits.h"

namespace tarn::archive {
namespace {

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

uint64_t padding_of(uint64_t bytes) {
  return (kBlockBytes - bytes % kBlockBytes) % kBlockBytes;
}

Result<uint32_t> owner_id(int64_t id, std::string_view what) {
  // Negative ones are how some tars write ids near 2^32.
  if (id < INT32_MIN || id > UINT32_MAX)
    return bad(fmt::format("{} {} is beyond 32 bits", what, id));
  return static_cast<uint32_t>(id);
}

/// The extents of a sparse file whose `stored` bytes begin at `data_offset`.
Result<std::vector<Extent>> lay_out(const std::vector<SparseEntry>& map, uint64_t data_offset,
                                    uint64_t stored, uint64_t size) {
  std::vector<Extent> extents;
  uint64_t end = 0, covered = 0;
  for (const SparseEntry& entry : map) {
    if (entry.offset < end || entry.offset > size || entry.length > size - entry.offset)
      return bad(
          fmt::format("sparse map entry ({}, {}) overlaps the one before it or lies beyond "
                      "the file's size {}",
                      entry.offset, entry.length, size));
    if (entry.length == 0) continue;
    if (!extents.empty() && entry.offset == end)
      extents.back().length += entry.length;
    else
      extents.push_back({data_offset + covered, entry.offset, entry.length});
    end = entry.offset + entry.length;
    covered += entry.length;
  }
  if (covered != stored)
    return bad(fmt::format("sparse map covers {} bytes, but {} are stored", covered, stored));
  return extents;
}

}  // namespace

Result<Member> TarReader::make_member(Headers& headers) {
  const PaxRecords& pax = headers.pax;
  const TarHeader header(headers.block);
  const std::string name = pax.sparse_name     ? *pax.sparse_name
                           : pax.path          ? *pax.path
                           : headers.long_name ? *headers.long_name
                                               : header.name();
  auto member = fill_member(headers, name);
  if (!member)
    return member.status().with_context(
        fmt::format("member '{}' at offset {}", printable(name), headers.offset));
  name_ = printable(member->path);
  extents_ = member->extents;
  is_sparse_ = member->is_sparse;
  has_data_ = member->type == MemberType::kFile;
  ++members_;
  stored_total_ += member->stored_bytes;
  return member;
}

Result<Member> TarReader::fill_member(Headers& headers, std::string_view name) {
  const PaxRecords& pax = headers.pax;
  const TarHeader header(headers.block);
  Member member;
  member.header_offset = headers.offset;
  TARN_ASSIGN(member.path,
              normalise_path(name, options_.strip_leading_slash ? LeadingSlash::kStrip
                                                                : LeadingSlash::kRefuse));
  TARN_ASSIGN(headers.stored_bytes, header.size());
  if (pax.size) headers.stored_bytes = *pax.size;
  TARN_TRY(set_attributes(header, pax, member));
  TARN_TRY(set_type(header, headers, name, member));
  if (member.path.empty() && member.type != MemberType::kDirectory)
    return bad(fmt::format("a {} needs a name", member_type_name(member.type)));

  // What follows the headers is passed over for every type but a file.
  member.data_offset = position();
  stored_left_ = headers.stored_bytes;
  padding_left_ = padding_of(stored_left_);
  if (member.type == MemberType::kFile) {
    member.stored_bytes = headers.stored_bytes;
    if (!member.is_sparse) member.size = member.stored_bytes;
  }
  if (const auto size = stream_->size()) {
    const uint64_t left = *size - std::min(*size, position());
    if (stored_left_ > left)
      return bad(
          fmt::format("the archive is truncated: it ends at offset {}, but the member's {} "
                      "bytes begin at {}",
                      *size, stored_left_, member.data_offset));
  }
  TARN_TRY(check_limits(member));
  return member;
}

Status TarReader::check_limits(const Member& member) const {
  const Limits& limits = options_.limits;
  if (members_ >= limits.members_max)
    return {Code::kFileTooLarge,
            fmt::format("the archive has more than {} members", limits.members_max)};
  if (member.size > limits.file_bytes_max)
    return {Code::kFileTooLarge,
            fmt::format("size {} exceeds the limit {}", member.size, limits.file_bytes_max)};
  if (member.stored_bytes >
      limits.stored_bytes_max - std::min(limits.stored_bytes_max, stored_total_))
    return {Code::kFileTooLarge,
            fmt::format("with its {} bytes the members exceed the limit of {} bytes",
                        member.stored_bytes, limits.stored_bytes_max)};
  return {};
}

Status TarReader::set_attributes(const TarHeader& header, const PaxRecords& pax, Member& member) {
  TARN_ASSIGN(const int64_t mode, header.mode());
  member.mode = static_cast<uint32_t>(mode & 07777);
  int64_t uid = 0, gid = 0;
  if (pax.uid) {
    uid = *pax.uid;
  } else {
    TARN_ASSIGN(uid, header.uid());
  }
  if (pax.gid) {
    gid = *pax.gid;
  } else {
    TARN_ASSIGN(gid, header.gid());
  }
  TARN_ASSIGN(member.uid, owner_id(uid, "uid"));
  TARN_ASSIGN(member.gid, owner_id(gid, "gid"));
  member.uname = pax.uname ? *pax.uname : header.uname();
  member.gname = pax.gname ? *pax.gname : header.gname();
  if (pax.mtime) {
    member.mtime = *pax.mtime;
  } else {
    TARN_ASSIGN(const int64_t mtime, header.mtime());
    member.mtime = clamp_seconds(mtime);
  }
  member.atime = pax.atime;
  member.ctime = pax.ctime;
  if (const auto seconds = header.gnu_atime(); seconds && !member.atime)
    member.atime = clamp_seconds(*seconds);
  if (const auto seconds = header.gnu_ctime(); seconds && !member.ctime)
    member.ctime = clamp_seconds(*seconds);
  for (const Xattr& xattr : pax.xattrs) {
    if (xattr.name.empty() || xattr.name.size() > limits::kNameBytesMax ||
        xattr.value.size() > limits::kXattrValueBytesMax)
      return bad(
          fmt::format("extended attribute '{}' has a name of {} and a value of {} bytes; the "
                      "limits are {} and {}",
                      printable(xattr.name), xattr.name.size(), xattr.value.size(),
                      limits::kNameBytesMax, limits::kXattrValueBytesMax));
    member.xattrs.push_back(xattr);
  }
  TARN_TRY(set_acl(pax.acl_access, "system.posix_acl_access", member));
  TARN_TRY(set_acl(pax.acl_default, "system.posix_acl_default", member));
  if (pax.has_ignored_acl)
    warn(fmt::format("'{}': its NFSv4 ACL is left out", printable(member.path)));
  return {};
}

Status TarReader::set_acl(const std::optional<std::string>& text, std::string_view attribute,
                          Member& member) {
  if (!text || text->empty()) return {};
  TARN_ASSIGN(Acl acl, parse_acl_text(*text, options_.resolve_name));
  for (const std::string& name : acl.unknown_names)
    warn(fmt::format("'{}': ACL entry '{}' names nobody here and is left out",
                     printable(member.path), printable(name)));
  // An access ACL of three entries is the mode bits; a default ACL of three is not.
  if (acl.is_minimal && attribute == "system.posix_acl_access") return {};
  const auto same = std::ranges::find(member.xattrs, attribute, &Xattr::name);
  if (same == member.xattrs.end()) member.xattrs.push_back({std::string(attribute), acl.xattr});
  return {};
}

Status TarReader::set_type(const TarHeader& header, Headers& headers, std::string_view name,
                           Member& member) {
  const char type = header.type();
  switch (type) {
    case '0':
    case '\0':
    case '7':
      // V7 had no other way to say directory, and others copied it.
      member.type = name.ends_with('/') ? MemberType::kDirectory : MemberType::kFile;
      if (member.type == MemberType::kFile) return set_sparse(header, headers, member);
      return {};
    case 'S':
      return set_sparse(header, headers, member);
    case '1': {
      member.type = MemberType::kHardlink;
      if (headers.stored_bytes > 0 && !headers.pax.size) {
        TARN_ASSIGN(const bool has_data, hardlink_has_data());
        if (!has_data) headers.stored_bytes = 0;
      }
      return set_link(header, headers, member);
    }
    case '2':
      member.type = MemberType::kSymlink;
      headers.stored_bytes = 0;
      return set_link(header, headers, member);
    case '3':
      member.type = MemberType::kCharDevice;
      headers.stored_bytes = 0;
      return set_devices(header, headers.pax, member);
    case '4':
      member.type = MemberType::kBlockDevice;
      headers.stored_bytes = 0;
      return set_devices(header, headers.pax, member);
    case '5':
      member.type = MemberType::kDirectory;
      headers.stored_bytes = 0;  // POSIX: a quota, not data
      return {};
    case '6':
      member.type = MemberType::kFifo;
      headers.stored_bytes = 0;
      return {};
    case 'D':  // GNU incremental: a directory; its listing is stored and passed over
      member.type = MemberType::kDirectory;
      return {};
    case 'M':
      return {Code::kNotSupported,
              "continues a file of another volume; multi-volume archives are "
              "not supported"};
    default:
      return {Code::kNotSupported, fmt::format("member type '{}' is not supported",
                                               printable(std::string_view(&type, 1)))};
  }
}

/// Whether data follows a hard link whose header has a size. POSIX allows it, old tars wrote a size
/// and no data. A block that is a header decides.
Result<bool> TarReader::hardlink_has_data() {
  TARN_ASSIGN(pushed_back_, read_block());
  return pushed_back_ && !is_zero_block(*pushed_back_) && !has_valid_checksum(*pushed_back_);
}

Status TarReader::set_link(const TarHeader& header, const Headers& headers, Member& member) const {
  const std::string target = headers.pax.link_path ? *headers.pax.link_path
                             : headers.long_link   ? *headers.long_link
                                                   : header.link_name();
  if (target.empty()) return bad("the link has no target");
  if (member.type == MemberType::kHardlink) {
    auto path = normalise_path(
        target, options_.strip_leading_slash ? LeadingSlash::kStrip : LeadingSlash::kRefuse);
    if (!path) return path.status().with_context("target of the hard link");
    member.link_target = std::move(*path);
    return {};
  }
  if (target.size() > limits::kSymlinkBytesMax)
    return {Code::kNameTooLong,
            fmt::format("target of the symbolic link has {} bytes, the limit is {}", target.size(),
                        limits::kSymlinkBytesMax)};
  member.link_target = target;
  return {};
}

Status TarReader::set_devices(const TarHeader& header, const PaxRecords& pax,
                              Member& member) const {
  int64_t device_major = 0, device_minor = 0;
  if (pax.device_major) {
    device_major = *pax.device_major;
  } else {
    TARN_ASSIGN(device_major, header.device_major());
  }
  if (pax.device_minor) {
    device_minor = *pax.device_minor;
  } else {
    TARN_ASSIGN(device_minor, header.device_minor());
  }
  if (device_major < 0 || device_major > UINT32_MAX || device_minor < 0 ||
      device_minor > UINT32_MAX)
    return bad(fmt::format("device number {}:{} is beyond 32 bits", device_major, device_minor));
  member.device_major = static_cast<uint32_t>(device_major);
  member.device_minor = static_cast<uint32_t>(device_minor);
  return {};
}

Status TarReader::set_sparse(const TarHeader& header, Headers& headers, Member& member) {
  const PaxRecords& pax = headers.pax;
  std::vector<SparseEntry> map;
  uint64_t size = 0;
  if (header.type() == 'S') {
    if (header.dialect() != TarDialect::kGnu)
      return {Code::kNotSupported, "sparse files in the format of star are not supported"};
    TARN_ASSIGN(size, header.gnu_real_size());
    TARN_ASSIGN(map, read_gnu_map(header, headers));
  } else if (pax.sparse_major || pax.has_sparse_map) {
    const uint64_t major = pax.sparse_major.value_or(0), minor = pax.sparse_minor.value_or(0);
    if (!(major == 1 && minor == 0) && !(major == 0 && pax.has_sparse_map))
      return {Code::kNotSupported,
              fmt::format("sparse format {}.{} is not supported", major, minor)};
    if (!pax.sparse_real_size) return bad("sparse file without its size");
    size = *pax.sparse_real_size;
    map = pax.sparse_map;
    if (major == 1) {
      TARN_ASSIGN(map, read_pax_map(headers));
    }
  } else {
    if (pax.schily_real_size && *pax.schily_real_size != headers.stored_bytes)
      return {Code::kNotSupported, "sparse files in the format of star are not supported"};
    return {};
  }
  if (size > INT64_MAX) return bad(fmt::format("size {} is beyond 63 bits", size));
  TARN_ASSIGN(member.extents, lay_out(map, position(), headers.stored_bytes, size));
  member.size = size;
  const bool is_whole =
      size == 0 || (member.extents.size() == 1 && member.extents[0].length == size);
  member.is_sparse = !is_whole;
  if (is_whole) member.extents.clear();
  return {};
}

/// The map of an old GNU sparse file: 4 entries in the header, 21 in each block that follows.
Result<std::vector<SparseEntry>> TarReader::read_gnu_map(const TarHeader& header,
                                                         Headers& headers) {
  constexpr size_t kEntriesBytes = 21 * 24, kIsExtendedOffset = kEntriesBytes;
  TARN_ASSIGN(auto map, parse_gnu_sparse(header.gnu_sparse_entries()));
  bool is_extended = header.gnu_is_extended();
  while (is_extended) {
    TARN_ASSIGN(const std::string block, read_body(kBlockBytes, headers));
    TARN_ASSIGN(const auto more,
                parse_gnu_sparse(std::string_view(block).substr(0, kEntriesBytes)));
    map.insert(map.end(), more.begin(), more.end());
    is_extended = block[kIsExtendedOffset] != '\0';
  }
  return map;
}

/// The map of sparse format 1.0: decimal lines in front of the data, padded to a block.
Result<std::vector<SparseEntry>> TarReader::read_pax_map(Headers& headers) {
  std::string text;
  size_t used = 0;
  const auto next_number = [&]() -> Result<uint64_t> {
    size_t end = text.find('\n', used);
    while (end == std::string::npos) {
      if (headers.stored_bytes < kBlockBytes)
        return bad("sparse map goes beyond the member's data");
      headers.stored_bytes -= kBlockBytes;
      const size_t old = text.size();
      TARN_ASSIGN(const std::string block, read_body(kBlockBytes, headers));
      text += block;
      end = text.find('\n', old);
    }
    const size_t begin = std::exchange(used, end + 1);
    return parse_decimal(std::string_view(text).substr(begin, end - begin));
  };
  std::vector<SparseEntry> map;
  TARN_ASSIGN(const uint64_t entries, next_number());
  for (uint64_t i = 0; i < entries; ++i) {
    SparseEntry entry;
    TARN_ASSIGN(entry.offset, next_number());
    TARN_ASSIGN(entry.length, next_number());
    map.push_back(entry);
  }
  return map;
}

}  // namespace tarn::archive
