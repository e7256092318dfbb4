// The newest version of rows that were read or written lately, so that a read of one of them need
// not search RocksDB's memtables, and so that a merge into one of them can be written as a plain
// row.
//
// A set-associative table of fixed size. An entry holds what the newest committed write of its key
// left (or the absence of the row) and a stamp from which on that is so. A commit notes its rows
// *before* RocksDB makes them visible, under the stamp it is going to have: a snapshot that is
// older than an entry never gets it. A row that was read may be offered under its snapshot's stamp;
// a bucket refuses it when any of its keys was written after that. Rows above kValueBytesMax are
// not kept. Thread-safe; `note` and `forget` must come in commit order (one mutex of the engine).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/mutex.h"

namespace tarn::kv {

class RowCache {
 public:
  /// A row's value; absent inside when there is no such row.
  using Row = std::optional<std::string>;
  static constexpr size_t kValueBytesMax = 1024;

  RowCache();

  /// What a snapshot of stamp `snapshot` sees; nothing when the cache cannot tell. `hash` is
  /// conflict_hash(key) here and below.
  std::optional<Row> find(uint64_t hash, std::string_view key, uint64_t snapshot) const;
  /// Takes what a read under `snapshot` found, unless something may have been written since.
  void offer(uint64_t hash, std::string_view key, const Row& row, uint64_t snapshot);
  /// From `stamp` on the row is `row`. Called before that commit becomes visible.
  void note(uint64_t hash, std::string_view key, const Row& row, uint64_t stamp);
  /// From `stamp` on the row is something else; also for a commit of that stamp that failed.
  void forget(uint64_t hash, std::string_view key, uint64_t stamp);

 private:
  static constexpr size_t kWays = 4;
  static constexpr size_t kBuckets = 1 << 13;
  static constexpr size_t kStripes = 1 << 6;

  struct Way {
    std::string key;  // empty: the way is free
    Row row;
    uint64_t stamp = 0;
    bool was_used = false;  // since it was last passed over for eviction
  };
  struct Bucket {
    uint64_t written = 0;  // the newest stamp noted or forgotten here
    std::array<Way, kWays> ways;
  };
  struct Stripe {
    Mutex mutex{"kv.rocks.rows", 125};
    std::array<Bucket, kBuckets / kStripes> buckets;
  };

  Stripe& stripe(uint64_t hash) const { return stripes_[hash % kStripes]; }
  static Bucket& bucket(Stripe& stripe, uint64_t hash) {
    return stripe.buckets[hash / kStripes % (kBuckets / kStripes)];
  }
  static Way* way_of(Bucket& bucket, std::string_view key);
  static void store(Bucket& bucket, std::string_view key, const Row& row, uint64_t stamp);

  std::unique_ptr<std::array<Stripe, kStripes>> memory_;
  std::array<Stripe, kStripes>& stripes_;
};

}  // namespace tarn::kv
