#include "archive/zip_reader.h"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>

#include <fmt/format.h>

#include "archive/path.h"
#include "base/coding.h"
#include "base/limits.h"

namespace tarn::archive {
namespace {

using namespace std::string_view_literals;

// PKWARE APPNOTE 6.3.10: signatures and the sizes of the fixed parts.
constexpr auto kEndMagic = "PK\x05\x06"sv, kEnd64Magic = "PK\x06\x06"sv,
               kLocator64Magic = "PK\x06\x07"sv, kCentralMagic = "PK\x01\x02"sv,
               kLocalMagic = "PK\x03\x04"sv;
constexpr size_t kEndBytes = 22, kLocator64Bytes = 20, kEnd64Bytes = 56, kCentralBytes = 46,
                 kLocalBytes = 30, kCommentBytesMax = 65535;
constexpr uint32_t kIn64 = 0xffffffff;
constexpr uint16_t kFlagEncrypted = 1, kHostUnix = 3, kHostDarwin = 19;
constexpr uint16_t kExtra64 = 0x0001, kExtraTimes = 0x5455, kExtraOwner = 0x7875;

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

/// Exactly `size` bytes of the archive.
Result<std::string> read_text(Source& source, uint64_t offset, size_t size) {
  std::string text(size, '\0');
  TARN_ASSIGN(const size_t n,
              source.read_at(offset, {reinterpret_cast<std::byte*>(text.data()), size}));
  if (n < size)
    return bad(fmt::format("the zip is truncated: {} bytes are missing at offset {}", size - n,
                           offset + n));
  return text;
}

uint64_t read_uint(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = std::min<size_t>(bytes.size(), 8); i-- > 0;)
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

TimeNs dos_time(uint16_t date, uint16_t time) {
  tm parts{};
  parts.tm_year = (date >> 9) + 80;
  parts.tm_mon = (date >> 5 & 15) - 1;
  parts.tm_mday = date & 31;
  parts.tm_hour = time >> 11;
  parts.tm_min = time >> 5 & 63;
  parts.tm_sec = (time & 31) * 2;
  return static_cast<TimeNs>(::timegm(&parts)) * kSecondNs;
}

}  // namespace

/// One entry of the central directory.
struct ZipReader::Central {
  uint16_t host = 0, flags = 0, method = 0, time = 0, date = 0;
  uint64_t stored = 0, size = 0, local_offset = 0;
  uint32_t attributes = 0;
  std::string_view name;
  std::optional<int32_t> unix_mtime;
  uint32_t uid = 0, gid = 0;
  size_t end = 0;  // where the next entry begins

