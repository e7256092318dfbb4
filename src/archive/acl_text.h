// POSIX ACLs: from the text in pax records to the extended attribute that the kernel takes.
//
// Text: entries "tag:qualifier:permissions[:id]" separated by commas or lines, as acl_to_text(3)
// and star write them. Attribute (linux/posix_acl_xattr.h), little-endian:
//
//   version u32 = 2, then per entry: tag u16, permissions u16, id u32 (0xffffffff where none)
//
// Thread-safe where `resolve` is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tarn::archive {

using NameResolver = std::function<std::optional<uint32_t>(std::string_view name, bool is_group)>;

struct Acl {
  std::string xattr;  ///< value of system.posix_acl_access or _default
  /// It says no more than the mode bits do (three entries).
  bool is_minimal = false;
  /// Names that are no number, carry no id and resolve to none; their entries are left out.
  std::vector<std::string> unknown_names;
};

/// BadFormat when an entry is malformed.
Result<Acl> parse_acl_text(std::string_view text, const NameResolver& resolve);

/// getpwnam_r and getgrnam_r.
std::optional<uint32_t> resolve_system_name(std::string_view name, bool is_group);

}  // namespace tarn::archive
