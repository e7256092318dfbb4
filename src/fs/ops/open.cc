// Opening, creating, writing modes and closing: the life of an open inode.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/kill_point.h"
#include "base/log.h"
#include "fs/file_system.h"

namespace tarn::fs {
namespace {

bool is_writing(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY;
}
// No clock that stamps files ticks more slowly than this (10 ms where HZ is 100).
constexpr TimeNs kTickMax = 20 * kMillisecondNs;

bool is_synchronous(int flags) {
  return (flags & (O_DSYNC | O_SYNC)) != 0;
}

}  // namespace

content::FileRef FileSystemImpl::live_file(Ino ino) {
  OpenInodes::Pin inode = open_inodes_.find(ino);
  if (!inode) return nullptr;
  MutexLock lock(inode->state);
  return inode->is_live ? inode->file : nullptr;
}

bool FileSystemImpl::is_in_use(Ino ino) {
  if (OpenInodes::Pin inode = open_inodes_.find(ino)) {
    MutexLock lock(inode->state);
    if (inode->handles > 0 || inode->is_live) return true;
  }
  MutexLock lock(directories_mutex_);
  return std::ranges::any_of(directories_,
                             [&](const auto& item) { return item.second->ino == ino; });
}

Status FileSystemImpl::take_back(OpenInode& inode) {
  content::TicketRef ticket;
  {
    MutexLock lock(inode.state);
    if (inode.is_live) ticket = inode.ticket;
  }
  if (!ticket) return {};
  if (!ticket->cancel()) return ticket->wait();
  MutexLock lock(inode.state);
  inode.ticket = nullptr;
  inode.was_written = true;  // its times were judged at the close before
  // Its slot stays until a handle's or the next submission's takes its place: a process that dies
  // in between must find the file.
  return {};
}

meta::GrantStamp FileSystemImpl::grant_of(const content::FileStat& look) const {
  // Written to within the tick of its last change, a file may show the same times as before.
  const bool is_proof = has_fine_times_ || Clock::system().now() - look.ctime > kTickMax;
  return is_proof ? look.stamp() : meta::GrantStamp{};
}

Status FileSystemImpl::begin_write(const Caller&, OpenInode& inode, bool truncate) {
  TARN_TRY(take_back(inode));
  bool is_live = false, has_handles = false, has_direct = false;
  content::FileRef file;
  {
    MutexLock lock(inode.state);
    is_live = inode.is_live;
    file = inode.file;
    has_handles = inode.handles > 0;
    has_direct = has_handles && inode.path == Path::kDirect;
  }
  if (is_live) {
    if (!truncate) return {};
    {
      MutexLock lock(inode.state);
      inode.was_written = true;
    }
    return file->truncate(0);
  }
  TARN_TRY(root_.check_may_write());
  TARN_ASSIGN(meta::InodeRow row, read_row(inode.ino));
  if (row.is_sealed) {
    return Status(Code::kReadOnly, fmt::format("inode {} is in a sealed tree", row.ino.value));
  }
  const bool wants_empty = truncate && !has_handles;
  TARN_ASSIGN(content::WritePlan plan, content_->prepare_write(row, wants_empty, {}));
  if (plan.kind != content::WritePlan::Kind::kInPlace && has_direct) {
    return Status(Code::kTextBusy,
                  fmt::format("inode {} is read directly, and its bytes are shared with "
                              "another file; close the readers first",
                              row.ino.value));
  }
  TARN_ASSIGN(content::FileStat st, plan.file->stat());
  const bool is_in_place = plan.kind == content::WritePlan::Kind::kInPlace;
  if (is_in_place) {
    meta::ContentChange change;
    change.state = meta::ContentState::kOpen;
    change.grant = grant_of(st);
    change.ctime = row.ctime;
    TARN_ASSIGN(Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
                  return detail::as_status(meta::set_content(
                      txn, context(Caller{}), inode.ino, change, [&](const meta::InodeRow& now) {
                        return now.generation == row.generation && now.content == row.content;
                      }));
                }));
    // Rule (d): the mark is durable before the first byte of the settled blob may change.
    TARN_TRY(store_.sync(stamp));
  }
  {
    MutexLock lock(inode.state);
    inode.file = plan.file;
    inode.is_live = true;
    inode.is_new = false;
    inode.is_deferred = !is_in_place;
    inode.base = row.generation;
    inode.grant = grant_of(st);
    inode.was_written = truncate || inode.grant == meta::GrantStamp{};
  }
  drop_cached(inode.ino);
  if (truncate) TARN_TRY(plan.file->truncate(0));
  // Pieces show through to the old bytes: only the row can tell a new process which.
  if (plan.kind == content::WritePlan::Kind::kPieces) return commit_deferred(inode);
  return {};
}

