#include "app/mount_table.h"

#include "base/file.h"

namespace tarn::app {
namespace {

// A machine with many containers has thousands of mounts of about 150 bytes a line.
constexpr size_t kMountTableBytesMax = 64 << 20;

/// The kernel writes space, tab, newline and backslash as three octal digits.
std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto is_octal = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(i + 1) && is_octal(i + 2) &&
        is_octal(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<std::string_view> split_words(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const size_t space = line.find(' ');
    if (space != 0) words.push_back(line.substr(0, space));
    if (space == std::string_view::npos) break;
    line.remove_prefix(space + 1);
  }
  return words;
}

}  // namespace

std::vector<MountEntry> parse_mount_table(std::string_view text) {
  std::vector<MountEntry> table;
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const auto words = split_words(text.substr(0, newline));
    text = newline == std::string_view::npos ? "" : text.substr(newline + 1);
    // "36 35 98:0 /subtree /point options [optional fields] - type source super-options"
    size_t dash = 6;
    while (dash < words.size() && words[dash] != "-") ++dash;
    if (dash + 2 >= words.size()) continue;
    table.push_back({.subtree = unescape(words[3]),
                     .point = unescape(words[4]),
                     .type = unescape(words[dash + 1]),
                     .source = unescape(words[dash + 2]),
                     .options = dash + 3 < words.size() ? unescape(words[dash + 3]) : ""});
  }
  return table;
}

Result<std::vector<MountEntry>> read_mount_table() {
  TARN_ASSIGN(const std::string text, read_file("/proc/self/mountinfo", kMountTableBytesMax));
  return parse_mount_table(text);
}

const MountEntry* mount_of(const std::vector<MountEntry>& table, std::string_view path) {
  const MountEntry* best = nullptr;
  for (const MountEntry& entry : table)
    if (is_below(path, entry.point) &&
        (best == nullptr || entry.point.size() >= best->point.size()))
      best = &entry;
  return best;
}

const MountEntry* mount_at(const std::vector<MountEntry>& table, std::string_view path) {
  const MountEntry* best = nullptr;
  for (const MountEntry& entry : table)
    if (entry.point == path) best = &entry;
  return best;
}

bool is_below(std::string_view path, std::string_view directory) {
  if (directory == "/") return path.starts_with('/');
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

}  // namespace tarn::app
