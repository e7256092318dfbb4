// LocalBlob, the one LocalFile, and LocalFiles, which knows those that are open.
//
// One LocalBlob a blob while anyone uses it, so that all its opens share one attachment; recently
// used named ones are kept open (kOpenBlobsMax). A fresh blob has no name until `ensure_named`, and
// no owner row until it settles. Thread-safe. LocalFiles outlives its LocalBlobs by shared
// ownership; the Attacher must outlive both. Locks: none is held while a LocalBlob is destroyed.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "content/blob_store.h"
#include "content/content.h"

namespace tarn::content {

inline constexpr size_t kOpenBlobsMax = 512;  // of the 20,000 descriptors that a process may have

class LocalFiles;

class LocalBlob final : public LocalFile {
 public:
  LocalBlob(std::shared_ptr<LocalFiles> owner, BlobId blob, UniqueFd fd, bool is_named);
  ~LocalBlob() override;
  LocalBlob(const LocalBlob&) = delete;
  LocalBlob& operator=(const LocalBlob&) = delete;

  BlobId blob() const override { return blob_; }
  int fd() const override { return fd_.get(); }
  int32_t attachment() const override { return attachment_.load(std::memory_order_acquire); }
  Result<int32_t> attach() override;
  std::string kernel_handle() const override;
  bool is_named() const override { return is_named_.load(std::memory_order_acquire); }
  /// A ctime that only Tarn's own linkat made is told as the one before it: to the grant stamp the
  /// file is unchanged.
  Result<FileStat> stat() const override;

  Status ensure_named(bool durable);
  /// Data and name are durable (fsync, and the directories while the name is new).
  Status sync();
  /// sync, left out when neither data nor times have changed since this last did it.
  Status sync_if_changed();
  /// The same as sync, attributes included.
  Status sync_fully();
  /// After a syncfs that covered a name that `is_named` told before it.
  bool is_name_synced() const { return is_name_synced_.load(std::memory_order_acquire); }
  void note_name_synced() { is_name_synced_.store(true, std::memory_order_release); }
  /// No name any more, ever: its bytes have gone to a pack. Returns whether it had one.
  bool drop();

  /// Not settled yet in this life: it needs no owner row, its row's descriptor is enough.
  bool is_fresh() const { return is_fresh_.load(std::memory_order_acquire); }
  void set_fresh(bool is_fresh) { is_fresh_.store(is_fresh, std::memory_order_release); }
  /// Handed to a writer and not submitted yet.
  bool has_writer() const { return has_writer_.load(std::memory_order_acquire); }
  void set_writer(bool has_writer) { has_writer_.store(has_writer, std::memory_order_release); }
  /// A copy of older bytes: its data must be on disk before its name is, since after a power cut
  /// the name says that the copy is whole.
  void set_copy() { is_copy_.store(true, std::memory_order_release); }
  void set_attachment(int32_t id) { attachment_.store(id, std::memory_order_release); }
  /// The holder has its descriptor until this ends.
  void set_held() { is_held_.store(true, std::memory_order_release); }

 private:
  const std::shared_ptr<LocalFiles> owner_;
  const BlobId blob_;
  UniqueFd fd_;
  // Held over linkat and fsync: whoever needs the name waits for it anyway.
  Mutex mutex_{"content.local_file", 370};
  std::atomic<int32_t> attachment_{0};
  std::atomic<bool> is_named_, is_name_synced_, is_fresh_{false}, has_writer_{false},
      is_copy_{false}, is_held_{false};
  std::atomic<TimeNs> ctime_of_link_{0}, ctime_before_link_{0};
  std::atomic<TimeNs> ctime_synced_{0};
  bool is_dropped_ = false;
};
using LocalBlobRef = std::shared_ptr<LocalBlob>;

class LocalFiles : public std::enable_shared_from_this<LocalFiles> {
 public:
  LocalFiles(BlobStore& store, meta::IdAllocator& ids, Attacher* attacher, Holder* holder = nullptr)
      : store_(store), ids_(ids), attacher_(attacher), holder_(holder) {}

  BlobStore& store() { return store_; }
  Attacher* attacher() const { return attacher_; }
  Holder* holder() const { return holder_; }

  /// A new blob without a name, attached if there is an attacher, else held if there is a holder;
  /// not yet known to `find`.
  Result<LocalBlobRef> make_new();
  void hand_out(const LocalBlobRef& file);
  /// The blob of that name. kNotFound when there is none.
  Result<LocalBlobRef> open(BlobId blob);
  Result<LocalBlobRef> adopt(BlobId blob, std::string_view kernel_handle, int32_t attachment);
  /// Null when nobody has it open.
  LocalBlobRef find(BlobId blob);
  /// Those handed to a writer.
  std::vector<LocalBlobRef> written();
  /// Drops it from those kept open.
  void forget(BlobId blob);
  void close_cache();
  /// Fresh blobs that had a name when their last user let go of them: perhaps no row names them.
  std::vector<BlobId> take_abandoned();

 private:
  friend class LocalBlob;
  void remove(BlobId blob, bool is_abandoned);
  /// By its kernel handle, or by its name where that fails or this process may not use handles.
  Result<UniqueFd> reopen(BlobId blob, std::string_view kernel_handle);
  LocalBlobRef insert(LocalBlobRef file, bool keep_open);

  BlobStore& store_;
  meta::IdAllocator& ids_;
  Attacher* const attacher_;
  Holder* const holder_;
  Mutex mutex_{"content.local_files", 375};
  std::unordered_map<BlobId, std::weak_ptr<LocalBlob>> live_;
  std::vector<BlobId> abandoned_;
  std::list<LocalBlobRef> kept_;  // most recently opened first
  std::unordered_map<BlobId, std::list<LocalBlobRef>::iterator> kept_at_;
};

}  // namespace tarn::content