void FileSystemImpl::submit(OpenInode& inode) {
  content::ClosedFile closed;
  closed.ino = inode.ino;
  Slot slot{};
  uint64_t submission = 0;
  {
    MutexLock lock(inode.state);
    closed.file = inode.file;
    closed.is_new = inode.is_new;
    if (inode.is_deferred) closed.replaces = inode.base;
    closed.keep_blob = inode.handles > 0 && inode.path == Path::kDirect;
    submission = ++inode.submitted;
    slot.set_grant(inode.grant);
    slot.is_new = inode.is_new;
  }
  closed.done = [this, ino = inode.ino, submission](const Result<meta::InodeRow>& row) {
    on_settled(ino, submission, row);
  };
  // The slot lets a new process find the file if this one dies before it settles.
  slot.ino = inode.ino.value;
  slot.kind = static_cast<uint8_t>(SlotKind::kPending);
  slot.flags = closed.replaces ? O_TRUNC : 0;
  if (content::LocalFileRef local = closed.file->local()) {
    slot.blob = local->blob().value;
    slot.attachment = local->attachment();
    slot.set_kernel_handle(local->kernel_handle());
  }
  Result<Fh> pending = handles_->take(slot);
  {
    MutexLock lock(inode.state);
    if (pending.is_ok()) handles_->free(std::exchange(inode.pending_slot, *pending));
  }
  content::TicketRef ticket = content_->submit_closed(std::move(closed));
  MutexLock lock(inode.state);
  if (inode.settled < submission) inode.ticket = std::move(ticket);
}

void FileSystemImpl::on_settled(Ino ino, uint64_t submission, const Result<meta::InodeRow>& row) {
  OpenInodes::Pin inode = open_inodes_.pin(ino);
  live_epoch_.fetch_add(1);
  content::FileRef old;
  {
    MutexLock lock(inode->state);
    inode->settled = std::max(inode->settled, submission);
    if (submission != inode->submitted) return;
    inode->ticket = nullptr;
    handles_->free(std::exchange(inode->pending_slot, Fh{}));
    const bool is_gone = row.is(Code::kStale) || row.is(Code::kNotFound);
    if (row.is_ok() || is_gone) {
      inode->is_live = false;
      inode->is_new = false;
      inode->is_deferred = false;
      inode->was_written = false;
      if (inode->handles == 0) old = std::move(inode->file);
    }
  }
  if (!row.is_ok()) {
    log_warn("fs.settle", "inode={} {}", ino.value, row.status().to_string());
  }
}

Status FileSystemImpl::end_write(OpenInode& inode) {
  content::FileRef file;
  meta::GrantStamp grant;
  bool is_new = false, is_deferred = false, was_written = false;
  {
    MutexLock lock(inode.state);
    if (!inode.is_live || inode.ticket) return {};
    file = inode.file;
    grant = inode.grant;
    is_new = inode.is_new;
    is_deferred = inode.is_deferred;
    was_written = inode.was_written;
  }
  Result<content::FileStat> st = file->stat();
  const bool is_untouched = st.is_ok() && !is_new && !was_written && st->ctime == grant.ctime;
  if (!is_untouched) {
    submit(inode);
    return {};
  }
  if (!is_deferred) {
    // Opened for writing and nothing written: the old generation and its digests stand.
    meta::ContentChange change;
    change.state = meta::ContentState::kSettled;
    TARN_ASSIGN(
        [[maybe_unused]] Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
          TARN_ASSIGN(meta::InodeRow before, meta::get_inode(txn, inode.ino));
          change.ctime = before.ctime;
          return detail::as_status(meta::set_content(txn, context(Caller{}), inode.ino, change));
        }));
  }
  live_epoch_.fetch_add(1);
  content::FileRef old;
  MutexLock lock(inode.state);
  inode.is_live = false;
  inode.is_deferred = false;
  if (inode.handles == 0) old = std::move(inode.file);
  return {};
}

