// OpenInodes: what is open now, one entry an inode with handles or with a closed file not yet
// settled.
//
// `opening` serialises open, close and truncate of one inode and may be held across I/O; `state`
// guards the fields and is held only for moments. Entries are pinned while in use and vanish when
// unpinned and idle. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "content/content.h"
#include "fs/types.h"

namespace tarn::fs {

struct OpenInode {
  explicit OpenInode(Ino i) : ino(i) {}
  const Ino ino;
  Mutex opening{"fs.inode.opening", 60};
  Mutex state{"fs.inode.state", 65};

  // Guarded by `state`.
  uint32_t handles = 0;
  uint32_t writers = 0;
  Path path = Path::kServed;  // meaningful while handles > 0
  content::FileRef file;      // serves all handles; the truth for size and times while is_live
  bool is_live = false;       // ask the file for size and times
  bool is_new = false;        // the live generation was never settled before
  // The row still holds the last settled generation: the file replaces it when it settles, or at
  // fsync.
  bool is_deferred = false;
  Generation base;           // generation that a deferred file replaces
  bool was_written = false;  // a change for certain, whatever the times say
  meta::GrantStamp grant;
  content::TicketRef ticket;  // closed, on its way to settled
  uint64_t submitted = 0;  // counts submissions, so that a late callback is told from a current one
  uint64_t settled = 0;    // the last submission whose callback ran
  Fh pending_slot;         // its slot in the handle table
  bool is_unlinked = false;   // no name left
  bool is_forgotten = false;  // and the kernel dropped it: ends with the last handle

  bool is_idle() const { return handles == 0 && !is_live && !ticket; }

 private:
  friend class OpenInodes;
  uint32_t pins_ = 0;
};

class OpenInodes {
 public:
  /// Keeps an entry alive. Movable; unpins at destruction.
  class Pin {
   public:
    Pin() = default;
    Pin(OpenInodes* table, OpenInode* inode) : table_(table), inode_(inode) {}
    Pin(Pin&& other) noexcept
        : table_(other.table_), inode_(std::exchange(other.inode_, nullptr)) {}
    Pin& operator=(Pin&& other) noexcept {
      if (this != &other) {
        reset();
        table_ = other.table_;
        inode_ = std::exchange(other.inode_, nullptr);
      }
      return *this;
    }
    ~Pin() { reset(); }
    void reset() {
      if (inode_ != nullptr) table_->unpin(std::exchange(inode_, nullptr));
    }
    explicit operator bool() const { return inode_ != nullptr; }
    OpenInode* operator->() const { return inode_; }
    OpenInode& operator*() const { return *inode_; }

   private:
    OpenInodes* table_ = nullptr;
    OpenInode* inode_ = nullptr;
  };

  /// The entry, made if missing.
  Pin pin(Ino ino);
  /// The entry if there is one.
  Pin find(Ino ino);
  /// Visits every entry, pinned, without a lock held.
  void for_each(const std::function<void(OpenInode&)>& visitor);
  size_t size() const { return count_.load(std::memory_order_relaxed); }

 private:
  void unpin(OpenInode* inode);
  struct Shard {
    Mutex mutex{"fs.open_inodes.shard", 70};
    std::unordered_map<Ino, std::unique_ptr<OpenInode>> inodes;
  };
  Shard& shard(Ino ino) { return shards_[std::hash<Ino>()(ino) >> 58]; }
  std::array<Shard, 64> shards_;
  std::atomic<size_t> count_{0};
};

}  // namespace tarn::fs
