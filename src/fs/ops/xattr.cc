// Extended attributes: stored ones by namespace rules, ACLs, and the computed user.tarn.* names.
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/kill_point.h"
#include "fs/file_system.h"

namespace tarn::fs {
namespace {

constexpr std::string_view kComputed = "user.tarn.";
constexpr std::string_view kComputedNames[] = {"user.tarn.md5", "user.tarn.crc64nvme",
                                               "user.tarn.etag"};

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

bool is_acl(std::string_view name) {
  return name == kAclAccess || name == kAclDefault;
}

Status check_name(std::string_view name) {
  for (std::string_view space : {"user.", "trusted.", "security."}) {
    if (name.starts_with(space) && name.size() > space.size()) return {};
  }
  if (is_acl(name)) return {};
  return Status(Code::kNotSupported,
                fmt::format("extended attribute '{}': the name must start with "
                            "user., trusted. or security.",
                            name));
}

}  // namespace

Result<std::string> FileSystemImpl::computed_xattr(Ino ino, std::string_view name) {
  TARN_ASSIGN(meta::InodeRow row, read_row(ino));
  const bool is_live = live_file(ino) != nullptr;
  const std::string_view what = name.substr(kComputed.size());
  const bool is_known = what == "md5" || what == "crc64nvme" || what == "sha256" ||
                        what == "etag" || what == "generation" || what == "state";
  if (!is_known || !row.is_regular()) {
    return Status(Code::kNoAttribute, fmt::format("no attribute '{}'", name));
  }
  if (what == "generation") return std::to_string(row.generation.value);
  if (what == "state") {
    if (is_live || row.state == meta::ContentState::kOpen) return std::string("open");
    return std::string(row.state == meta::ContentState::kClosed ? "closed" : "settled");
  }
  if (what == "etag") {
    if (row.state == meta::ContentState::kSettled && !row.etag.empty() && !live_file(ino))
      return row.etag;
    TARN_ASSIGN(Attributes a, get_attributes(Caller{}, ino));
    return fmt::format("{:016x}{:08x}{:016x}{:016x}-1", ino.value, a.generation.value, a.size,
                       static_cast<uint64_t>(a.ctime));
  }
  const auto wanted = what == "md5"      ? content::DigestKind::kMd5
                      : what == "sha256" ? content::DigestKind::kSha256
                                         : content::DigestKind::kCrc64Nvme;
  // Once more when a writer came and went while the bytes were read.
  constexpr int kAttempts = 3;
  Result<meta::Digests> digests = meta::Digests{};
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    TARN_TRY(settle_now(ino));
    TARN_ASSIGN(row, read_row(ino));
    digests = content_->digest(row, wanted);
    if (!digests.is(Code::kBusy)) break;
  }
  if (!digests.is_ok()) return digests.status();
  if (what == "md5") return to_hex(digests->md5);
  if (what == "sha256") return to_hex(digests->sha256);
  return to_hex(digests->crc64nvme);
}

Status FileSystemImpl::settle_now(Ino ino) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    {
      OpenInodes::Pin inode = open_inodes_.find(ino);
      if (!inode) return {};
      MutexLock lock(inode->state);
      if (!inode->is_live) return {};
      if (inode->writers > 0) {
        return Status(Code::kBusy,
                      fmt::format("inode {} is open for writing: its digests are known after "
                                  "the last close",
                                  ino.value));
      }
    }
    TARN_TRY(content_->barrier());
  }
  return {};
}

Result<std::string> FileSystemImpl::get_xattr(const Caller& caller, Ino ino,
                                              std::string_view name) {
  if (name.starts_with(kComputed)) return computed_xattr(ino, name);
  auto txn = store_.begin();
  if (!caller.is_checked_by_kernel) {
    TARN_ASSIGN(meta::InodeRow row, meta::get_inode(*txn, ino));
    if (!is_acl(name)) TARN_TRY(check_access(*txn, caller, row, R_OK));
  }
  return meta::get_xattr(*txn, ino, name);
}

