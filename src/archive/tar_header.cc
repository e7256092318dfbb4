#include "archive/tar_header.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "archive/path.h"
#include "base/file.h"

namespace tarn::archive {
namespace {

using namespace std::string_view_literals;

constexpr size_t kChecksumOffset = 148, kChecksumBytes = 8;

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

Result<int64_t> parse_base256(std::string_view field) {
  // The first byte gives a marker bit and the sign; 0xff starts a negative number.
  const bool is_negative = static_cast<unsigned char>(field[0]) == 0xff;
  uint64_t value = is_negative ? ~uint64_t{0} : static_cast<unsigned char>(field[0]) & 0x7f;
  for (const char c : field.substr(1)) {
    const uint64_t top = value >> 55;
    if (top != (is_negative ? 0x1ff : 0)) return bad("number field is beyond 63 bits");
    value = value << 8 | static_cast<unsigned char>(c);
  }
  return static_cast<int64_t>(value);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

enum class Escapes { kAll, kOnlyPercentAndEquals };

/// %XX to bytes. GNU tar escapes only '%' and '=' in the names of attributes.
std::string percent_decoded(std::string_view text, Escapes escapes) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      const char c = static_cast<char>(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
      if (escapes == Escapes::kAll || c == '%' || c == '=') {
        out.push_back(c);
        i += 2;
        continue;
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

Result<std::string> base64_decoded(std::string_view text) {
  constexpr auto kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"sv;
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) return bad("LIBARCHIVE.xattr record is not base 64");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count));
    }
  }
  return out;
}

Result<int64_t> parse_signed(std::string_view text) {
  const bool is_negative = text.starts_with('-');
  TARN_ASSIGN(const uint64_t value, parse_decimal(text.substr(is_negative ? 1 : 0)));
  return is_negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

Result<std::vector<SparseEntry>> parse_sparse_list(std::string_view text) {
  std::vector<SparseEntry> map;
  while (!text.empty()) {
    uint64_t pair[2];
    for (uint64_t& number : pair) {
      const size_t comma = std::min(text.find(','), text.size());
      TARN_ASSIGN(number, parse_decimal(text.substr(0, comma)));
      text.remove_prefix(std::min(comma + 1, text.size()));
    }
    map.push_back({pair[0], pair[1]});
  }
  return map;
}

}  // namespace

bool is_zero_block(std::span<const std::byte> block) {
  return std::ranges::all_of(block, [](std::byte b) { return b == std::byte{0}; });
}

bool has_valid_checksum(std::span<const std::byte> block) {
  const auto stored = parse_tar_number(as_text(block).substr(kChecksumOffset, kChecksumBytes));
  if (!stored) return false;
  int64_t unsigned_sum = 0, signed_sum = 0;
  for (size_t i = 0; i < kBlockBytes; ++i) {
    const bool is_checksum = i >= kChecksumOffset && i < kChecksumOffset + kChecksumBytes;
    const std::byte b = is_checksum ? std::byte{' '} : block[i];
    unsigned_sum += static_cast<unsigned char>(b);
    signed_sum += static_cast<signed char>(b);
  }
  return *stored == unsigned_sum || *stored == signed_sum;
}

Result<int64_t> parse_tar_number(std::string_view field) {
  if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80) != 0)
    return parse_base256(field);
  while (field.starts_with(' ')) field.remove_prefix(1);
  uint64_t value = 0;
  size_t i = 0;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) {
    if (value >> 60 != 0) return bad("number field is beyond 63 bits");
    value = value << 3 | static_cast<uint64_t>(field[i] - '0');
  }
  if (i < field.size() && field[i] != ' ' && field[i] != '\0')
    return bad(fmt::format("number field '{}' is not octal", printable(field)));
  return static_cast<int64_t>(value);
}

Result<uint64_t> parse_decimal(std::string_view text) {
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return bad(fmt::format("'{}' is not a number", printable(text)));
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (static_cast<uint64_t>(INT64_MAX) - digit) / 10)
      return bad(fmt::format("number '{}' is beyond 63 bits", printable(text)));
    value = value * 10 + digit;
  }
  if (text.empty()) return bad("a number is missing");
  return value;
}

TimeNs clamp_seconds(int64_t seconds) {
  constexpr int64_t kMax = INT64_MAX / kSecondNs, kMin = INT64_MIN / kSecondNs;
  if (seconds > kMax) return INT64_MAX;
  if (seconds < kMin) return INT64_MIN;
  return seconds * kSecondNs;
}