Status FileSystemImpl::commit_deferred(OpenInode& inode) {
  content::FileRef file;
  Generation base;
  meta::GrantStamp grant;
  bool was_written = false;
  {
    MutexLock lock(inode.state);
    if (!inode.is_live || !inode.is_deferred || inode.ticket) return {};
    file = inode.file;
    base = inode.base;
    grant = inode.grant;
    was_written = inode.was_written;
  }
  if (content::LocalFileRef local = file->local()) TARN_TRY(content_->ensure_named(local, true));
  TARN_TRY(file->sync());
  TARN_ASSIGN(content::FileStat st, file->stat());
  meta::ContentChange change;
  change.state = meta::ContentState::kOpen;
  change.generation = Generation(base.value + 1);
  change.content = content::encode(file->descriptor());
  // Whoever finds the row later (a process that takes over, recovery) tells by the stamp whether
  // the file holds anything that its base does not: no file has the stamp of zeros.
  const bool is_untouched = !was_written && st.ctime == grant.ctime;
  change.grant = is_untouched ? grant_of(st) : meta::GrantStamp{};
  change.size = st.size;
  change.blocks = st.blocks;
  // The times of a copy that nobody has written to are nobody's.
  if (!is_untouched) change.mtime = st.mtime;
  change.digests = meta::Digests{};
  change.etag = "";
  TARN_ASSIGN(
      Stamp stamp, transact([&](kv::Transaction& txn) -> Status {
        TARN_ASSIGN(meta::InodeRow row, meta::get_inode(txn, inode.ino));
        if (row.generation != base) {
          return Status(Code::kConflict, "the file's generation moved on");
        }
        change.ctime = is_untouched ? row.ctime : std::max(row.ctime, st.ctime);
        TARN_ASSIGN(content::Descriptor old, content::decode(row.content));
        TARN_TRY(content_->release(txn, inode.ino, base, old));
        TARN_TRY(content_->attach(txn, inode.ino, *change.generation, file->descriptor()));
        return detail::as_status(meta::set_content(txn, context(Caller{}), inode.ino, change));
      }));
  content_->released(stamp);
  MutexLock lock(inode.state);
  inode.is_deferred = false;
  inode.is_new = true;  // the row's generation number is already the new one
  return {};
}

Result<Opened> FileSystemImpl::add_handle(const Caller& caller, OpenInode& inode, int flags) {
  content::FileRef file;
  bool has_handles = false, is_live = false, is_pending = false, is_new = false;
  Path path = Path::kServed;
  bool was_written = false;
  meta::GrantStamp grant;
  {
    MutexLock lock(inode.state);
    file = inode.file;
    was_written = inode.is_live && inode.was_written;
    has_handles = inode.handles > 0;
    is_live = inode.is_live;
    is_pending = inode.ticket != nullptr;
    is_new = inode.is_new;
    path = inode.path;
    grant = inode.grant;
  }
  Opened opened;
  Generation generation;
  if (!file || (!has_handles && !is_live)) {
    TARN_ASSIGN(meta::InodeRow row, read_row(inode.ino));
    TARN_ASSIGN(file, content_->open_read(row));
    generation = row.generation;
    if (row.state != meta::ContentState::kSettled) generation = Generation{};
  }
  content::LocalFileRef local = file->local();
  if (!has_handles) {
    path = Path::kServed;
    bool may_direct = options_.attacher != nullptr && local != nullptr;
    if (may_direct && is_pending) {
      // A small pending file is about to move to a pack: a direct handle would pin its blob.
      Result<content::FileStat> st = file->stat();
      may_direct = st.is_ok() && st->size > limits::kPackedBytesMax;
    }
    if (may_direct) {
      Result<int32_t> id = local->attach();
      if (id.is_ok()) {
        path = Path::kDirect;
      } else {
        log_debug("fs.open", "inode={} served: {}", inode.ino.value, id.status().to_string());
      }
    }
  }
  if (is_writing(flags) && is_synchronous(flags)) {
    if (is_live) TARN_TRY(commit_deferred(inode));
    if (local) TARN_TRY(content_->ensure_named(local, true));
    TARN_TRY(store_.sync(store_.head()));
  }
  Slot slot{};
  slot.ino = inode.ino.value;
  slot.unique = caller.request.unique;
  // A stamp that was renewed after a write (by utimes) does not show it any more.
  slot.flags = flags | (was_written ? O_TRUNC : 0);
  slot.kind = static_cast<uint8_t>(SlotKind::kFile);
  slot.is_direct = path == Path::kDirect;
  slot.is_new = is_new;
  slot.set_grant(grant);
  if (local) {
    slot.blob = local->blob().value;
    slot.attachment = local->attachment();
    slot.set_kernel_handle(local->kernel_handle());
  }
  TARN_ASSIGN(opened.fh, handles_->take(slot));
  opened.path = path;
  if (path == Path::kDirect) opened.backing = local;
  if (path == Path::kServed && !is_live && generation) {
    opened.may_keep_cache = may_keep_cache(inode.ino, generation);
  }
  MutexLock lock(inode.state);
  if (!inode.ticket) handles_->free(std::exchange(inode.pending_slot, Fh{}));
  if (!inode.file || !has_handles) inode.file = file;
  inode.path = path;
  ++inode.handles;
  if (is_writing(flags)) ++inode.writers;
  return opened;
}

