// FileSystemImpl: the state behind FileSystem; its operations stand in fs/ops/, one subject a file.
//
// Internal to room fs. Lock order: inode.opening (60) before inode.state (65) before shards (70),
// the handle table (80) and everything of kv, meta and content. See open_inodes.h for what each
// guards.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/worker_pool.h"
#include "fs/acl.h"
#include "fs/fs.h"
#include "fs/handle_table.h"
#include "fs/open_inodes.h"

namespace tarn::fs {

/// One open directory: the names behind the cookies that were handed out.
struct DirectoryHandle {
  Ino ino;
  Ino parent;
  Mutex mutex{"fs.directory_handle", 50};
  std::vector<std::string>
      keys;  // keys[i] is the key name of the item with cookie i + kFirstCookie
};

class FileSystemImpl final : public FileSystem {
 public:
  FileSystemImpl(content::Root& root, kv::Store& store, FsOptions options);
  ~FileSystemImpl() override;
  Status start(uint32_t root_uid, uint32_t root_gid);

  Status close() override;
  void set_invalidator(Invalidator* invalidator) override { invalidator_ = invalidator; }

  Result<Attributes> lookup(const Caller&, Ino, std::string_view) override;
  Result<Attributes> get_attributes(const Caller&, Ino) override;
  Result<Attributes> set_attributes(const Caller&, Ino, const SetAttributes&,
                                    std::optional<Fh>) override;
  Result<std::string> readlink(const Caller&, Ino) override;
  Result<Attributes> mknod(const Caller&, Ino, std::string_view, uint32_t, uint32_t) override;
  Result<Attributes> mkdir(const Caller&, Ino, std::string_view, uint32_t) override;
  Result<Attributes> symlink(const Caller&, Ino, std::string_view, std::string_view) override;
  Result<Attributes> link(const Caller&, Ino, Ino, std::string_view) override;
  Status unlink(const Caller&, Ino, std::string_view) override;
  Status rmdir(const Caller&, Ino, std::string_view) override;
  Status rename(const Caller&, Ino, std::string_view, Ino, std::string_view, RenameFlags) override;
  Status access(const Caller&, Ino, int) override;
  Result<StatFs> statfs() override;
  void forget(Ino) override;

  Result<Opened> open(const Caller&, Ino, int) override;
  Result<Created> create(const Caller&, Ino, std::string_view, uint32_t, int) override;
  Result<Created> create_unnamed(const Caller&, Ino, uint32_t, int) override;
  Result<size_t> read(Fh, uint64_t, std::span<std::byte>) override;
  Result<size_t> write(const Caller&, Fh, uint64_t, std::span<const std::byte>) override;
  Result<uint64_t> seek(Fh, uint64_t, int) override;
  Status allocate(const Caller&, Fh, int, uint64_t, uint64_t) override;
  Result<uint64_t> copy_range(const Caller&, Fh, uint64_t, Fh, uint64_t, uint64_t) override;
  Status flush(const Caller&, Fh) override;
  Status fsync(Fh, bool) override;
  Status release(Fh) override;
  bool open_is_quick(Ino, int) override;

  Result<Fh> open_directory(const Caller&, Ino) override;
  Status read_directory(const Caller&, Fh, uint64_t, bool,
                        const std::function<bool(const DirectoryItem&)>&) override;
  Status fsync_directory(Fh) override;
  Status release_directory(Fh) override;

  Result<std::string> get_xattr(const Caller&, Ino, std::string_view) override;
  Result<std::vector<std::string>> list_xattrs(const Caller&, Ino) override;
  Status set_xattr(const Caller&, Ino, std::string_view, std::string_view, int) override;
  Status remove_xattr(const Caller&, Ino, std::string_view) override;

  Status sync() override;
  OpenCounts open_counts() override;
  std::vector<int32_t> attachments() override;
  content::Content& content() override { return *content_; }
  kv::Store& store() override { return store_; }

  // --- shared by the operations
  meta::Context context(const Caller& caller) const;
  /// Runs `body` as a transaction for a mutating operation.
  Result<Stamp> transact(const std::function<Status(kv::Transaction&)>& body);
  Result<meta::InodeRow> read_row(Ino ino);
  /// The row as every observer must see it: applies the backing file's size and times while one
  /// writes. `epoch` is live_epoch() from before the row was read.
  Result<Attributes> live_attributes(meta::InodeRow row, uint64_t epoch);
  uint64_t live_epoch() const { return live_epoch_.load(); }
  static Attributes plain_attributes(const meta::InodeRow& row);
  /// Permission of a caller that the kernel did not check; Ok at once for one that it did.
  Status check_may_clear_set_id(const Caller& caller, const meta::InodeRow& row);
  Status check_access(kv::Transaction& txn, const Caller& caller, const meta::InodeRow& row,
                      uint32_t wanted);
  Status check_parent(kv::Transaction& txn, const Caller& caller, Ino parent);
  /// Sticky directories: only the owners may remove or rename an entry.
  static Status check_sticky(const Caller& caller, const meta::InodeRow& parent,
                             const meta::InodeRow& entry);
  /// Fills owner, group (set-gid directories), mode under umask or default ACL, and inherited ACLs.
  Status inherit(kv::Transaction& txn, const Caller& caller, Ino parent, meta::NewInode& inode);

