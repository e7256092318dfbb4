#include "fs/acl.h"

#include <sys/stat.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/coding.h"

namespace tarn::fs {
namespace {

constexpr uint32_t kAclVersion = 2;
constexpr size_t kEntriesMax = 8192;

const AclEntry* find(const Acl& acl, uint16_t tag) {
  auto it = std::find_if(acl.begin(), acl.end(), [&](const AclEntry& e) { return e.tag == tag; });
  return it == acl.end() ? nullptr : &*it;
}
AclEntry* find(Acl& acl, uint16_t tag) {
  return const_cast<AclEntry*>(find(std::as_const(acl), tag));
}

Status validate(const Acl& acl) {
  auto bad = [](std::string_view why) {
    return Status(Code::kInvalidArgument, fmt::format("access control list: {}", why));
  };
  uint16_t last_tag = 0;
  bool has_named = false;
  int user_objs = 0, group_objs = 0, masks = 0, others = 0;
  for (const AclEntry& e : acl) {
    if (e.permissions > 7) return bad("permissions outside rwx");
    if (e.tag < last_tag) return bad("entries out of order");
    last_tag = e.tag;
    switch (e.tag) {
      case AclEntry::kUserObj:
        ++user_objs;
        break;
      case AclEntry::kGroupObj:
        ++group_objs;
        break;
      case AclEntry::kMask:
        ++masks;
        break;
      case AclEntry::kOther:
        ++others;
        break;
      case AclEntry::kUser:
      case AclEntry::kGroup:
        has_named = true;
        break;
      default:
        return bad("unknown tag");
    }
  }
  if (user_objs != 1 || group_objs != 1 || others != 1 || masks > 1) {
    return bad("owner, group and other must stand once each, mask at most once");
  }
  if (has_named && masks == 0) return bad("named entries need a mask");
  return {};
}

}  // namespace

Result<Acl> decode_acl(std::string_view bytes) {
  Reader in(bytes);
  if (in.u32() != kAclVersion || (bytes.size() - 4) % 8 != 0 ||
      (bytes.size() - 4) / 8 > kEntriesMax) {
    return Status(Code::kInvalidArgument,
                  "access control list: not in the kernel's version 2 format");
  }
  Acl acl;
  while (in.is_ok() && !in.at_end()) {
    AclEntry e;
    e.tag = in.u16();
    e.permissions = in.u16();
    e.id = in.u32();
    acl.push_back(e);
  }
  if (!in.is_ok()) return Status(Code::kInvalidArgument, "access control list: cut short");
  TARN_TRY(validate(acl));
  return acl;
}

std::string encode_acl(const Acl& acl) {
  Writer out;
  out.u32(kAclVersion);
  for (const AclEntry& e : acl) {
    out.u16(e.tag);
    out.u16(e.permissions);
    out.u32(e.id);
  }
  return out.take();
}

uint32_t acl_mode(const Acl& acl) {
  const AclEntry* mask = find(acl, AclEntry::kMask);
  const AclEntry* group = mask != nullptr ? mask : find(acl, AclEntry::kGroupObj);
  uint32_t mode = 0;
  if (const AclEntry* e = find(acl, AclEntry::kUserObj))
    mode |= static_cast<uint32_t>(e->permissions) << 6;
  if (group != nullptr) mode |= static_cast<uint32_t>(group->permissions) << 3;
  if (const AclEntry* e = find(acl, AclEntry::kOther)) mode |= e->permissions;
  return mode;
}

bool acl_is_minimal(const Acl& acl) {
  return acl.size() == 3 && find(acl, AclEntry::kMask) == nullptr;
}

Acl acl_after_chmod(Acl acl, uint32_t mode) {
  if (AclEntry* e = find(acl, AclEntry::kUserObj)) e->permissions = (mode >> 6) & 7;
  AclEntry* group = find(acl, AclEntry::kMask);
  if (group == nullptr) group = find(acl, AclEntry::kGroupObj);
  if (group != nullptr) group->permissions = (mode >> 3) & 7;
  if (AclEntry* e = find(acl, AclEntry::kOther)) e->permissions = mode & 7;
  return acl;
}

InheritedAcl inherit_acl(const Acl& parent_default, uint32_t mode, bool is_directory) {
  Acl access = parent_default;
  const auto mask = [](AclEntry& entry, uint32_t bits) {
    entry.permissions = static_cast<uint16_t>(entry.permissions & bits & 7);
  };
  if (AclEntry* e = find(access, AclEntry::kUserObj)) mask(*e, mode >> 6);
  AclEntry* group = find(access, AclEntry::kMask);
  if (group == nullptr) group = find(access, AclEntry::kGroupObj);
  if (group != nullptr) mask(*group, mode >> 3);
  if (AclEntry* e = find(access, AclEntry::kOther)) mask(*e, mode);
  InheritedAcl result;
  result.mode = (mode & ~0777u) | acl_mode(access);
  if (!acl_is_minimal(access)) result.access = encode_acl(access);
  if (is_directory) result.default_acl = encode_acl(parent_default);
  return result;
}

bool is_in_group(const Caller& caller, uint32_t gid) {
  return caller.gid == gid ||
         std::find(caller.groups.begin(), caller.groups.end(), gid) != caller.groups.end();
}

bool may_access(const Caller& caller, uint32_t mode, uint32_t uid, uint32_t gid, const Acl* acl,
                uint32_t wanted) {
  if (caller.uid == 0) {
    // CAP_DAC_OVERRIDE: everything, but execute only where some execute bit is set or it is a
    // directory.
    return (wanted & 1) == 0 || S_ISDIR(mode) || (mode & 0111) != 0;
  }
  if (caller.uid == uid) return ((mode >> 6) & wanted) == wanted;
  if (acl == nullptr) {
    if (is_in_group(caller, gid)) return ((mode >> 3) & wanted) == wanted;
    return (mode & wanted) == wanted;
  }
  const AclEntry* mask_entry = find(*acl, AclEntry::kMask);
  const uint32_t mask = mask_entry != nullptr ? mask_entry->permissions : 7u;
  for (const AclEntry& e : *acl) {
    if (e.tag == AclEntry::kUser && e.id == caller.uid) {
      return (e.permissions & mask & wanted) == wanted;
    }
  }
  bool is_matched = false;
  for (const AclEntry& e : *acl) {
    bool is_match = (e.tag == AclEntry::kGroupObj && is_in_group(caller, gid)) ||
                    (e.tag == AclEntry::kGroup && is_in_group(caller, e.id));
    if (!is_match) continue;
    is_matched = true;
    if ((e.permissions & mask & wanted) == wanted) return true;
  }
  if (is_matched) return false;
  const AclEntry* other = find(*acl, AclEntry::kOther);
  return other != nullptr && (other->permissions & wanted) == wanted;
}

}  // namespace tarn::fs