bool FileSystemImpl::open_is_quick(Ino, int flags) {
  return !is_writing(flags) && (flags & O_TRUNC) == 0;
}

Result<Opened> FileSystemImpl::open(const Caller& caller, Ino ino, int flags) {
  if (caller.request.is_resent) {
    auto it = resent_opens_.find(caller.request.unique);
    if (it != resent_opens_.end() && handles_->find(it->second) != nullptr) {
      return reopened(it->second);
    }
  }
  OpenInodes::Pin inode = open_inodes_.pin(ino);
  MutexLock opening(inode->opening);
  {
    auto txn = store_.begin();
    TARN_ASSIGN(meta::InodeRow row, meta::get_inode(*txn, ino));
    if (row.is_directory()) return Status(Code::kIsDirectory, fmt::format("inode {}", ino.value));
    if (row.is_symlink()) return Status(Code::kTooManySymlinks, fmt::format("inode {}", ino.value));
    if (!row.is_regular()) return Status(Code::kNoDevice, fmt::format("inode {}", ino.value));
    uint32_t wanted = 0;
    if ((flags & O_ACCMODE) != O_WRONLY) wanted |= R_OK;
    if (is_writing(flags) || (flags & O_TRUNC)) wanted |= W_OK;
    TARN_TRY(check_access(*txn, caller, row, wanted));
    if (row.is_sealed && (is_writing(flags) || (flags & O_TRUNC))) {
      return Status(Code::kReadOnly, fmt::format("inode {} is in a sealed tree", ino.value));
    }
  }
  const bool truncate_now = (flags & O_TRUNC) != 0;
  if (is_writing(flags) || truncate_now) {
    TARN_TRY(begin_write(caller, *inode, truncate_now));
    TARN_KILL_POINT("fs.open.after_commit");
    if (truncate_now) invalidate_inode(ino, caller);
  }
  Result<Opened> opened = add_handle(caller, *inode, flags);
  bool is_last_writer = false;
  {
    MutexLock lock(inode->state);
    is_last_writer = inode->writers == 0 && inode->is_live;
  }
  // A failed open, or O_RDONLY | O_TRUNC, leaves no writer behind.
  if (is_last_writer) TARN_TRY(end_write(*inode));
  return opened;
}

Result<Opened> FileSystemImpl::reopened(Fh fh) {
  Slot* slot = handles_->find(fh);
  OpenInodes::Pin inode = open_inodes_.pin(Ino(slot->ino));
  MutexLock lock(inode->state);
  Opened opened;
  opened.fh = fh;
  opened.path = inode->path;
  if (opened.path == Path::kDirect && inode->file) opened.backing = inode->file->local();
  return opened;
}

Result<Created> FileSystemImpl::create(const Caller& caller, Ino parent, std::string_view name,
                                       uint32_t mode, int flags) {
  return create_file(caller, parent, name, mode, flags);
}

Result<Created> FileSystemImpl::create_unnamed(const Caller& caller, Ino parent, uint32_t mode,
                                               int flags) {
  return create_file(caller, parent, std::nullopt, mode, flags);
}