  /// A resent kernel request that was already carried out: its change record.
  std::optional<meta::ChangeRecord> replayed(const Caller& caller) const;
  Result<Attributes> replayed_attributes(const meta::ChangeRecord& record);

  void note_unlinked(const meta::InodeRow& row);
  void end_unlinked(Ino ino);
  void invalidate_entry(Ino parent, std::string_view name, const Caller& caller);
  void invalidate_inode(Ino ino, const Caller& caller);

  // --- open files (ops/open.cc). Callers hold inode.opening.
  /// Makes the inode writable: takes it back from settling, or prepares its content and, where the
  /// row's own blob is written, commits `open` durably first (rule d).
  Status begin_write(const Caller& caller, OpenInode& inode, bool truncate);
  /// A closed file that waits to be settled is so no longer: the background does not look at it
  /// until it is submitted again. Waits for one that is being settled right now.
  Status take_back(OpenInode& inode);
  /// The last writer is gone: settles, or returns an untouched generation to settled.
  Status end_write(OpenInode& inode);
  Result<Opened> add_handle(const Caller& caller, OpenInode& inode, int flags);
  Status truncate(const Caller& caller, OpenInode& inode, uint64_t size);
  /// What proves later that the file was not changed after this look; all zeros, which no file
  /// shows, where a change may leave its times as they are.
  meta::GrantStamp grant_of(const content::FileStat& look) const;
  /// Hands the closed file to be settled.
  void submit(OpenInode& inode);
  void on_settled(Ino ino, uint64_t submission, const Result<meta::InodeRow>& row);
  /// A deferred replacement becomes durable and the row's content, its state `open` (fsync,
  /// barrier).
  Status commit_deferred(OpenInode& inode);
  content::FileRef live_file(Ino ino);
  /// A file or directory that is open, or a file whose last writer's bytes are not in its row yet.
  bool is_in_use(Ino ino);
  Result<Opened> reopened(Fh fh);
  Result<Created> create_file(const Caller& caller, Ino parent,
                              std::optional<std::string_view> name, uint32_t mode, int flags);
  Result<std::string> computed_xattr(Ino ino, std::string_view name);
  /// Waits until a closed file is settled; kBusy while it has a writer.
  Status settle_now(Ino ino);
  Result<content::FileRef> file_of(Fh fh);
  void maintain();
  enum class Pace : uint8_t { kSkipBusy, kWait };
  /// Open files that replace older bytes, and were written, become their rows' content; closed ones
  /// that nobody handed over are. kSkipBusy leaves out what is being opened or closed right now.
  Status commit_open_files(Pace pace);
  /// Everything acknowledged before becomes durable. The caller holds no lock of an inode.
  Status barrier();
  void stop_background();
  Status adopt_handles();
  Status adopt_slot(Slot& slot);

  content::Root& root_;
  kv::Store& store_;
  FsOptions options_;
  const bool has_fine_times_;  // of the root, see content::BlobStore
  std::unique_ptr<HandleTable> handles_;
  OpenInodes open_inodes_;
  std::unique_ptr<content::Content> content_;
  std::unique_ptr<meta::IdAllocator> inode_ids_;
  Invalidator* invalidator_ = nullptr;

  std::unordered_map<uint64_t, meta::ChangeRecord>
      replay_;  // by unique; filled before serving, then const

  Mutex unlinked_mutex_{"fs.unlinked", 75};
  std::unordered_set<Ino> unlinked_;
  Mutex directories_mutex_{"fs.directories", 76};
  std::unordered_map<Fh, std::shared_ptr<DirectoryHandle>> directories_;

  // The generation whose pages the kernel may still hold, by inode; lossy (direct-mapped), see
  // may_keep_cache.
  static constexpr size_t kCachedGenerations = 1 << 18;
  struct CachedGeneration {
    std::atomic<uint64_t> ino{0}, generation{0};
  };
  std::unique_ptr<CachedGeneration[]> cached_;
  bool may_keep_cache(Ino ino, Generation generation);
  void drop_cached(Ino ino);

  // Grows whenever a live file became its row, so that a row read before is known to be old.
  std::atomic<uint64_t> live_epoch_{0};
  std::unordered_map<uint64_t, Fh> resent_opens_;  // by unique; filled before serving, then const

  std::unique_ptr<WorkerPool> background_;
  Mutex maintain_mutex_{"fs.maintain", 45};
  CondVar maintain_wake_;
  bool is_stopping_ = false;
  std::thread maintainer_;
  bool is_closed_ = false;
};

}  // namespace tarn::fs