  uint32_t unix_mode() const {
    return host == kHostUnix || host == kHostDarwin ? attributes >> 16 : 0;
  }
  void read_extra(std::string_view extra) {
    tarn::Reader in(extra);
    while (in.rest().size() >= 4) {
      const uint16_t id = in.u16(), length = in.u16();
      tarn::Reader field(in.raw(length));
      if (!in.is_ok()) return;
      if (id == kExtra64) {
        if (size == kIn64) size = field.u64();
        if (stored == kIn64) stored = field.u64();
        if (local_offset == kIn64) local_offset = field.u64();
      } else if (id == kExtraTimes && (field.u8() & 1) != 0 && field.rest().size() >= 4) {
        unix_mtime = static_cast<int32_t>(field.u32());
      } else if (id == kExtraOwner && field.u8() == 1) {
        const uint64_t user = read_uint(field.raw(field.u8()));
        const uint64_t group = read_uint(field.raw(field.u8()));
        if (!field.is_ok()) continue;
        uid = static_cast<uint32_t>(user);
        gid = static_cast<uint32_t>(group);
      }
    }
  }
};

ZipReader::ZipReader(Source& source, Options options)
    : Reader({Container::kZip, Compression::kNone}), source_(source), options_(std::move(options)) {
  if (options_.validate_members) validator_.emplace(options_);
}

Result<std::unique_ptr<Reader>> ZipReader::open(Source& source, Options options) {
  std::unique_ptr<ZipReader> reader(new ZipReader(source, std::move(options)));
  TARN_TRY(reader->read_directory());
  return std::unique_ptr<Reader>(std::move(reader));
}

Status ZipReader::read_directory() {
  const auto archive_bytes = source_.size();
  if (!archive_bytes)
    return {Code::kNotSupported, "a zip is read from its end: its size must be known"};
  const auto tail_bytes =
      static_cast<size_t>(std::min<uint64_t>(*archive_bytes, kEndBytes + kCommentBytesMax));
  const uint64_t tail_offset = *archive_bytes - tail_bytes;
  TARN_ASSIGN(const std::string tail, read_text(source_, tail_offset, tail_bytes));
  size_t end = tail.rfind(kEndMagic);
  while (end != std::string::npos && end + kEndBytes > tail.size())
    end = end == 0 ? std::string::npos : tail.rfind(kEndMagic, end - 1);
  if (end == std::string::npos)
    return bad("the zip is truncated: the end of its central directory is not there");
  tarn::Reader in(std::string_view(tail).substr(end + 4));
  const uint16_t disk = in.u16(), directory_disk = in.u16();
  in.u16();
  uint64_t entries = in.u16();
  uint64_t bytes = in.u32();
  directory_offset_ = in.u32();
  uint64_t directory_end = tail_offset + end;
  if (end >= kLocator64Bytes &&
      std::string_view(tail).substr(end - kLocator64Bytes).starts_with(kLocator64Magic)) {
    directory_end = read_uint(std::string_view(tail).substr(end - kLocator64Bytes + 8, 8));
    TARN_ASSIGN(const std::string end64, read_text(source_, directory_end, kEnd64Bytes));
    if (!end64.starts_with(kEnd64Magic)) return bad("the zip64 end record is damaged");
    entries = read_uint(std::string_view(end64).substr(32, 8));
    bytes = read_uint(std::string_view(end64).substr(40, 8));
    directory_offset_ = read_uint(std::string_view(end64).substr(48, 8));
  } else if (disk != 0 || directory_disk != 0) {
    return {Code::kNotSupported, "zips of several disks are not supported"};
  }
  if (bytes > options_.limits.zip_directory_bytes_max)
    return {Code::kFileTooLarge,
            fmt::format("central directory of {} bytes exceeds the limit of {}", bytes,
                        options_.limits.zip_directory_bytes_max)};
  if (directory_offset_ > directory_end || bytes > directory_end - directory_offset_)
    return bad(fmt::format("central directory ({} bytes at {}) lies beyond its end record at {}",
                           bytes, directory_offset_, directory_end));
  TARN_ASSIGN(directory_, read_text(source_, directory_offset_, static_cast<size_t>(bytes)));
  return index_directory(entries);
}

Status ZipReader::index_directory(uint64_t entries) {
  if (entries > options_.limits.members_max)
    return {Code::kFileTooLarge, fmt::format("the archive has {} members, the limit is {}", entries,
                                             options_.limits.members_max)};
  size_t position = 0;
  for (uint64_t i = 0; i < entries; ++i) {
    TARN_ASSIGN(const Central central, parse_central(position));
    entries_.push_back({central.local_offset, position});
    position = central.end;
  }
  // Stable: of two entries for the same bytes the later one stays the later one.
  std::ranges::stable_sort(entries_, {}, &Entry::local_offset);
  return {};
}

Result<ZipReader::Central> ZipReader::parse_central(size_t position) const {
  const std::string_view all = std::string_view(directory_).substr(position);
  const auto damaged = [&] {
    return bad(
        fmt::format("central directory is damaged at offset {}", directory_offset_ + position));
  };
  if (!all.starts_with(kCentralMagic) || all.size() < kCentralBytes) return damaged();
  tarn::Reader in(all.substr(4));
  Central central;
  central.host = static_cast<uint16_t>(in.u16() >> 8);
  in.u16();
  central.flags = in.u16();
  central.method = in.u16();
  central.time = in.u16();
  central.date = in.u16();
  in.u32();
  central.stored = in.u32();
  central.size = in.u32();
  const uint16_t name_bytes = in.u16(), extra_bytes = in.u16(), comment_bytes = in.u16();
  in.u16();
  in.u16();
  central.attributes = in.u32();
  central.local_offset = in.u32();
  central.name = in.raw(name_bytes);
  const std::string_view extra = in.raw(extra_bytes);
  in.raw(comment_bytes);
  if (!in.is_ok()) return damaged();
  central.read_extra(extra);
  central.end = position + kCentralBytes + name_bytes + extra_bytes + comment_bytes;
  return central;
}

Result<std::optional<Member>> ZipReader::next() {
  if (!failure_.is_ok()) return failure_;
  auto member = read_member();
  failure_ = member.status();
  return member;
}

Result<std::optional<Member>> ZipReader::read_member() {
  data_left_ = 0;
  while (next_entry_ < entries_.size()) {
    const Entry entry = entries_[next_entry_++];
    const uint64_t limit =
        next_entry_ < entries_.size() ? entries_[next_entry_].local_offset : directory_offset_;
    TARN_ASSIGN(const Central central, parse_central(entry.directory_position));
    auto made = make_member(central, limit);
    if (!made)
      return made.status().with_context(
          fmt::format("member '{}' at offset {}", printable(central.name), entry.local_offset));
    Member member = std::move(*made);
    if (validator_) {
      auto verdict = validator_->add(member);
      if (!verdict)
        return verdict.status().with_context(
            fmt::format("member at offset {}", entry.local_offset));
      member.replaces_earlier = *verdict == Validator::Verdict::kReplaces;
    }
    data_offset_ = member.data_offset;
    data_left_ = member.type == MemberType::kFile ? member.stored_bytes : 0;
    raw_bytes_.store(limit, std::memory_order_relaxed);
    return std::optional<Member>(std::move(member));
  }
  raw_bytes_.store(source_.size().value_or(0), std::memory_order_relaxed);
  return std::optional<Member>();
}

/// Where the member's bytes begin: behind its local header, which must tell the same name.
Result<uint64_t> ZipReader::find_data(const Central& central) {
  TARN_ASSIGN(const std::string local,
              read_text(source_, central.local_offset, kLocalBytes + central.name.size()));
  if (!local.starts_with(kLocalMagic)) return bad("its local header is damaged");
  const uint64_t name_bytes = read_uint(std::string_view(local).substr(26, 2));
  const uint64_t extra_bytes = read_uint(std::string_view(local).substr(28, 2));
  if (name_bytes != central.name.size() ||
      std::string_view(local).substr(kLocalBytes) != central.name)
    return bad("local header and central directory differ in the name");
  return central.local_offset + kLocalBytes + name_bytes + extra_bytes;
}

Result<Member> ZipReader::make_member(const Central& central, uint64_t limit) {
  Member member;
  member.header_offset = central.local_offset;
  TARN_ASSIGN(member.path,
              normalise_path(central.name, options_.strip_leading_slash ? LeadingSlash::kStrip
                                                                        : LeadingSlash::kRefuse));
  if ((central.flags & kFlagEncrypted) != 0)
    return {Code::kNotSupported, "it is encrypted, which is not supported"};
  if (central.method != 0 && central.size > 0)
    return {Code::kNotSupported,
            fmt::format("it is compressed (method {}); only stored members of a zip are supported: "
                        "repack with 'zip -0', or use tar",
                        central.method)};
  if (central.method == 0 && central.stored != central.size)
    return bad(fmt::format("it stores {} bytes for a size of {}", central.stored, central.size));
  TARN_ASSIGN(member.data_offset, find_data(central));
  if (member.data_offset > limit || central.stored > limit - member.data_offset)
    return bad(
        fmt::format("its {} bytes at offset {} reach beyond offset {}, where something else "
                    "begins",
                    central.stored, member.data_offset, limit));
  member.stored_bytes = central.method == 0 ? central.size : 0;
  member.uid = central.uid;
  member.gid = central.gid;
  member.mtime =
      central.unix_mtime ? *central.unix_mtime * kSecondNs : dos_time(central.date, central.time);
  TARN_TRY(set_type(central, member));
  if (member.type == MemberType::kFile) member.size = member.stored_bytes;
  if (member.path.empty() && member.type != MemberType::kDirectory)
    return bad(fmt::format("a {} needs a name", member_type_name(member.type)));
  const Limits& limits = options_.limits;
  if (member.size > limits.file_bytes_max ||
      member.size > limits.stored_bytes_max - std::min(limits.stored_bytes_max, stored_total_))
    return {Code::kFileTooLarge,
            fmt::format("with its {} bytes it exceeds the limits of {} bytes a file and {} in all",
                        member.size, limits.file_bytes_max, limits.stored_bytes_max)};
  stored_total_ += member.size;
  return member;
}

Status ZipReader::set_type(const Central& central, Member& member) {
  const uint32_t mode = central.unix_mode();
  const bool is_directory = central.name.ends_with('/');
  const bool is_read_only = (central.attributes & 1) != 0;
  member.type = is_directory ? MemberType::kDirectory : MemberType::kFile;
  member.mode = mode != 0 ? mode & 07777 : is_directory ? 0755 : is_read_only ? 0444 : 0644;
  switch (mode & S_IFMT) {
    case 0:
    case S_IFREG:
    case S_IFDIR:
      if (S_ISDIR(mode)) member.type = MemberType::kDirectory;
      return {};
    case S_IFLNK: {
      member.type = MemberType::kSymlink;
      if (member.stored_bytes == 0) return bad("the link has no target");
      if (member.stored_bytes > limits::kSymlinkBytesMax)
        return {Code::kNameTooLong,
                fmt::format("target of the symbolic link has {} bytes, the limit is {}",
                            member.stored_bytes, limits::kSymlinkBytesMax)};
      TARN_ASSIGN(member.link_target,
                  read_text(source_, member.data_offset, static_cast<size_t>(member.stored_bytes)));
      if (member.link_target.find('\0') != std::string::npos)
        return bad("target of the symbolic link contains a NUL byte");
      return {};
    }
    default:
      return {Code::kNotSupported, fmt::format("file type {:o} is not supported in a zip",
                                               mode & static_cast<uint32_t>(S_IFMT))};
  }
}

Status ZipReader::read_data(const DataSink& sink) {
  TARN_TRY(failure_);
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(data_left_, limits::kMiB)));
  const uint64_t begin = data_offset_;
  while (data_left_ > 0) {
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(data_left_, buffer.size()));
    TARN_ASSIGN(const size_t n, source_.read_at(data_offset_, std::span(buffer).first(wanted)));
    if (n == 0)
      return bad(
          fmt::format("the zip is truncated: it ends at offset {}, inside a member", data_offset_));
    TARN_TRY(sink(data_offset_ - begin, std::span<const std::byte>(buffer).first(n)));
    data_offset_ += n;
    data_left_ -= n;
  }
  return {};
}

}  // namespace tarn::archive
