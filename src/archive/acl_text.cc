#include "archive/acl_text.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <tuple>

#include <fmt/format.h>

#include "archive/path.h"
#include "archive/tar_header.h"
#include "base/coding.h"

namespace tarn::archive {
namespace {

constexpr uint32_t kVersion = 2, kNoId = 0xffffffff;
constexpr uint16_t kUserObj = 1, kUser = 2, kGroupObj = 4, kGroup = 8, kMask = 16, kOther = 32;

struct Entry {
  uint16_t tag = 0, permissions = 0;
  uint32_t id = kNoId;
};

Status malformed(std::string_view entry) {
  return {Code::kBadFormat, fmt::format("ACL entry '{}' is malformed", printable(entry))};
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find_first_of(separators, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string_view trimmed(std::string_view text) {
  text = text.substr(0, text.find('#'));
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  return text;
}

/// An entry; one with tag 0 when the name has no id.
Result<Entry> parse_entry(std::string_view text, const NameResolver& resolve) {
  std::string_view rest = text;
  if (rest.starts_with("default:")) rest.remove_prefix(8);
  const auto parts = split(rest, ":");
  if (parts.size() < 2) return malformed(text);
  const std::string_view tag = parts[0];
  const bool is_user = tag == "user" || tag == "u", is_group = tag == "group" || tag == "g";
  const bool is_mask = tag == "mask" || tag == "m", is_other = tag == "other" || tag == "o";
  if (!is_user && !is_group && !is_mask && !is_other) return malformed(text);
  // "other:r--" without a qualifier is how Solaris writes it.
  const bool is_short = (is_mask || is_other) && parts.size() == 2;
  if (!is_short && parts.size() < 3) return malformed(text);
  const std::string_view name = is_short ? std::string_view() : parts[1];

  Entry entry;
  for (const char c : is_short ? parts[1] : parts[2]) {
    if (c == 'r')
      entry.permissions |= 4;
    else if (c == 'w')
      entry.permissions |= 2;
    else if (c == 'x')
      entry.permissions |= 1;
    else if (c != '-')
      return malformed(text);
  }
  if (is_mask || is_other || name.empty()) {
    entry.tag = is_mask ? kMask : is_other ? kOther : is_user ? kUserObj : kGroupObj;
    return entry;
  }
  auto id = parse_decimal(parts.size() > 3 ? parts[3] : name);
  std::optional<uint32_t> resolved;
  if (id && *id < kNoId)
    resolved = static_cast<uint32_t>(*id);
  else
    resolved = resolve(name, is_group);
  if (!resolved) return entry;
  entry.tag = is_user ? kUser : kGroup;
  entry.id = *resolved;
  return entry;
}

}  // namespace

Result<Acl> parse_acl_text(std::string_view text, const NameResolver& resolve) {
  Acl acl;
  std::vector<Entry> entries;
  for (std::string_view part : split(text, ",\n")) {
    part = trimmed(part);
    if (part.empty()) continue;
    TARN_ASSIGN(const Entry entry, parse_entry(part, resolve));
    if (entry.tag == 0)
      acl.unknown_names.emplace_back(part);
    else
      entries.push_back(entry);
  }
  // The kernel wants them by tag, then by id.
  std::ranges::sort(entries, {}, [](const Entry& e) { return std::tuple(e.tag, e.id); });
  Writer writer;
  writer.u32(kVersion);
  for (const Entry& entry : entries) {
    writer.u16(entry.tag);
    writer.u16(entry.permissions);
    writer.u32(entry.id);
  }
  acl.is_minimal = entries.size() <= 3;
  acl.xattr = writer.take();
  return acl;
}

std::optional<uint32_t> resolve_system_name(std::string_view name, bool is_group) {
  const std::string text(name);
  std::vector<char> buffer(64 * 1024);
  if (is_group) {
    group entry{};
    group* found = nullptr;
    if (::getgrnam_r(text.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found)
      return std::nullopt;
    return found->gr_gid;
  }
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(text.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found)
    return std::nullopt;
  return found->pw_uid;
}

}  // namespace tarn::archive
