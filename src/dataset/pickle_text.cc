#include "dataset/pickle_text.h"

#include <charconv>

#include <fmt/format.h>

namespace tarn::dataset {
namespace {

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

/// The number that `digits` hexadecimal digits at `at` have.
Result<uint32_t> parse_hex(std::string_view line, size_t at, size_t digits) {
  uint32_t out = 0;
  if (at + digits > line.size()) return bad("an escape ends before its digits");
  const char* end = line.data() + at + digits;
  const auto [stop, error] = std::from_chars(line.data() + at, end, out, 16);
  if (error != std::errc() || stop != end) return bad("an escape has digits that are none");
  return out;
}

void append_utf8(std::string& out, uint32_t point) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xc0 | point >> 6);
    put(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    put(0xe0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  } else {
    put(0xf0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3f));
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  }
}

}  // namespace

Result<int64_t> parse_integer_line(std::string_view line) {
  if (line.ends_with('L')) line.remove_suffix(1);
  int64_t out = 0;
  const char* end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data(), end, out);
  if (error != std::errc() || stop != end) {
    return bad(fmt::format("'{}' is no integer of 64 bits", line.substr(0, 40)));
  }
  return out;
}

Result<double> parse_float_line(std::string_view line) {
  double out = 0;
  const char* end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data(), end, out);
  if (error != std::errc() || stop != end) {
    return bad(fmt::format("'{}' is no number", line.substr(0, 40)));
  }
  return out;
}

Result<std::string> parse_string_line(std::string_view line) {
  if (line.size() < 2 || line.front() != line.back() ||
      (line.front() != '\'' && line.front() != '"')) {
    return bad("a string without its quotes");
  }
  line = line.substr(1, line.size() - 2);
  std::string out;
  out.reserve(line.size());
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\') {
      out.push_back(line[i]);
      continue;
    }
    if (++i == line.size()) return bad("a string ends within an escape");
    constexpr std::string_view kNames = "\\'\"nrtabfv", kBytes = "\\'\"\n\r\t\a\b\f\v";
    if (const size_t known = kNames.find(line[i]); known != std::string_view::npos) {
      out.push_back(kBytes[known]);
    } else if (line[i] == 'x') {
      TARN_ASSIGN(const uint32_t byte, parse_hex(line, i + 1, 2));
      out.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      return bad(fmt::format("a string has the escape '\\{}'", line[i]));
    }
  }
  return out;
}

Result<std::string> parse_unicode_line(std::string_view line) {
  std::string out;
  out.reserve(line.size());
  for (size_t i = 0; i < line.size(); ++i) {
    const char kind = line[i] == '\\' && i + 1 < line.size() ? line[i + 1] : '\0';
    if (kind != 'u' && kind != 'U') {
      append_utf8(out, static_cast<unsigned char>(line[i]));
      continue;
    }
    const size_t digits = kind == 'u' ? 4 : 8;
    TARN_ASSIGN(const uint32_t point, parse_hex(line, i + 2, digits));
    if (point > 0x10ffff) return bad(fmt::format("no character has the number {:#x}", point));
    append_utf8(out, point);
    i += 1 + digits;
  }
  return out;
}

Result<int64_t> parse_long_bytes(std::string_view bytes) {
  if (bytes.size() > 8) {
    return bad(fmt::format("an integer of {} bytes; 8 are read", bytes.size()));
  }
  if (bytes.empty()) return int64_t{0};
  uint64_t bits = 0;
  for (size_t i = bytes.size(); i-- > 0;) bits = bits << 8 | static_cast<unsigned char>(bytes[i]);
  const auto unused_bits = static_cast<unsigned>(64 - 8 * bytes.size());
  return static_cast<int64_t>(bits << unused_bits) >> unused_bits;
}

}  // namespace tarn::dataset
