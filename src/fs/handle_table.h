// HandleTable: the open handles, in shared memory that outlives the process.
//
// A fixed array of slots in a memfd (or private memory). A slot is written before the reply that
// tells the kernel of the handle, so that a new process finds every handle that the kernel may use,
// with what it needs to reopen the backing file. `pending` slots stand for files that are closed
// but not yet settled. Thread-safe; slot contents belong to whoever holds the handle.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/status.h"
#include "meta/types.h"

namespace tarn::fs {

enum class SlotKind : uint8_t { kFree = 0, kFile = 1, kDirectory = 2, kPending = 3 };

/// Layout is shared between versions of the program: append only, size fixed.
struct Slot {
  uint64_t fh;  // 0 while free; written last when taken, first when freed
  uint64_t ino;
  uint64_t blob;        // backing file, 0 when the content is not one
  uint64_t unique;      // the kernel request that opened it
  uint64_t grant_size;  // grant stamp (meta::GrantStamp)
  int64_t grant_mtime;
  int64_t grant_ctime;
  int32_t flags;  // open(2); O_TRUNC: the file holds what its row does not
  int32_t attachment;
  uint8_t kind;       // SlotKind
  uint8_t is_direct;  // fs::Path::kDirect
  uint8_t is_new;     // generation never settled
  uint8_t handle_bytes;
  char kernel_handle[60];

  meta::GrantStamp grant() const { return {grant_size, grant_mtime, grant_ctime}; }
  void set_grant(const meta::GrantStamp& g) {
    grant_size = g.size;
    grant_mtime = g.mtime;
    grant_ctime = g.ctime;
  }
  void set_kernel_handle(std::string_view handle);
};
static_assert(sizeof(Slot) == 128);

class HandleTable {
 public:
  static constexpr uint32_t kSlots = 128 * 1024;

  /// `fd` < 0: private memory. Otherwise a memfd; it is grown to size and its slots kept.
  static Result<std::unique_ptr<HandleTable>> open(int fd);
  ~HandleTable();
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;

  /// A slot filled from `content` (its fh is set here). kTooManyOpenFiles when all are used.
  Result<Fh> take(Slot content);
  /// The slot of a live handle; null when the handle is not known.
  Slot* find(Fh fh);
  void free(Fh fh);
  void for_each(const std::function<void(Slot&)>& visitor);
  uint64_t used() const;

 private:
  HandleTable(Slot* slots, size_t bytes);
  Slot* slots_;
  size_t bytes_;
  mutable Mutex mutex_{"fs.handle_table", 80};
  std::vector<uint32_t> free_;
  uint64_t sequence_ = 1;
  uint64_t used_ = 0;
};

}  // namespace tarn::fs
