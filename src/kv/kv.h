// The ordered, transactional key-value store under all metadata; one contract, several engines.
//
// Use it through `transact`, which retries conflicts. Keys and values are byte strings; keys order
// as unsigned bytes. A key is not empty and does not start with byte 0x00 (the engines' own rows);
// an empty value cannot be stored (engines may use it for "absent"): both end the process. The
// snapshot is that of `begin`. Isolation is by point, chosen read by read and write by write:
//
//   get          reads the transaction's snapshot (plus its own writes); takes no part in conflicts
//   get_tracked  the same, and the commit fails with kConflict if anyone wrote the key, absent keys
//                included, since the snapshot (put, erase, put_blind, erase_blind, merge all count)
//   put, erase   conflict with any other write of the key since the snapshot
//   put_blind, erase_blind, merge   are always applied; they never make *this* commit fail
//   scan         reads the snapshot without this transaction's own writes; tracks nothing
//
// A merge hands `operand` to the store's MergeFunction when the row is read; merges of concurrent
// transactions all count, in commit order. `append_log` adds a record to the change log under the
// stamp that the commit gets; stamps grow in the order in which commits become visible.
//
// commit makes visible; sync(stamp) makes durable everything up to that stamp, as a group commit
// outside every lock. On engines with a remote server (PostgreSQL) both happen in commit and sync
// returns at once.
//
// Errors of commit: kConflict (nothing applied: run again), kUnknownOutcome (look before trying
// again), kNoSpace (nothing applied; goes away with room on the disk), kIo. Thread rules: a Store
// is thread-safe; a Transaction belongs to one thread and ends before its Store.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace tarn::kv {

/// Folds merge operands into a row. `existing` is absent when there is no row; a result of nullopt
/// means that the row is absent from then on. Must be deterministic and must accept operands in
/// commit order, all at once or in several steps with the same result.
using MergeFunction = std::function<std::optional<std::string>(
    std::string_view key, std::optional<std::string_view> existing,
    const std::vector<std::string_view>& operands)>;

/// Where in a row's value the id of the linked row stands: 8 bytes, big-endian, at `offset`. The
/// linked row's key is `prefix` followed by those 8 bytes.
struct Link {
  size_t offset = 0;
  std::string_view prefix;
};

struct Linked {
  std::optional<std::string> row;
  std::optional<std::string> linked;  // absent when row is absent, too short, or the linked row is
};

/// Half-open range of keys; an empty `end` means the end of the key space.
struct Range {
  std::string begin;
  std::string end;
  /// All keys that start with `prefix`.
  static Range prefix(std::string_view prefix);
};

/// Called for each row of a scan, in key order; false stops the scan. The views live until it
/// returns.
using Visitor = std::function<bool(std::string_view key, std::string_view value)>;

struct LogEntry {
  Stamp stamp;
  std::string record;
};

class Transaction {
 public:
  virtual ~Transaction() = default;

  virtual Result<std::optional<std::string>> get(std::string_view key) = 0;
  virtual Result<std::optional<std::string>> get_tracked(std::string_view key) = 0;
  /// A row and the row it links to, in one round trip; `get` semantics for both.
  virtual Result<Linked> get_linked(std::string_view key, const Link& link) = 0;
  virtual Status scan(const Range& range, const Visitor& visitor) = 0;

  virtual void put(std::string_view key, std::string_view value) = 0;
  virtual void erase(std::string_view key) = 0;
  virtual void put_blind(std::string_view key, std::string_view value) = 0;
  virtual void erase_blind(std::string_view key) = 0;
  virtual void merge(std::string_view key, std::string_view operand) = 0;
  virtual void append_log(std::string_view record) = 0;

  /// Ends the transaction. The stamp of a commit that wrote nothing is that of the last commit
  /// seen.
  virtual Result<Stamp> commit() = 0;
};

struct Statistics {
  uint64_t transactions = 0;  // commits that wrote something
  uint64_t conflicts = 0;
  uint64_t rows_written = 0;  // puts, erases, merges, log records
  uint64_t wal_bytes = 0;     // bytes handed to the write-ahead log
  uint64_t syncs = 0;
  uint64_t reads = 0;  // round trips of get, get_tracked, get_linked, scan
};

class Store {
 public:
  virtual ~Store() = default;

  virtual std::unique_ptr<Transaction> begin() = 0;
  /// Waits until every commit up to `stamp` is durable. One flush serves all waiters.
  virtual Status sync(Stamp stamp) = 0;
  /// The stamp of the newest visible commit.
  virtual Stamp head() = 0;

  /// Visits log records with a stamp above `after`, oldest first.
  virtual Status read_log(Stamp after, const std::function<bool(const LogEntry&)>& visitor) = 0;
  /// Drops log records with a stamp up to and including `through`.
  virtual Status trim_log(Stamp through) = 0;

  virtual Statistics statistics() = 0;
  /// "memory", "rocksdb", ...
  virtual std::string_view engine() const = 0;
  /// Frees what the engine can free without losing a row (flush, drop caches); for tests and
  /// doctor.
  virtual Status settle() { return {}; }
};

/// Engine in memory: for tests and simulation; nothing survives it.
std::unique_ptr<Store> open_memory(MergeFunction merge);

struct RocksOptions {
  std::string path;  // directory, made if missing
  uint64_t cache_bytes = 64 << 20;
  uint64_t memtable_bytes = 16 << 20;
};
/// Engine on RocksDB. Errors: kBusy when another process has it open, kCorrupt, kIo, kNoSpace.
Result<std::unique_ptr<Store>> open_rocks(RocksOptions options, MergeFunction merge);

/// Runs `body` in a transaction and commits, again on kConflict with jittered back-off for at most
/// limits::kTransactionRetryNs (then kAgain). `body` may run several times and must have no effect
/// outside the transaction. A body that fails is not committed and its status is returned.
/// `kUnknownOutcome` is returned.
struct Committed {
  Stamp stamp;
};
Result<Committed> transact(Store& store, const std::function<Status(Transaction&)>& body);

}  // namespace tarn::kv