Result<Created> FileSystemImpl::create_file(const Caller& caller, Ino parent,
                                            std::optional<std::string_view> name, uint32_t mode,
                                            int flags) {
  if (auto record = replayed(caller)) {
    auto it = resent_opens_.find(caller.request.unique);
    if (it == resent_opens_.end()) {
      return Status(Code::kStale, "the handle of a resent create is gone");
    }
    Created created;
    TARN_ASSIGN(created.attributes, replayed_attributes(*record));
    TARN_ASSIGN(created.opened, reopened(it->second));
    return created;
  }
  TARN_TRY(root_.check_may_write());
  TARN_ASSIGN(content::LocalFileRef local, content_->take_new());
  TARN_ASSIGN(uint64_t number, inode_ids_->next());
  meta::NewInode fresh;
  fresh.ino = Ino(number);
  fresh.state = meta::ContentState::kOpen;
  fresh.content = content::encode(content::WholeBlob{local->blob()});
  TARN_ASSIGN(content::FileStat st, local->stat());
  fresh.grant = st.stamp();

  OpenInodes::Pin inode = open_inodes_.pin(fresh.ino);
  MutexLock opening(inode->opening);
  {
    MutexLock lock(inode->state);
    inode->file = content_->open_new(local);
    inode->is_live = true;
    inode->is_new = true;
    inode->grant = fresh.grant;
  }
  // Handle and slot stand before the row does: a new process finds what the kernel may be told of.
  Result<Opened> opened = add_handle(caller, *inode, flags & ~(O_SYNC | O_DSYNC));
  meta::InodeRow row;
  auto stamp = !opened.is_ok()
                   ? Result<Stamp>(opened.status())
                   : transact([&](kv::Transaction& txn) -> Status {
                       fresh.mode = S_IFREG | (mode & 07777u);
                       TARN_TRY(inherit(txn, caller, parent, fresh));
                       if (name) {
                         TARN_ASSIGN(row, meta::create(txn, context(caller), parent, *name, fresh));
                       } else {
                         TARN_ASSIGN(row, meta::create_unnamed(txn, context(caller), fresh));
                       }
                       return {};
                     });
  TARN_KILL_POINT("fs.create.after_commit");
  if (!stamp.is_ok()) {
    if (opened.is_ok()) handles_->free(opened->fh);
    MutexLock lock(inode->state);
    inode->handles = inode->writers = 0;
    inode->is_live = false;
    inode->file = nullptr;
    return stamp.status();
  }
  if (!name) {
    note_unlinked(row);
  }
  if (is_synchronous(flags) && is_writing(flags)) {
    TARN_TRY(content_->ensure_named(local, true));
    TARN_TRY(store_.sync(*stamp));
  }
  if (name) invalidate_entry(parent, *name, caller);
  Created created;
  created.attributes = plain_attributes(row);
  created.attributes.is_settled = false;
  created.opened = *opened;
  return created;
}

Status FileSystemImpl::release(Fh fh) {
  Slot* slot = handles_->find(fh);
  if (slot == nullptr) return {};  // resent after it was carried out
  const bool was_writer = is_writing(slot->flags);
  OpenInodes::Pin inode = open_inodes_.pin(Ino(slot->ino));
  MutexLock opening(inode->opening);
  bool is_last_writer = false, is_forgotten = false;
  content::FileRef old;
  {
    MutexLock lock(inode->state);
    if (inode->handles > 0) --inode->handles;
    if (was_writer && inode->writers > 0) --inode->writers;
    is_last_writer = inode->is_live && inode->writers == 0 && !inode->ticket && !inode->is_unlinked;
    is_forgotten = inode->handles == 0 && inode->is_forgotten;
    if (inode->handles == 0 && !inode->is_live) old = std::move(inode->file);
  }
  Status ended;
  if (is_last_writer) ended = end_write(*inode);
  handles_->free(fh);
  if (is_forgotten) forget(inode->ino);
  return ended;
}

Status FileSystemImpl::truncate(const Caller& caller, OpenInode& inode, uint64_t size) {
  TARN_TRY(begin_write(caller, inode, size == 0));
  content::FileRef file;
  bool has_writers = false;
  {
    MutexLock lock(inode.state);
    file = inode.file;
    has_writers = inode.writers > 0;
    inode.was_written = true;
  }
  Status done = file->truncate(size);
  if (!has_writers) TARN_TRY(end_write(inode));
  return done;
}

}  // namespace tarn::fs
