// Attributes and permissions: getattr, setattr, access.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/kill_point.h"
#include "fs/file_system.h"

namespace tarn::fs {

Result<Attributes> FileSystemImpl::get_attributes(const Caller&, Ino ino) {
  const uint64_t epoch = live_epoch();
  TARN_ASSIGN(meta::InodeRow row, read_row(ino));
  return live_attributes(std::move(row), epoch);
}

Status FileSystemImpl::check_access(kv::Transaction& txn, const Caller& caller,
                                    const meta::InodeRow& row, uint32_t wanted) {
  if (caller.is_checked_by_kernel || wanted == 0) return {};
  std::optional<Acl> acl;
  // An access ACL shows in the group bits; without a group bit set it cannot grant more.
  if (row.has_xattrs && caller.uid != 0 && caller.uid != row.uid) {
    auto encoded = meta::get_xattr(txn, row.ino, kAclAccess);
    if (encoded.is_ok()) {
      TARN_ASSIGN(acl, decode_acl(*encoded));
    } else if (!encoded.is(Code::kNoAttribute)) {
      return encoded.status();
    }
  }
  if (may_access(caller, row.mode, row.uid, row.gid, acl ? &*acl : nullptr, wanted)) return {};
  return Status(Code::kAccessDenied,
                fmt::format("uid {} may not {}{}{} inode {} (mode {:o}, owner {}:{})", caller.uid,
                            wanted & R_OK ? "read " : "", wanted & W_OK ? "write " : "",
                            wanted & X_OK ? "search or run " : "", row.ino.value, row.mode & 07777u,
                            row.uid, row.gid));
}

Status FileSystemImpl::access(const Caller& caller, Ino ino, int mask) {
  auto txn = store_.begin();
  TARN_ASSIGN(meta::InodeRow row, meta::get_inode(*txn, ino));
  Caller checked = caller;
  checked.is_checked_by_kernel = false;
  return check_access(*txn, checked, row, static_cast<uint32_t>(mask) & 7u);
}

namespace {

/// The set-group-id bit of a file that the group may not run is kept for members, as Linux does.
uint32_t mode_without_set_id(const Caller& caller, const meta::InodeRow& row) {
  const uint32_t mode = row.mode & 07777u & ~static_cast<uint32_t>(S_ISUID);
  const bool keeps_group =
      (mode & S_IXGRP) == 0 && (caller.uid == 0 || is_in_group(caller, row.gid));
  return keeps_group ? mode : mode & ~static_cast<uint32_t>(S_ISGID);
}

/// chmod, chown and utimes rules of POSIX for a caller that the kernel did not check.
Status check_set_attributes(const Caller& caller, const meta::InodeRow& row,
                            const SetAttributes& change, bool may_write) {
  if (caller.is_checked_by_kernel || caller.uid == 0) return {};
  const bool is_owner = caller.uid == row.uid;
  auto denied = [&](std::string_view what) {
    return Status(Code::kNotPermitted, fmt::format("uid {} may not {} inode {} of uid {}",
                                                   caller.uid, what, row.ino.value, row.uid));
  };
  if (change.mode && !is_owner) return denied("change the mode of");
  if (change.uid && *change.uid != row.uid) return denied("give away");
  if (change.gid && *change.gid != row.gid && !(is_owner && is_in_group(caller, *change.gid))) {
    return denied("change the group of");
  }
  const bool sets_times = change.atime || change.mtime;
  if (sets_times && !is_owner) return denied("set the times of");
  if ((change.atime_now || change.mtime_now || change.size) && !is_owner && !may_write) {
    return Status(Code::kAccessDenied,
                  fmt::format("uid {} may not write inode {}", caller.uid, row.ino.value));
  }
  return {};
}

}  // namespace

/// A write and chown(-1, -1) look alike by the time they come here. Who neither owns the file nor
/// may write it can only mean a write when somebody has it open for that.
Status FileSystemImpl::check_may_clear_set_id(const Caller& caller, const meta::InodeRow& row) {
  if (caller.uid == 0 || caller.uid == row.uid) return {};
  if (OpenInodes::Pin inode = open_inodes_.find(row.ino)) {
    MutexLock lock(inode->state);
    if (inode->writers > 0) return {};
  }
  Caller checked = caller;
  checked.is_checked_by_kernel = false;
  if (check_access(*store_.begin(), checked, row, W_OK).is_ok()) return {};
  return Status(Code::kNotPermitted,
                fmt::format("uid {} may not change the mode of inode {} of uid {}", caller.uid,
                            row.ino.value, row.uid));
}

Result<Attributes> FileSystemImpl::set_attributes(const Caller& caller, Ino ino,
                                                  const SetAttributes& change,
                                                  std::optional<Fh> fh) {
  const bool is_replayed = replayed(caller).has_value();
  if (change.size) {
    OpenInodes::Pin inode = open_inodes_.pin(ino);
    MutexLock opening(inode->opening);
    if (!fh) {
      auto txn = store_.begin();
      TARN_ASSIGN(meta::InodeRow row, meta::get_inode(*txn, ino));
      TARN_TRY(check_access(*txn, caller, row, W_OK));
    }
    TARN_TRY(truncate(caller, *inode, *change.size));
  }
  const TimeNs now = Clock::system().now();
  meta::AttributeChange wanted;
  wanted.uid = change.uid;
  wanted.gid = change.gid;
  wanted.atime = change.atime_now ? now : change.atime;
  wanted.mtime = change.mtime_now ? now : change.mtime;
  bool clears_set_id = false;
  if (change.clears_set_id && !change.mode) {
    TARN_ASSIGN(meta::InodeRow row, read_row(ino));
    clears_set_id = !row.is_directory() && mode_without_set_id(caller, row) != (row.mode & 07777u);
    if (clears_set_id && !change.uid && !change.gid && !change.size) {
      TARN_TRY(check_may_clear_set_id(caller, row));
    }
  }
  const bool has_rest =
      change.mode || change.uid || change.gid || wanted.atime || wanted.mtime || clears_set_id;
  if (!has_rest) {
    if (change.size) invalidate_inode(ino, caller);
    return get_attributes(caller, ino);
  }
  OpenInodes::Pin timed;
  MutexLock opening;
  if (wanted.atime || wanted.mtime) {
    timed = open_inodes_.find(ino);
    if (timed) {
      // The background, which settles by row and file, must not see one with the new times and the
      // other without. A failure to settle is not this call's business.
      opening = MutexLock(timed->opening);
      static_cast<void>(take_back(*timed));
    }
  }
  meta::InodeRow row;
  if (!is_replayed) {
    TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                  TARN_ASSIGN(meta::InodeRow before, meta::get_inode(txn, ino));
                  const bool may_write = check_access(txn, caller, before, W_OK).is_ok();
                  TARN_TRY(check_set_attributes(caller, before, change, may_write));
                  wanted.mode.reset();
                  if (change.mode) {
                    uint32_t mode = *change.mode & 07777u;
                    if (!caller.is_checked_by_kernel && caller.uid != 0 &&
                        !is_in_group(caller, before.gid)) {
                      mode &= ~static_cast<uint32_t>(S_ISGID);
                    }
                    wanted.mode = mode;
                  } else if (!before.is_directory() &&
                             (clears_set_id ||
                              ((change.uid || change.gid) && !caller.is_checked_by_kernel))) {
                    wanted.mode = mode_without_set_id(caller, before);
                  }
                  TARN_ASSIGN(row, meta::set_attributes(txn, context(caller), ino, wanted));
                  if (!wanted.mode) return {};
                  auto encoded = meta::get_xattr(txn, ino, kAclAccess);
                  if (encoded.is(Code::kNoAttribute)) return {};
                  if (!encoded.is_ok()) return encoded.status();
                  TARN_ASSIGN(Acl acl, decode_acl(*encoded));
                  return meta::set_xattr(txn, context(caller), ino, kAclAccess,
                                         encode_acl(acl_after_chmod(std::move(acl), *wanted.mode)),
                                         meta::XattrMode::kEither);
                }));
    TARN_KILL_POINT("fs.setattr.after_commit");
  }
  if (wanted.atime || wanted.mtime) {
    // The backing file must agree, or its times would come back as the live ones.
    if (timed) {
      content::FileRef file;
      {
        MutexLock lock(timed->state);
        if (timed->is_live) file = timed->file;
      }
      if (file) {
        TARN_TRY(file->set_times(wanted.atime, wanted.mtime));
        if (wanted.mtime) {
          TARN_ASSIGN(content::FileStat st, file->stat());
          MutexLock lock(timed->state);
          // What was written before this call is covered by the time just set.
          timed->grant.mtime = st.mtime;
          timed->grant.size = st.size;
          if (timed->grant.ctime != st.ctime) timed->was_written = true;
          timed->grant.ctime = st.ctime;
        }
      }
    }
  }
  if (timed) {
    bool is_closed = false;
    {
      MutexLock lock(timed->state);
      is_closed = timed->is_live && timed->writers == 0 && !timed->ticket;
    }
    if (is_closed) TARN_TRY(end_write(*timed));
    opening.unlock();
  }
  invalidate_inode(ino, caller);
  return get_attributes(caller, ino);
}

}  // namespace tarn::fs