Result<TimeNs> parse_pax_time(std::string_view text) {
  const bool is_negative = text.starts_with('-');
  if (is_negative) text.remove_prefix(1);
  const size_t dot = std::min(text.find('.'), text.size());
  const std::string_view fraction = text.substr(std::min(dot + 1, text.size()));
  TARN_ASSIGN(const uint64_t whole, parse_decimal(text.substr(0, dot)));
  TimeNs nanoseconds = 0;
  bool has_rest = false;
  for (size_t i = 0; i < std::max<size_t>(fraction.size(), 9); ++i) {
    const char c = i < fraction.size() ? fraction[i] : '0';
    if (c < '0' || c > '9') return bad(fmt::format("'{}' is not a time", printable(text)));
    if (i < 9)
      nanoseconds = nanoseconds * 10 + (c - '0');
    else
      has_rest = has_rest || c != '0';
  }
  const TimeNs seconds = clamp_seconds(static_cast<int64_t>(whole));
  if (seconds >= INT64_MAX - kSecondNs) return is_negative ? INT64_MIN : INT64_MAX;
  return is_negative ? -seconds - nanoseconds - (has_rest ? 1 : 0) : seconds + nanoseconds;
}

TarDialect TarHeader::dialect() const {
  if (field(257, 8) == "ustar  \0"sv) return TarDialect::kGnu;
  if (field(257, 5) == "ustar"sv) return TarDialect::kUstar;
  return TarDialect::kV7;
}

std::string TarHeader::name() const {
  const std::string_view name = text(0, 100);
  if (dialect() != TarDialect::kUstar) return std::string(name);
  // star keeps its times behind a shorter prefix and signs with "tar" at the block's end.
  const std::string_view prefix = text(345, field(508, 4) == "tar\0"sv ? 131 : 155);
  if (prefix.empty()) return std::string(name);
  return fmt::format("{}/{}", prefix, name);
}

std::string TarHeader::uname() const {
  return dialect() == TarDialect::kV7 ? std::string() : std::string(text(265, 32));
}
std::string TarHeader::gname() const {
  return dialect() == TarDialect::kV7 ? std::string() : std::string(text(297, 32));
}

Result<uint64_t> TarHeader::size() const {
  TARN_ASSIGN(const int64_t size, number(124, 12, "size"));
  if (size < 0) return bad(fmt::format("size is negative ({})", size));
  return static_cast<uint64_t>(size);
}

Result<uint64_t> TarHeader::gnu_real_size() const {
  TARN_ASSIGN(const int64_t size, number(483, 12, "real size"));
  if (size < 0) return bad(fmt::format("real size is negative ({})", size));
  return static_cast<uint64_t>(size);
}

std::optional<int64_t> TarHeader::gnu_time(size_t offset) const {
  if (dialect() != TarDialect::kGnu) return std::nullopt;
  const auto time = parse_tar_number(field(offset, 12));
  if (!time || *time == 0) return std::nullopt;
  return *time;
}

std::string_view TarHeader::field(size_t offset, size_t size) const {
  return as_text(std::span(block_)).substr(offset, size);
}

std::string_view TarHeader::text(size_t offset, size_t size) const {
  const std::string_view all = field(offset, size);
  return all.substr(0, all.find('\0'));
}

Result<int64_t> TarHeader::number(size_t offset, size_t size, std::string_view what) const {
  auto value = parse_tar_number(field(offset, size));
  if (!value) return value.status().with_context(what);
  return value;
}

Result<std::vector<SparseEntry>> parse_gnu_sparse(std::string_view entries) {
  std::vector<SparseEntry> map;
  for (; entries.size() >= 24 && entries[0] != '\0'; entries.remove_prefix(24)) {
    TARN_ASSIGN(const int64_t offset, parse_tar_number(entries.substr(0, 12)));
    TARN_ASSIGN(const int64_t length, parse_tar_number(entries.substr(12, 12)));
    if (offset < 0 || length < 0) return bad("sparse map has a negative number");
    map.push_back({static_cast<uint64_t>(offset), static_cast<uint64_t>(length)});
  }
  return map;
}

Status PaxRecords::add(std::string_view body) {
  while (!body.empty()) {
    // Some writers pad the last block's worth of records with NULs.
    if (body[0] == '\0' && body.find_first_not_of('\0') == std::string_view::npos) break;
    const size_t blank = body.find(' ');
    if (blank == std::string_view::npos) return bad("pax record has no length");
    const auto length = parse_decimal(body.substr(0, blank));
    if (!length) return length.status().with_context("pax record's length");
    if (*length > body.size() || *length < blank + 3 || body[*length - 1] != '\n')
      return bad(fmt::format("pax record of length {} does not fit: {} bytes are left", *length,
                             body.size()));
    const std::string_view record = body.substr(blank + 1, *length - blank - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0)
      return bad(fmt::format("pax record '{}' has no key", printable(record)));
    const std::string_view key = record.substr(0, equals);
    Status added = add_record(key, record.substr(equals + 1));
    if (!added.is_ok()) return added.with_context(fmt::format("pax record '{}'", printable(key)));
    body.remove_prefix(*length);
  }
  return {};
}

