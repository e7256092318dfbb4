// POSIX access control lists as Linux stores them in system.posix_acl_access and
// system.posix_acl_default.
//
// Encoding (little-endian): u32 version 2, then entries of u16 tag, u16 permissions, u32 id, in the
// order user-obj, users, group-obj, groups, mask, other. Semantics after POSIX.1e draft 17. Plain
// functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "fs/types.h"

namespace tarn::fs {

inline constexpr std::string_view kAclAccess = "system.posix_acl_access";
inline constexpr std::string_view kAclDefault = "system.posix_acl_default";

struct AclEntry {
  enum Tag : uint16_t {
    kUserObj = 1,
    kUser = 2,
    kGroupObj = 4,
    kGroup = 8,
    kMask = 16,
    kOther = 32
  };
  uint16_t tag = 0;
  uint16_t permissions = 0;  // rwx bits
  uint32_t id = 0xffffffff;
};
using Acl = std::vector<AclEntry>;

/// kInvalidArgument when it is not a valid ACL.
Result<Acl> decode_acl(std::string_view bytes);
std::string encode_acl(const Acl& acl);
/// The permission bits (0777) that an access ACL stands for.
uint32_t acl_mode(const Acl& acl);
/// True when the ACL says no more than the permission bits do.
bool acl_is_minimal(const Acl& acl);
/// The access ACL after chmod to `mode`.
Acl acl_after_chmod(Acl acl, uint32_t mode);

/// What a new inode gets from its parent's default ACL (POSIX.1e 23.1.5): its mode and, unless
/// minimal, ACLs.
struct InheritedAcl {
  uint32_t mode = 0;
  std::optional<std::string> access, default_acl;  // encoded
};
InheritedAcl inherit_acl(const Acl& parent_default, uint32_t mode, bool is_directory);

/// May a caller do `wanted` (rwx bits 4, 2, 1)? `acl` is the access ACL or null.
bool may_access(const Caller& caller, uint32_t mode, uint32_t uid, uint32_t gid, const Acl* acl,
                uint32_t wanted);
bool is_in_group(const Caller& caller, uint32_t gid);

}  // namespace tarn::fs
