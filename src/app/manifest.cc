#include "app/manifest.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include <fmt/format.h>

namespace tarn::app {
namespace {

bool is_digest(std::string_view hex) {
  return (hex.size() == 16 || hex.size() == 32 || hex.size() == 64) &&
         std::ranges::all_of(hex, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::optional<std::string> unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    if (++i == text.size()) return std::nullopt;
    switch (text[i]) {
      case 'n':
        plain += '\n';
        break;
      case 'r':
        plain += '\r';
        break;
      case '\\':
        plain += '\\';
        break;
      default:
        return std::nullopt;
    }
  }
  return plain;
}

std::optional<ManifestLine> parse_gnu(std::string_view line) {
  const bool is_escaped = line.starts_with('\\');
  if (is_escaped) line.remove_prefix(1);
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || !is_digest(line.substr(0, space))) return std::nullopt;
  std::string_view path = line.substr(space + 1);
  if (path.starts_with(' ') || path.starts_with('*')) path.remove_prefix(1);
  if (path.empty()) return std::nullopt;
  ManifestLine parsed{lower(line.substr(0, space)), std::string(path)};
  if (!is_escaped) return parsed;
  const auto plain = unescape(path);
  if (!plain.has_value()) return std::nullopt;
  parsed.path = *plain;
  return parsed;
}

std::optional<ManifestLine> parse_bsd(std::string_view line) {
  const size_t open = line.find(" (");
  const size_t close = line.rfind(") = ");
  if (open == std::string_view::npos || close == std::string_view::npos || close <= open + 2)
    return std::nullopt;
  const std::string_view hex = line.substr(close + 4);
  if (!is_digest(hex)) return std::nullopt;
  return ManifestLine{lower(hex), std::string(line.substr(open + 2, close - open - 2))};
}

}  // namespace

Result<std::vector<ManifestLine>> parse_manifest(std::string_view text) {
  std::vector<ManifestLine> lines;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t newline = text.find('\n');
    std::string_view line = text.substr(0, newline);
    text = newline == std::string_view::npos ? "" : text.substr(newline + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    auto parsed = parse_gnu(line);
    if (!parsed.has_value()) parsed = parse_bsd(line);
    if (!parsed.has_value())
      return Status(Code::kBadFormat,
                    fmt::format("line {} is not 'DIGEST  NAME' with 16, 32 or 64 hexadecimal "
                                "digits",
                                number));
    lines.push_back(std::move(*parsed));
  }
  return lines;
}

std::string format_manifest_line(const std::string& hex, const std::string& path) {
  if (path.find_first_of("\\\n\r") == std::string::npos) return fmt::format("{}  {}\n", hex, path);
  std::string escaped;
  for (const char c : path) {
    if (c == '\n') {
      escaped += "\\n";
    } else if (c == '\r') {
      escaped += "\\r";
    } else {
      if (c == '\\') escaped += '\\';
      escaped += c;
    }
  }
  return fmt::format("\\{}  {}\n", hex, escaped);
}

}  // namespace tarn::app
