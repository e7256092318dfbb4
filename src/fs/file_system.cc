#include "fs/file_system.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.h"
#include "content/blob_store.h"
#include "fs/extract.h"

namespace tarn::fs {

Result<std::unique_ptr<FileSystem>> FileSystem::open(content::Root& root, kv::Store& store,
                                                     FsOptions options, uint32_t root_uid,
                                                     uint32_t root_gid) {
  auto made = std::make_unique<FileSystemImpl>(root, store, options);
  TARN_TRY(made->start(root_uid, root_gid));
  return std::unique_ptr<FileSystem>(std::move(made));
}

FileSystemImpl::FileSystemImpl(content::Root& root, kv::Store& store, FsOptions options)
    : root_(root),
      store_(store),
      options_(options),
      has_fine_times_(content::BlobStore(root).has_fine_times()) {
  cached_ = std::make_unique<CachedGeneration[]>(kCachedGenerations);
}

FileSystemImpl::~FileSystemImpl() {
  stop_background();
}

void FileSystemImpl::stop_background() {
  {
    MutexLock lock(maintain_mutex_);
    is_stopping_ = true;
    maintain_wake_.notify_all();
  }
  if (maintainer_.joinable()) maintainer_.join();
  if (background_) background_->stop();
}

void FileSystemImpl::maintain() {
  set_thread_name("fs-maintain");
  MutexLock lock(maintain_mutex_);
  while (!maintain_wake_.wait_for(lock, std::chrono::nanoseconds(limits::kBarrierIntervalNs),
                                  [&] { return is_stopping_; })) {
    lock.unlock();
    static_cast<void>(commit_open_files(Pace::kSkipBusy));
    lock.lock();
  }
}

Status FileSystemImpl::commit_open_files(Pace pace) {
  if (open_inodes_.size() == 0) return {};
  Status first_failed;
  enum class Need : uint8_t { kNothing, kCommit, kEnd };
  const auto need_of = [](OpenInode& inode) {
    content::FileRef file;
    meta::GrantStamp grant;
    {
      MutexLock lock(inode.state);
      if (!inode.is_live || inode.ticket || inode.is_unlinked) return Need::kNothing;
      if (inode.handles == 0) return Need::kEnd;
      if (!inode.is_deferred) return Need::kNothing;
      if (inode.was_written) return Need::kCommit;
      file = inode.file;
      grant = inode.grant;
    }
    // Opened for writing and not written so far: the old generation and its digests stand.
    Result<content::FileStat> st = file->stat();
    return st.is_ok() && st->ctime == grant.ctime ? Need::kNothing : Need::kCommit;
  };
  open_inodes_.for_each([&](OpenInode& inode) {
    if (need_of(inode) == Need::kNothing) return;
    MutexLock opening(inode.opening, std::defer_lock);
    if (pace == Pace::kWait) {
      opening.lock();
    } else if (!opening.try_lock()) {
      return;
    }
    // Once more: who held the lock may have opened or closed it.
    const Need need = need_of(inode);
    if (need == Need::kNothing) return;
    Status done = need == Need::kCommit ? commit_deferred(inode) : end_write(inode);
    if (done.is_ok()) return;
    log_warn("fs.maintain", "inode={} {}", inode.ino.value, done.to_string());
    if (first_failed.is_ok()) first_failed = std::move(done);
  });
  return first_failed;
}

Status FileSystemImpl::barrier() {
  // The store of bytes knows nothing of a replacement that is still open.
  TARN_TRY(commit_open_files(Pace::kWait));
  return content_->barrier();
}

Status FileSystemImpl::start(uint32_t root_uid, uint32_t root_gid) {
  TARN_TRY(meta::format(store_, root_uid, root_gid, Clock::system().now()));
  inode_ids_ = std::make_unique<meta::IdAllocator>(store_, meta::IdAllocator::Kind::kInode);
  TARN_ASSIGN(handles_, HandleTable::open(options_.handle_table_fd));
  content::ContentOptions content_options;
  content_options.attacher = options_.attacher;
  content_options.holder = options_.holder;
  content_options.has_background = options_.has_background;
  TARN_ASSIGN(content_,
              content::Content::open(root_, store_, content_options, options_.is_take_over));
  background_ = std::make_unique<WorkerPool>("fs", 1, 4096);
  if (options_.is_take_over) {
    constexpr uint64_t kRecordsBack = 200'000;  // far more than can be in flight
    TARN_ASSIGN(auto records, meta::recent_requests(store_, options_.connection, kRecordsBack));
    for (meta::ChangeRecord& record : records) {
      uint64_t unique = record.request.unique;
      replay_.insert_or_assign(unique, std::move(record));
    }
    TARN_TRY(adopt_handles());
    TARN_TRY(content_->finish_take_over());
  }
  std::vector<Ino> unlinked;
  {
    auto txn = store_.begin();
    TARN_TRY(meta::read_unlinked(*txn, [&](Ino ino) {
      unlinked.push_back(ino);
      return true;
    }));
  }
  unlinked_.insert(unlinked.begin(), unlinked.end());
  if (!options_.is_take_over) {
    // No kernel and no handle knows them any more.
    for (Ino ino : unlinked) end_unlinked(ino);
    TARN_TRY(recover_extracts(*this));
  }
  if (options_.has_background) maintainer_ = std::thread([this] { maintain(); });
  return {};
}

Status FileSystemImpl::close() {
  if (is_closed_) return {};
  is_closed_ = true;
  stop_background();
  open_inodes_.for_each([&](OpenInode& inode) {
    MutexLock opening(inode.opening);
    bool is_live = false;
    {
      MutexLock lock(inode.state);
      inode.handles = inode.writers = 0;
      is_live = inode.is_live && !inode.ticket;
    }
    if (!is_live) return;
    if (Status s = end_write(inode); !s.is_ok()) {
      log_error("fs.close", "inode={} {}", inode.ino.value, s.to_string());
    }
  });
  Status closed = content_->close();
  Status synced = store_.sync(store_.head());
  return closed.is_ok() ? synced : closed;
}

meta::Context FileSystemImpl::context(const Caller& caller) const {
  meta::Context c;
  c.now = Clock::system().now();
  c.request = caller.request;
  c.request.connection = options_.connection;
  return c;
}

Result<Stamp> FileSystemImpl::transact(const std::function<Status(kv::Transaction&)>& body) {
  auto committed = kv::transact(store_, body);
  if (committed.is(Code::kNoSpace)) {
    // The store could not write: give the ballast back, so that deleting goes on.
    TARN_TRY(root_.release_ballast());
    committed = kv::transact(store_, body);
  }
  if (!committed.is_ok()) return committed.status();
  return committed->stamp;
}

Result<meta::InodeRow> FileSystemImpl::read_row(Ino ino) {
  auto txn = store_.begin();
  return meta::get_inode(*txn, ino);
}

Attributes FileSystemImpl::plain_attributes(const meta::InodeRow& row) {
  Attributes a;
  a.ino = row.ino;
  a.generation = row.generation;
  a.mode = row.mode;
  a.nlink = row.nlink;
  a.uid = row.uid;
  a.gid = row.gid;
  a.rdev = row.rdev;
  a.size = row.size;
  a.blocks = row.blocks;
  if (row.is_directory()) {
    // As many file systems do, a directory's size grows with its entries; 4096 is its smallest.
    a.size = std::max<uint64_t>(4096, row.size * 32);
    a.blocks = (a.size + 511) / 512;
  }
  a.atime = row.atime;
  a.mtime = row.mtime;
  a.ctime = row.ctime;
  a.btime = row.btime;
  a.is_settled = row.state == meta::ContentState::kSettled;
  a.is_sealed = row.is_sealed;
  return a;
}

Result<Attributes> FileSystemImpl::live_attributes(meta::InodeRow row, uint64_t epoch) {
  for (int attempt = 0;; ++attempt) {
    if (!row.is_regular()) return plain_attributes(row);
    content::FileRef file;
    meta::GrantStamp grant;
    bool is_written = false;
    if (OpenInodes::Pin inode = open_inodes_.find(row.ino)) {
      MutexLock lock(inode->state);
      if (inode->is_live) {
        file = inode->file;
        grant = inode->grant;
        is_written = inode->is_deferred && inode->was_written;
      }
    }
    if (file) {
      TARN_ASSIGN(content::FileStat st, file->stat());
      Attributes a = plain_attributes(row);
      a.is_settled = false;
      a.size = st.size;
      a.blocks = st.blocks;
      is_written |= st.ctime != grant.ctime && (st.mtime != grant.mtime || st.size != grant.size);
      if (is_written) {
        a.mtime = st.mtime;
        a.ctime = std::max(a.ctime, st.ctime);
      }
      return a;
    }
    // A file may have settled between the reading of the row and the look at the table: then the
    // row is old.
    const uint64_t now = live_epoch();
    if (now == epoch || attempt == 8) return plain_attributes(row);
    epoch = now;
    TARN_ASSIGN(row, read_row(row.ino));
  }
}

std::optional<meta::ChangeRecord> FileSystemImpl::replayed(const Caller& caller) const {
  if (!caller.request.is_resent) return std::nullopt;
  auto it = replay_.find(caller.request.unique);
  if (it == replay_.end()) return std::nullopt;
  return it->second;
}

Result<Attributes> FileSystemImpl::replayed_attributes(const meta::ChangeRecord& record) {
  const uint64_t epoch = live_epoch();
  TARN_ASSIGN(meta::InodeRow row, read_row(record.ino));
  return live_attributes(std::move(row), epoch);
}

void FileSystemImpl::invalidate_entry(Ino parent, std::string_view name, const Caller& caller) {
  if (invalidator_ != nullptr && !caller.request.is_from_kernel()) {
    invalidator_->invalidate_entry(parent, std::string(name), caller.request);
  }
}

void FileSystemImpl::invalidate_inode(Ino ino, const Caller& caller) {
  drop_cached(ino);
  if (invalidator_ != nullptr && !caller.request.is_from_kernel()) {
    invalidator_->invalidate_inode(ino, caller.request);
  }
}

bool FileSystemImpl::may_keep_cache(Ino ino, Generation generation) {
  CachedGeneration& slot = cached_[ino.value % kCachedGenerations];
  bool is_same = slot.ino.load() == ino.value && slot.generation.load() == generation.value;
  slot.ino.store(ino.value);
  slot.generation.store(generation.value);
  return is_same;
}

void FileSystemImpl::drop_cached(Ino ino) {
  CachedGeneration& slot = cached_[ino.value % kCachedGenerations];
  if (slot.ino.load() == ino.value) slot.generation.store(0);
}

void FileSystemImpl::note_unlinked(const meta::InodeRow& row) {
  {
    MutexLock lock(unlinked_mutex_);
    unlinked_.insert(row.ino);
  }
  OpenInodes::Pin inode = open_inodes_.find(row.ino);
  if (inode) {
    MutexLock lock(inode->state);
    inode->is_unlinked = true;
  }
}

void FileSystemImpl::forget(Ino ino) {
  {
    MutexLock lock(unlinked_mutex_);
    if (!unlinked_.contains(ino)) return;
  }
  if (!background_->submit([this, ino] { end_unlinked(ino); })) {
    log_debug("fs.forget", "inode={} left to the next start", ino.value);
  }
}

void FileSystemImpl::end_unlinked(Ino ino) {
  OpenInodes::Pin inode = open_inodes_.pin(ino);
  MutexLock opening(inode->opening);
  content::TicketRef ticket;
  {
    MutexLock lock(inode->state);
    if (inode->handles > 0) {
      inode->is_forgotten = true;
      return;
    }
    ticket = inode->ticket;
  }
  if (ticket && !ticket->cancel()) {
    if (Status s = ticket->wait(); !s.is_ok()) {
      log_debug("fs.forget", "inode={} {}", ino.value, s.to_string());
    }
  }
  auto stamp = transact([&](kv::Transaction& txn) -> Status {
    auto ended = meta::forget(txn, context(Caller{}), ino);
    if (!ended.is_ok()) return ended.status();
    if (!ended->is_regular() && !ended->is_symlink()) return {};
    TARN_ASSIGN(content::Descriptor descriptor, content::decode(ended->content));
    return content_->release(txn, ino, ended->generation, descriptor);
  });
  if (stamp.is_ok()) {
    content_->released(*stamp);
  } else if (!stamp.is(Code::kNotFound)) {
    log_warn("fs.forget", "inode={} {}", ino.value, stamp.status().to_string());
    return;
  }
  {
    MutexLock lock(inode->state);
    inode->is_live = false;
    inode->ticket = nullptr;
    inode->file = nullptr;
    handles_->free(std::exchange(inode->pending_slot, Fh{}));
  }
  drop_cached(ino);
  MutexLock lock(unlinked_mutex_);
  unlinked_.erase(ino);
}

Status FileSystemImpl::sync() {
  return barrier();
}

Result<StatFs> FileSystemImpl::statfs() {
  TARN_ASSIGN(content::Root::Space space, root_.space());
  StatFs s;
  s.blocks = space.bytes_total / s.block_bytes;
  s.blocks_free = space.bytes_free / s.block_bytes;
  s.files = space.files_total;
  s.files_free = space.files_free;
  return s;
}

FileSystem::OpenCounts FileSystemImpl::open_counts() {
  OpenCounts counts;
  open_inodes_.for_each([&](OpenInode& inode) {
    MutexLock lock(inode.state);
    counts.handles += inode.handles;
    if (inode.ticket) ++counts.pending;
    if (inode.handles == 0) return;
    if (inode.path == Path::kDirect) {
      ++counts.inodes_direct;
    } else {
      ++counts.inodes_served;
    }
  });
  return counts;
}

}  // namespace tarn::fs
