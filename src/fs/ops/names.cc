// Operations on names: lookup, mknod, mkdir, symlink, link, unlink, rmdir, rename.
#include <sys/stat.h>

#include <fmt/format.h>

#include "base/kill_point.h"
#include "fs/file_system.h"

namespace tarn::fs {

Result<Attributes> FileSystemImpl::lookup(const Caller& caller, Ino parent, std::string_view name) {
  const uint64_t epoch = live_epoch();
  meta::InodeRow row;
  {
    auto txn = store_.begin();
    if (!caller.is_checked_by_kernel) {
      TARN_ASSIGN(meta::InodeRow directory, meta::get_inode(*txn, parent));
      TARN_TRY(check_access(*txn, caller, directory, X_OK));
    }
    TARN_ASSIGN(row, meta::lookup(*txn, parent, name));
  }
  return live_attributes(std::move(row), epoch);
}

Status FileSystemImpl::check_parent(kv::Transaction& txn, const Caller& caller, Ino parent) {
  if (caller.is_checked_by_kernel) return {};
  TARN_ASSIGN(meta::InodeRow row, meta::get_inode(txn, parent));
  return check_access(txn, caller, row, W_OK | X_OK);
}

Status FileSystemImpl::check_sticky(const Caller& caller, const meta::InodeRow& parent,
                                    const meta::InodeRow& entry) {
  if (caller.is_checked_by_kernel || caller.uid == 0 || !(parent.mode & S_ISVTX)) return {};
  if (caller.uid == entry.uid || caller.uid == parent.uid) return {};
  return Status(Code::kNotPermitted,
                fmt::format("directory {} is sticky and neither it nor the entry belongs to uid {}",
                            parent.ino.value, caller.uid));
}

Status FileSystemImpl::inherit(kv::Transaction& txn, const Caller& caller, Ino parent,
                               meta::NewInode& inode) {
  TARN_ASSIGN(meta::InodeRow directory, meta::get_inode(txn, parent));
  if (!directory.is_directory()) {
    return Status(Code::kNotDirectory, fmt::format("inode {} is not a directory", parent.value));
  }
  if (!caller.is_checked_by_kernel) TARN_TRY(check_access(txn, caller, directory, W_OK | X_OK));
  inode.uid = caller.uid;
  inode.gid = caller.gid;
  if (directory.mode & S_ISGID) {
    inode.gid = directory.gid;
    if (S_ISDIR(inode.mode)) inode.mode |= S_ISGID;
  }
  inode.xattrs.clear();
  if (S_ISLNK(inode.mode)) return {};
  Result<std::string> encoded =
      directory.has_xattrs ? meta::get_xattr(txn, parent, kAclDefault)
                           : Result<std::string>(Code::kNoAttribute, "no attributes at all");
  if (!encoded.is_ok()) {
    if (!encoded.is(Code::kNoAttribute)) return encoded.status();
    inode.mode &= ~(caller.umask & 0777u);
    return {};
  }
  TARN_ASSIGN(Acl acl, decode_acl(*encoded));
  InheritedAcl inherited = inherit_acl(acl, inode.mode, S_ISDIR(inode.mode));
  inode.mode = inherited.mode;
  if (inherited.access) inode.xattrs.emplace_back(kAclAccess, *inherited.access);
  if (inherited.default_acl) inode.xattrs.emplace_back(kAclDefault, *inherited.default_acl);
  return {};
}

Result<Attributes> FileSystemImpl::mknod(const Caller& caller, Ino parent, std::string_view name,
                                         uint32_t mode, uint32_t rdev) {
  if (auto record = replayed(caller)) return replayed_attributes(*record);
  if ((mode & S_IFMT) == 0) mode |= S_IFREG;
  if (S_ISDIR(mode) || S_ISLNK(mode)) {
    return Status(Code::kNotPermitted, "mknod makes files, devices, pipes and sockets only");
  }
  if (!caller.is_checked_by_kernel && caller.uid != 0 && (S_ISCHR(mode) || S_ISBLK(mode))) {
    return Status(Code::kNotPermitted, "only root may make device nodes");
  }
  meta::NewInode inode;
  TARN_ASSIGN(uint64_t ino, inode_ids_->next());
  inode.ino = Ino(ino);
  inode.rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
  meta::InodeRow row;
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                inode.mode = mode;
                TARN_TRY(inherit(txn, caller, parent, inode));
                TARN_ASSIGN(row, meta::create(txn, context(caller), parent, name, inode));
                return {};
              }));
  TARN_KILL_POINT("fs.mknod.after_commit");
  invalidate_entry(parent, name, caller);
  return plain_attributes(row);
}

