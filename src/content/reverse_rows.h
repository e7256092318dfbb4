// Reverse rows: who owns which bytes of a blob or pack, and what to do when nobody does.
//
// `attach` and `release` work in the caller's transaction and only write blindly, so they never
// make it conflict. A released blob is listed, too; `collect` unlinks the listed ones that have no
// owner, in two steps around a sync of the store, so that nothing is unlinked before its release is
// durable. Owners of pack records are first noted as deltas and folded into one row a 64 KiB of
// pack by `fold`, which also drops packs without records. collect and fold belong to the barrier:
// one thread at a time. The rest is thread-safe. No lock is held over a transaction.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "content/pack_writer.h"
#include "content/rows.h"
#include "content/sources.h"
#include "kv/kv.h"

namespace tarn::content {

class ReverseRows {
 public:
  ReverseRows(kv::Store& store, SourcesRef sources, PackWriter& packs)
      : store_(store), sources_(std::move(sources)), packs_(packs) {}

  Status attach(kv::Transaction& txn, Ino ino, Generation generation, const Descriptor& descriptor);
  Status release(kv::Transaction& txn, Ino ino, const Descriptor& descriptor);
  /// An attach or release has been committed: the next fold and collect have work.
  void note_committed() { has_work_.store(true, std::memory_order_release); }
  /// Owners of a blob, counting up to `most`; a fresh blob has one (its writer), a pack always
  /// `most`.
  Result<int> count(kv::Transaction& txn, BlobId blob, int most);

  struct OwnedRange {
    Ino ino;
    Generation generation;
    uint64_t offset = 0, length = 0;  // length 0: to the end
  };
  /// Those who own bytes of [offset, offset + length).
  Result<std::vector<OwnedRange>> owners_of(BlobId blob, bool is_pack, uint64_t offset,
                                            uint64_t length);
  /// All live records of a pack, deltas applied, by offset.
  Result<std::vector<PackedOwner>> records_of(kv::Transaction& txn, BlobId pack);

  /// Adds settled records to the window rows and the pack's row.
  Status add_records(kv::Transaction& txn, BlobId pack, const std::vector<PackedOwner>& records);

  /// Blobs to look at after the next sync: those listed as released, and `suspect`ed ones.
  Result<std::vector<std::pair<BlobId, bool>>> list_released();
  void suspect(BlobId blob);
  /// Unlinks those of `listed` without an owner. Everything committed before list_released must be
  /// durable now.
  Status collect(const std::vector<std::pair<BlobId, bool>>& listed);
  /// Folds up to `most` deltas; returns how many.
  Result<size_t> fold(size_t most);
  /// Drops packs that lost their last pin after their last owner, or never had an owner.
  Status drop_doubtful_packs();
  bool has_deltas() const { return has_deltas_.load(std::memory_order_acquire); }

 private:
  Status drop_dead_pack(BlobId pack);

  kv::Store& store_;
  const SourcesRef sources_;
  PackWriter& packs_;
  std::atomic<bool> has_work_{true}, has_deltas_{true};  // whatever an earlier process left
  Mutex mutex_{"content.suspects", 355};
  std::vector<BlobId> suspects_;
};

}  // namespace tarn::content