Status PaxRecords::add_record(std::string_view key, std::string_view value) {
  const auto name = [&](std::optional<std::string>& field) -> Status {
    if (value.find('\0') != std::string_view::npos) return bad("value contains a NUL byte");
    field.reset();
    if (!value.empty()) field.emplace(value);
    return {};
  };
  const auto time = [&](std::optional<TimeNs>& field) -> Status {
    field.reset();
    if (value.empty()) return {};
    TARN_ASSIGN(field, parse_pax_time(value));
    return {};
  };
  const auto number = [&](std::optional<int64_t>& field) -> Status {
    field.reset();
    if (value.empty()) return {};
    TARN_ASSIGN(field, parse_signed(value));
    return {};
  };
  if (key == "path") return name(path);
  if (key == "linkpath") return name(link_path);
  if (key == "uname") return name(uname);
  if (key == "gname") return name(gname);
  if (key == "mtime") return time(mtime);
  if (key == "atime") return time(atime);
  if (key == "ctime") return time(ctime);
  if (key == "uid") return number(uid);
  if (key == "gid") return number(gid);
  if (key == "size") {
    size.reset();
    if (value.empty()) return {};
    TARN_ASSIGN(size, parse_decimal(value));
    return {};
  }
  if (key == "GNU.sparse.name") return name(sparse_name);
  if (key.starts_with("GNU.sparse.")) return add_sparse_record(key, value);
  if (key.starts_with("SCHILY.")) return add_schily_record(key, value);
  if (key.starts_with("LIBARCHIVE.xattr.")) {
    TARN_ASSIGN(const std::string decoded, base64_decoded(value));
    set_xattr(percent_decoded(key.substr("LIBARCHIVE.xattr."sv.size()), Escapes::kAll), decoded);
    return {};
  }
  if (key == "RHT.security.selinux") {
    set_xattr("security.selinux", value);
    return {};
  }
  if (key == "SUN.holesdata")
    return {Code::kNotSupported, "sparse files in the format of Solaris are not supported"};
  // POSIX: unknown keywords are passed over. hdrcharset too: names are kept as bytes.
  return {};
}

Status PaxRecords::add_sparse_record(std::string_view key, std::string_view value) {
  const std::string_view what = key.substr("GNU.sparse."sv.size());
  if (what == "map") {
    TARN_ASSIGN(sparse_map, parse_sparse_list(value));
    has_sparse_map = true;
    return {};
  }
  TARN_ASSIGN(const uint64_t number, parse_decimal(value));
  if (what == "major") {
    sparse_major = number;
  } else if (what == "minor") {
    sparse_minor = number;
  } else if (what == "size" || what == "realsize") {
    sparse_real_size = number;
  } else if (what == "numblocks") {
    has_sparse_map = true;
    sparse_map.clear();
  } else if (what == "offset") {
    sparse_offset = number;
  } else if (what == "numbytes") {
    if (!sparse_offset) return bad("length of a sparse block comes before its offset");
    sparse_map.push_back({*sparse_offset, number});
    sparse_offset.reset();
    has_sparse_map = true;
  }
  return {};
}

Status PaxRecords::add_schily_record(std::string_view key, std::string_view value) {
  const std::string_view what = key.substr("SCHILY."sv.size());
  if (what.starts_with("xattr.")) {
    set_xattr(percent_decoded(what.substr("xattr."sv.size()), Escapes::kOnlyPercentAndEquals),
              value);
  } else if (what == "acl.access") {
    acl_access.emplace(value);
  } else if (what == "acl.default") {
    acl_default.emplace(value);
  } else if (what == "acl.ace") {
    has_ignored_acl = true;
  } else if (what == "devmajor") {
    TARN_ASSIGN(device_major, parse_signed(value));
  } else if (what == "devminor") {
    TARN_ASSIGN(device_minor, parse_signed(value));
  } else if (what == "realsize") {
    TARN_ASSIGN(schily_real_size, parse_decimal(value));
  }
  return {};
}

void PaxRecords::set_xattr(std::string name, std::string_view value) {
  const auto same = std::ranges::find(xattrs, name, &Xattr::name);
  if (same != xattrs.end())
    same->value.assign(value);
  else
    xattrs.push_back({std::move(name), std::string(value)});
}

}  // namespace tarn::archive