Result<Attributes> FileSystemImpl::mkdir(const Caller& caller, Ino parent, std::string_view name,
                                         uint32_t mode) {
  if (auto record = replayed(caller)) return replayed_attributes(*record);
  meta::NewInode inode;
  TARN_ASSIGN(uint64_t ino, inode_ids_->next());
  inode.ino = Ino(ino);
  meta::InodeRow row;
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                inode.mode = S_IFDIR | (mode & 07777u);
                TARN_TRY(inherit(txn, caller, parent, inode));
                TARN_ASSIGN(row, meta::create(txn, context(caller), parent, name, inode));
                return {};
              }));
  TARN_KILL_POINT("fs.mkdir.after_commit");
  invalidate_entry(parent, name, caller);
  return plain_attributes(row);
}

Result<Attributes> FileSystemImpl::symlink(const Caller& caller, Ino parent, std::string_view name,
                                           std::string_view target) {
  if (auto record = replayed(caller)) return replayed_attributes(*record);
  if (target.empty()) return Status(Code::kNotFound, "a symbolic link needs a target");
  if (target.size() > limits::kSymlinkBytesMax) {
    return Status(Code::kNameTooLong, fmt::format("link target of {} bytes; the limit is {}",
                                                  target.size(), limits::kSymlinkBytesMax));
  }
  meta::NewInode inode;
  TARN_ASSIGN(uint64_t ino, inode_ids_->next());
  inode.ino = Ino(ino);
  inode.size = target.size();
  inode.content = content::encode(content::Inline{std::string(target)});
  meta::InodeRow row;
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                inode.mode = S_IFLNK | 0777;
                TARN_TRY(inherit(txn, caller, parent, inode));
                TARN_ASSIGN(row, meta::create(txn, context(caller), parent, name, inode));
                return {};
              }));
  TARN_KILL_POINT("fs.symlink.after_commit");
  invalidate_entry(parent, name, caller);
  return plain_attributes(row);
}

Result<std::string> FileSystemImpl::readlink(const Caller&, Ino ino) {
  TARN_ASSIGN(meta::InodeRow row, read_row(ino));
  if (!row.is_symlink()) {
    return Status(Code::kInvalidArgument,
                  fmt::format("inode {} is not a symbolic link", ino.value));
  }
  TARN_ASSIGN(content::Descriptor descriptor, content::decode(row.content));
  const auto* bytes = std::get_if<content::Inline>(&descriptor);
  if (bytes == nullptr) {
    return Status(Code::kCorrupt, fmt::format("symbolic link {} has no target", ino.value));
  }
  return bytes->bytes;
}

Result<Attributes> FileSystemImpl::link(const Caller& caller, Ino ino, Ino parent,
                                        std::string_view name) {
  if (auto record = replayed(caller)) return replayed_attributes(*record);
  const uint64_t epoch = live_epoch();
  meta::InodeRow row;
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                TARN_TRY(check_parent(txn, caller, parent));
                TARN_ASSIGN(row, meta::get_inode(txn, ino));
                if (row.nlink == 0) {
                  // O_TMPFILE's first name; the kernel lets no unlinked file come here.
                  TARN_ASSIGN(meta::Renamed placed,
                              meta::place(txn, context(caller), ino, parent, name, false));
                  row = placed.moved;
                  return {};
                }
                TARN_ASSIGN(row, meta::link(txn, context(caller), ino, parent, name));
                return {};
              }));
  TARN_KILL_POINT("fs.link.after_commit");
  {
    MutexLock lock(unlinked_mutex_);
    unlinked_.erase(ino);
  }
  if (OpenInodes::Pin inode = open_inodes_.find(ino)) {
    MutexLock lock(inode->state);
    inode->is_unlinked = false;
  }
  invalidate_entry(parent, name, caller);
  invalidate_inode(ino, caller);
  return live_attributes(std::move(row), epoch);
}