Result<std::vector<std::string>> FileSystemImpl::list_xattrs(const Caller& caller, Ino ino) {
  // The computed names are not listed: tools that copy attributes must not try to set them.
  auto txn = store_.begin();
  TARN_ASSIGN(std::vector<std::string> names, meta::list_xattrs(*txn, ino));
  if (caller.uid != 0) {
    std::erase_if(names, [](const std::string& name) { return name.starts_with("trusted."); });
  }
  return names;
}

Status FileSystemImpl::set_xattr(const Caller& caller, Ino ino, std::string_view name,
                                 std::string_view value, int flags) {
  if (replayed(caller)) return {};
  if (name.starts_with(kComputed)) {
    return Status(Code::kNotPermitted,
                  fmt::format("attribute '{}' is computed by Tarn and cannot be set", name));
  }
  TARN_TRY(check_name(name));
  if (name.size() > limits::kNameBytesMax) {
    return Status(Code::kRangeTooSmall, fmt::format("attribute name of {} bytes; the limit is {}",
                                                    name.size(), limits::kNameBytesMax));
  }
  if (value.size() > limits::kXattrValueBytesMax) {
    return Status(Code::kNoSpace, fmt::format("attribute value of {} bytes; the limit is {}",
                                              value.size(), limits::kXattrValueBytesMax));
  }
  meta::XattrMode mode = meta::XattrMode::kEither;
  if (flags & XATTR_CREATE) mode = meta::XattrMode::kCreate;
  if (flags & XATTR_REPLACE) mode = meta::XattrMode::kReplace;
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                TARN_ASSIGN(meta::InodeRow row, meta::get_inode(txn, ino));
                if (!is_acl(name)) {
                  TARN_TRY(check_access(txn, caller, row, W_OK));
                  return meta::set_xattr(txn, context(caller), ino, name, value, mode);
                }
                if (!caller.is_checked_by_kernel && caller.uid != 0 && caller.uid != row.uid) {
                  return Status(Code::kNotPermitted,
                                "only the owner may change an access control list");
                }
                TARN_ASSIGN(Acl acl, decode_acl(value));
                if (name == kAclDefault) {
                  if (!row.is_directory()) {
                    return Status(Code::kAccessDenied,
                                  "only a directory has a default access control list");
                  }
                  return meta::set_xattr(txn, context(caller), ino, name, value, mode);
                }
                meta::AttributeChange change;
                change.mode = (row.mode & 07000u) | acl_mode(acl);
                TARN_TRY(meta::set_attributes(txn, context(caller), ino, change));
                if (!acl_is_minimal(acl)) {
                  return meta::set_xattr(txn, context(caller), ino, name, value, mode);
                }
                Status removed = meta::remove_xattr(txn, context(caller), ino, name);
                return removed.is(Code::kNoAttribute) ? Status() : removed;
              }));
  TARN_KILL_POINT("fs.setxattr.after_commit");
  invalidate_inode(ino, caller);
  return {};
}

Status FileSystemImpl::remove_xattr(const Caller& caller, Ino ino, std::string_view name) {
  if (replayed(caller)) return {};
  TARN_TRY(check_name(name));
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                TARN_ASSIGN(meta::InodeRow row, meta::get_inode(txn, ino));
                if (is_acl(name)) {
                  if (!caller.is_checked_by_kernel && caller.uid != 0 && caller.uid != row.uid) {
                    return Status(Code::kNotPermitted,
                                  "only the owner may change an access control list");
                  }
                  Status removed = meta::remove_xattr(txn, context(caller), ino, name);
                  return removed.is(Code::kNoAttribute) ? Status() : removed;
                }
                TARN_TRY(check_access(txn, caller, row, W_OK));
                return meta::remove_xattr(txn, context(caller), ino, name);
              }));
  TARN_KILL_POINT("fs.removexattr.after_commit");
  invalidate_inode(ino, caller);
  return {};
}

}  // namespace tarn::fs
