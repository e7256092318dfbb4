// What a mount must remember beyond the life of a worker process, in shared memory (a memfd).
//
// The keeper makes it at mount time and hands the descriptor to every worker. It holds the id of
// the connection (requests in the change log carry it), what INIT agreed to, how many workers
// there were, and the backing ids that are registered with the kernel, so that a new worker can
// close those that nobody uses any more.
//
//   offset  bytes   field
//        0      8   magic "TARNMNT1"
//        8      8   connection: random, not 0
//       16     48   Negotiated
//       64      8   worker_starts
//       72      8   is_mounted (1) or not (0)
//       80   4 * kBackingIdsMax   backing ids, 0: free place
//
// Thread rules: the fields are written by one process at a time; backing_ids only by Passthrough.
#pragma once

#include <cstdint>

#include "base/file.h"
#include "mount/init.h"

namespace tarn::mount {

/// Backing ids registered at once: open inodes in passthrough and pool files. 256 KiB of memory.
inline constexpr size_t kBackingIdsMax = 65'536;

struct SharedFields {
  uint64_t magic;
  uint64_t connection;
  Negotiated negotiated;
  uint64_t worker_starts;
  uint64_t is_mounted;
  int32_t backing_ids[kBackingIdsMax];
};
static_assert(sizeof(SharedFields) == 80 + 4 * kBackingIdsMax);

class SharedState {
 public:
  /// New memory with a fresh connection id.
  static Result<SharedState> create();
  /// Maps the memory behind `fd`, which it takes over. kBadFormat when it is not such memory.
  static Result<SharedState> open(UniqueFd fd);
  SharedState(SharedState&& other) noexcept;
  SharedState& operator=(SharedState&&) = delete;
  ~SharedState();

  SharedFields* operator->() const { return fields_; }
  SharedFields& operator*() const { return *fields_; }
  int fd() const { return fd_.get(); }

 private:
  SharedState(UniqueFd fd, SharedFields* fields) : fd_(std::move(fd)), fields_(fields) {}
  UniqueFd fd_;
  SharedFields* fields_;
};

}  // namespace tarn::mount