Status FileSystemImpl::unlink(const Caller& caller, Ino parent, std::string_view name) {
  if (replayed(caller)) return {};
  meta::Removed removed;
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                if (!caller.is_checked_by_kernel) {
                  TARN_ASSIGN(meta::InodeRow directory, meta::get_inode(txn, parent));
                  TARN_TRY(check_access(txn, caller, directory, W_OK | X_OK));
                  TARN_ASSIGN(meta::InodeRow entry, meta::lookup(txn, parent, name));
                  TARN_TRY(check_sticky(caller, directory, entry));
                }
                TARN_ASSIGN(removed, meta::unlink(txn, context(caller), parent, name));
                return {};
              }));
  TARN_KILL_POINT("fs.unlink.after_commit");
  if (removed.inode.nlink == 0) {
    note_unlinked(removed.inode);
    if (!caller.request.is_from_kernel()) forget(removed.inode.ino);
  }
  invalidate_entry(parent, name, caller);
  invalidate_inode(removed.inode.ino, caller);
  return {};
}

Status FileSystemImpl::rmdir(const Caller& caller, Ino parent, std::string_view name) {
  if (replayed(caller)) return {};
  meta::Removed removed;
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                if (!caller.is_checked_by_kernel) {
                  TARN_ASSIGN(meta::InodeRow directory, meta::get_inode(txn, parent));
                  TARN_TRY(check_access(txn, caller, directory, W_OK | X_OK));
                  TARN_ASSIGN(meta::InodeRow entry, meta::lookup(txn, parent, name));
                  TARN_TRY(check_sticky(caller, directory, entry));
                }
                TARN_ASSIGN(removed, meta::rmdir(txn, context(caller), parent, name));
                return {};
              }));
  TARN_KILL_POINT("fs.rmdir.after_commit");
  note_unlinked(removed.inode);
  if (!caller.request.is_from_kernel()) forget(removed.inode.ino);
  invalidate_entry(parent, name, caller);
  return {};
}

Status FileSystemImpl::rename(const Caller& caller, Ino source_parent, std::string_view source_name,
                              Ino target_parent, std::string_view target_name, RenameFlags flags) {
  if (replayed(caller)) return {};
  // Rule (b): new content that takes an old file's place is on disk before the old one loses its
  // name.
  if (!flags.no_replace) {
    bool needs_settling = false, is_replacement = false;
    Ino source_ino;
    {
      auto txn = store_.begin();
      auto target = meta::lookup(*txn, target_parent, target_name);
      if (target.is_ok() && target->is_regular()) {
        auto source = meta::lookup(*txn, source_parent, source_name);
        if (source.is_ok() && source->is_regular() && source->ino != target->ino) {
          needs_settling = source->state != meta::ContentState::kSettled;
          source_ino = source->ino;
        }
      }
    }
    content::FileRef file;
    if (source_ino) {
      if (OpenInodes::Pin inode = open_inodes_.find(source_ino)) {
        MutexLock lock(inode->state);
        if (inode->is_live) file = inode->file;
        is_replacement = inode->is_live && inode->is_deferred;
      }
    }
    if (is_replacement) {
      // The source's own row still names the bytes before its last change.
      TARN_TRY(barrier());
    } else if (needs_settling) {
      if (file) {
        if (file->local()) TARN_TRY(content_->ensure_named(file->local(), true));
        TARN_TRY(file->sync());
      } else {
        TARN_TRY(content_->barrier());
      }
    }
  }
  meta::Renamed renamed;
  TARN_ASSIGN([[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                if (!caller.is_checked_by_kernel) {
                  TARN_ASSIGN(meta::InodeRow from, meta::get_inode(txn, source_parent));
                  TARN_ASSIGN(meta::InodeRow to, meta::get_inode(txn, target_parent));
                  TARN_TRY(check_access(txn, caller, from, W_OK | X_OK));
                  TARN_TRY(check_access(txn, caller, to, W_OK | X_OK));
                  TARN_ASSIGN(meta::InodeRow entry, meta::lookup(txn, source_parent, source_name));
                  TARN_TRY(check_sticky(caller, from, entry));
                  auto replaced = meta::lookup(txn, target_parent, target_name);
                  if (replaced.is_ok()) TARN_TRY(check_sticky(caller, to, *replaced));
                }
                meta::RenameOptions options;
                options.no_replace = flags.no_replace;
                options.exchange = flags.exchange;
                TARN_ASSIGN(renamed, meta::rename(txn, context(caller), source_parent, source_name,
                                                  target_parent, target_name, options));
                return {};
              }));
  TARN_KILL_POINT("fs.rename.after_commit");
  if (renamed.replaced && renamed.replaced->nlink == 0) {
    note_unlinked(*renamed.replaced);
    if (!caller.request.is_from_kernel()) forget(renamed.replaced->ino);
  }
  invalidate_entry(source_parent, source_name, caller);
  invalidate_entry(target_parent, target_name, caller);
  return {};
}

}  // namespace tarn::fs
