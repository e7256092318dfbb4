// Engine on RocksDB: one column family, one log, and the conflict check done here.
//
// Commits are serialised by one mutex. Under it a commit is checked against the ConflictTable, gets
// its stamp and is written, so that stamps grow in the order of visibility. RocksDB's own
// optimistic transactions check under such a lock too, but look every key up in the memtables, and
// fail when those are too young.
//
// A stamp is the sequence number that RocksDB gives to the last row of the commit's batch: known
// beforehand under the mutex, kept over restarts by RocksDB, and comparable with the number of a
// snapshot. Rows under byte 0x00 are the engine's:
//
//   0x00 'L' stamp(8, big-endian)  ->  the commit's log records, each a varint length and its bytes
//   0x00 'R'                       ->  written to replace a log file that a failed write has
//   damaged
#include <malloc.h>

#include <atomic>
#include <chrono>
#include <span>
#include <thread>

#include <fmt/format.h>
#include <rocksdb/write_batch.h>

#include "base/clock.h"
#include "base/coding.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "kv/conflict_table.h"
#include "kv/kv.h"
#include "kv/rocks_adapter.h"
#include "kv/rocks_files.h"
#include "kv/row_cache.h"
#include "kv/write_set.h"

namespace tarn::kv {
namespace {

constexpr std::string_view kLogPrefix("\0L", 2);
constexpr std::string_view kLogEnd("\0M", 2);
constexpr std::string_view kUserBegin("\1", 1);  // the first key that is not the engine's

constexpr uint32_t kTrimBatchRows = 1000;

// Few shards: each must hold many times the largest block and the 256 KiB steps in which memtables
// are charged.
constexpr int kCacheShardBits = 2;

// How long a commit waits between two looks whether RocksDB takes writes again.
constexpr std::chrono::microseconds kStallPoll(200);

rocksdb::Slice slice(std::string_view text) {
  return {text.data(), text.size()};
}
std::string_view view(const rocksdb::Slice& s) {
  return {s.data(), s.size()};
}

std::string log_key(uint64_t stamp) {
  std::string key(kLogPrefix);
  append_be64(key, stamp);
  return key;
}

rocksdb::Status put_or_delete(rocksdb::WriteBatch& batch, std::string_view key,
                              const RowCache::Row& row) {
  return row ? batch.Put(slice(key), slice(*row)) : batch.Delete(slice(key));
}

class RocksTransaction;

class RocksStore final : public Store {
 public:
  RocksStore(std::unique_ptr<rocksdb::DB> db, std::shared_ptr<rocksdb::Cache> cache,
             std::shared_ptr<RocksFiles> files, std::unique_ptr<rocksdb::Env> env,
             MergeFunction merge);
  ~RocksStore() override;

  std::unique_ptr<Transaction> begin() override;
  Status sync(Stamp stamp) override;
  Stamp head() override { return Stamp(db_->GetLatestSequenceNumber()); }
  Status read_log(Stamp after, const std::function<bool(const LogEntry&)>& visitor) override;
  Status trim_log(Stamp through) override;
  Statistics statistics() override;
  std::string_view engine() const override { return "rocksdb"; }
  Status settle() override;

 private:
  friend class RocksTransaction;

  /// A row that a commit leaves, as the conflict check and the cache need it.
  struct Written {
    uint64_t hash = 0;
    std::string_view key;
    std::optional<RowCache::Row> row;                    // nothing: not known
    const std::vector<std::string>* operands = nullptr;  // merged into what is committed
  };

  Result<std::optional<std::string>> read(const rocksdb::Snapshot* snapshot, std::string_view key);
  Status scan(const rocksdb::Snapshot* snapshot, const Range& range, const Visitor& visitor);
  Result<Stamp> commit(const WriteSet& writes, const std::vector<uint64_t>& tracked,
                       const rocksdb::Snapshot* snapshot);
  // The three below need commit_mutex_.
  Status validate(const std::vector<uint64_t>& hashes, uint64_t snapshot);
  Status add_merge(rocksdb::WriteBatch& batch, Written& merged);
  Result<Stamp> write(rocksdb::WriteBatch& batch, const std::string& records,
                      std::span<const Written> written);
  rocksdb::Status write_when_possible(rocksdb::WriteBatch& batch);
  Status flush_log();

  const MergeFunction merge_;
  const std::shared_ptr<rocksdb::Cache> cache_;
  const std::shared_ptr<RocksFiles> files_;
  const std::unique_ptr<rocksdb::Env> env_;
  const std::unique_ptr<rocksdb::DB> db_;

  // Held while RocksDB writes the batch to its log: a write(2) without sync, which must happen in
  // the order of stamps; and during repair, when nothing can be committed anyway.
  Mutex commit_mutex_{"kv.rocks.commit", 120};
  ConflictTable written_;

  RowCache rows_;

  // State of the group commit. Not held during a flush.
  struct Failure {
    uint64_t flush = 0;   // its number
    uint64_t target = 0;  // the stamps up to here were to become durable
    Status status;
  };
  Mutex sync_mutex_{"kv.rocks.sync", 130};
  CondVar flush_ended_;
  bool is_flushing_ = false;
  uint64_t durable_ = 0;
  uint64_t flushes_ = 0;  // that have ended
  Failure failure_;

  std::atomic<uint64_t> transactions_ = 0, conflicts_ = 0, rows_written_ = 0, wal_bytes_ = 0;
  std::atomic<uint64_t> reads_ = 0;
  std::atomic<uint64_t> trimmed_ = 0;  // no log row has a stamp up to here
};

class RocksTransaction final : public Transaction {
 public:
  explicit RocksTransaction(RocksStore& store)
      : store_(store), snapshot_(store.db_->GetSnapshot()) {}
  ~RocksTransaction() override { end(); }

  Result<std::optional<std::string>> get(std::string_view key) override {
    store_.reads_.fetch_add(1, std::memory_order_relaxed);
    return read(key);
  }
  Result<std::optional<std::string>> get_tracked(std::string_view key) override {
    tracked_.push_back(conflict_hash(key));
    return get(key);
  }
  Result<Linked> get_linked(std::string_view key, const Link& link) override {
    store_.reads_.fetch_add(1, std::memory_order_relaxed);
    Linked out;
    TARN_ASSIGN(out.row, read(key));
    if (!out.row) return out;
    if (auto target = linked_key(*out.row, link)) {
      TARN_ASSIGN(out.linked, read(*target));
    }
    return out;
  }
  Status scan(const Range& range, const Visitor& visitor) override {
    CHECK(snapshot_ != nullptr, "scan in a transaction that has ended");
    store_.reads_.fetch_add(1, std::memory_order_relaxed);
    return store_.scan(snapshot_, range, visitor);
  }

  void put(std::string_view key, std::string_view value) override { writes_.put(key, value, true); }
  void erase(std::string_view key) override { writes_.erase(key, true); }
  void put_blind(std::string_view key, std::string_view value) override {
    writes_.put(key, value, false);
  }
  void erase_blind(std::string_view key) override { writes_.erase(key, false); }
  void merge(std::string_view key, std::string_view operand) override {
    writes_.merge(key, operand);
  }
  void append_log(std::string_view record) override { writes_.append_log(record); }

  Result<Stamp> commit() override {
    CHECK(snapshot_ != nullptr, "commit of a transaction that has ended");
    const uint64_t seen = snapshot_->GetSequenceNumber();
    // A transaction that changes and claims nothing takes no part in the order of commits.
    if (writes_.is_empty() && tracked_.empty()) {
      end();
      return Stamp(seen);
    }
    Result<Stamp> stamp = store_.commit(writes_, tracked_, snapshot_);
    end();
    return stamp;
  }

 private:
  Result<std::optional<std::string>> read(std::string_view key) {
    CHECK(snapshot_ != nullptr, "read in a transaction that has ended");
    check_key(key);
    const WriteSet::Entry* entry = writes_.find(key);
    if (entry == nullptr) return store_.read(snapshot_, key);
    std::optional<std::string> committed;
    if (entry->base == WriteSet::Base::kCommitted) {
      TARN_ASSIGN(committed, store_.read(snapshot_, key));
    }
    return resolve(store_.merge_, key, *entry, std::move(committed));
  }
  void end() {
    if (snapshot_ != nullptr) store_.db_->ReleaseSnapshot(snapshot_);
    snapshot_ = nullptr;
  }

  RocksStore& store_;
  const rocksdb::Snapshot* snapshot_;
  WriteSet writes_;
  std::vector<uint64_t> tracked_;
};

RocksStore::RocksStore(std::unique_ptr<rocksdb::DB> db, std::shared_ptr<rocksdb::Cache> cache,
                       std::shared_ptr<RocksFiles> files, std::unique_ptr<rocksdb::Env> env,
                       MergeFunction merge)
    : merge_(std::move(merge)),
      cache_(std::move(cache)),
      files_(std::move(files)),
      env_(std::move(env)),
      db_(std::move(db)),
      // What was replayed on opening has been written to table files and synced.
      durable_(db_->GetLatestSequenceNumber()) {
  files_->set_waiting(true);
}

RocksStore::~RocksStore() {
  if (Status status = sync(head()); !status.is_ok()) {
    log_error("kv.close", "{}", status.to_string());
  }
  files_->set_waiting(false);
}

std::unique_ptr<Transaction> RocksStore::begin() {
  return std::make_unique<RocksTransaction>(*this);
}

Result<std::optional<std::string>> RocksStore::read(const rocksdb::Snapshot* snapshot,
                                                    std::string_view key) {
  const uint64_t hash = conflict_hash(key);
  const uint64_t seen = snapshot->GetSequenceNumber();
  if (auto row = rows_.find(hash, key, seen)) return std::move(*row);
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  std::string value;
  rocksdb::Status status = db_->Get(options, slice(key), &value);
  if (!status.ok() && !status.IsNotFound()) return rocks_status(status, "reading a row");
  RowCache::Row row;
  if (status.ok() && !value.empty()) row = std::move(value);
  rows_.offer(hash, key, row, seen);
  return row;
}

Status RocksStore::scan(const rocksdb::Snapshot* snapshot, const Range& range,
                        const Visitor& visitor) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  const rocksdb::Slice end = slice(range.end);
  if (!range.end.empty()) options.iterate_upper_bound = &end;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  for (it->Seek(slice(std::max<std::string_view>(range.begin, kUserBegin))); it->Valid();
       it->Next()) {
    if (it->value().empty()) continue;
    if (!visitor(view(it->key()), view(it->value()))) return {};
  }
  if (!it->status().ok()) return rocks_status(it->status(), "scanning rows");
  return {};
}

Result<Stamp> RocksStore::commit(const WriteSet& writes, const std::vector<uint64_t>& tracked,
                                 const rocksdb::Snapshot* snapshot) {
  // All that needs no order is done before the mutex is taken.
  rocksdb::WriteBatch batch;
  std::vector<uint64_t> checked = tracked;
  std::vector<Written> written;
  written.reserve(writes.entries().size());
  for (const auto& [key, entry] : writes.entries()) {
    Written& row = written.emplace_back();
    row.hash = conflict_hash(key);
    row.key = key;
    if (entry.is_checked) checked.push_back(row.hash);
    if (entry.base == WriteSet::Base::kCommitted) {
      row.operands = &entry.operands;
      // Brings the row into the cache, so that it need not be searched for under the mutex.
      TARN_TRY(read(snapshot, key).status());
      continue;
    }
    row.row = resolve(merge_, key, entry, {});
    rocksdb::Status status = put_or_delete(batch, key, *row.row);
    if (!status.ok()) return rocks_status(status, "collecting a commit's rows");
  }
  Writer records;
  for (const std::string& record : writes.records()) records.bytes(record);

  const uint64_t seen = snapshot->GetSequenceNumber();
  MutexLock lock(commit_mutex_);
  TARN_TRY(validate(checked, seen));
  if (writes.is_empty()) return Stamp(seen);
  for (Written& row : written) {
    if (row.operands != nullptr) TARN_TRY(add_merge(batch, row));
  }
  TARN_ASSIGN(Stamp stamp, write(batch, records.str(), written));
  for (const Written& row : written) written_.note(row.hash, stamp.value);
  lock.unlock();
  transactions_.fetch_add(1, std::memory_order_relaxed);
  rows_written_.fetch_add(writes.row_count(), std::memory_order_relaxed);
  return stamp;
}

/// A merge into a row whose newest version is at hand becomes that row: RocksDB then has no
/// operands to search for and to fold at every read.
Status RocksStore::add_merge(rocksdb::WriteBatch& batch, Written& merged) {
  rocksdb::Status status;
  if (auto newest = rows_.find(merged.hash, merged.key, UINT64_MAX)) {
    std::vector<std::string_view> operands(merged.operands->begin(), merged.operands->end());
    merged.row = fold(merge_, merged.key, *newest, operands);
    status = put_or_delete(batch, merged.key, *merged.row);
  } else {
    for (const std::string& operand : *merged.operands) {
      if (status.ok()) status = batch.Merge(slice(merged.key), slice(operand));
    }
  }
  if (!status.ok()) return rocks_status(status, "collecting a commit's rows");
  return {};
}

Status RocksStore::validate(const std::vector<uint64_t>& hashes, uint64_t snapshot) {
  for (uint64_t hash : hashes) {
    uint64_t newest = written_.newest_write(hash);
    if (newest <= snapshot) continue;
    conflicts_.fetch_add(1, std::memory_order_relaxed);
    return Status(
        Code::kConflict,
        fmt::format("a key read or written at stamp {} was written at stamp {}", snapshot, newest));
  }
  return {};
}

/// Adds the log row for `records`, if there are any, tells the cache and writes.
Result<Stamp> RocksStore::write(rocksdb::WriteBatch& batch, const std::string& records,
                                std::span<const Written> written) {
  const uint64_t rows = batch.Count() + (records.empty() ? 0u : 1u);
  const uint64_t stamp = db_->GetLatestSequenceNumber() + rows;
  rocksdb::Status status;
  if (!records.empty()) status = batch.Put(log_key(stamp), records);
  if (!status.ok()) return rocks_status(status, "collecting a commit's rows");
  TARN_TRY(files_->reserve_log(batch.GetDataSize()));
  for (const Written& row : written) {
    if (row.row) {
      rows_.note(row.hash, row.key, *row.row, stamp);
    } else {
      rows_.forget(row.hash, row.key, stamp);
    }
  }
  status = write_when_possible(batch);
  if (!status.ok()) {
    for (const Written& row : written) rows_.forget(row.hash, row.key, stamp);
    return rocks_status(status, "committing");
  }
  CHECK(db_->GetLatestSequenceNumber() == stamp,
        fmt::format("a commit of {} rows got stamp {} instead of {}", rows,
                    db_->GetLatestSequenceNumber(), stamp));
  wal_bytes_.fetch_add(batch.GetDataSize(), std::memory_order_relaxed);
  return Stamp(stamp);
}

/// Waits while RocksDB is behind with flushes and compactions, but not for room on the disk.
rocksdb::Status RocksStore::write_when_possible(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.no_slowdown = true;
  bool has_resumed = false;
  while (true) {
    rocksdb::Status status = db_->Write(options, &batch);
    if (status.IsIncomplete()) {
      if (files_->is_out_of_space()) return rocksdb::Status::NoSpace("no room to flush memtables");
      std::this_thread::sleep_for(kStallPoll);
    } else if (status.IsNoSpace() && !has_resumed && !files_->is_out_of_space()) {
      // Somebody took the room between the reservation and the write.
      has_resumed = true;
      rocksdb::Status resumed = db_->Resume();
      log_warn("kv.resume", "{}: {}", status.ToString(), resumed.ToString());
      if (!resumed.ok()) return status;
    } else {
      return status;
    }
  }
}

/// One flush that makes durable all that is visible when it starts.
Status RocksStore::flush_log() {
  Status status = files_->sync_log();
  if (status.is_ok()) return status;
  // Syncing the same file again would prove nothing. Rows become durable by way of new table files
  // instead.
  log_error("kv.sync", "{}", status.to_string());
  return db_->Flush(rocksdb::FlushOptions()).ok() ? Status() : status;
}

Status RocksStore::sync(Stamp stamp) {
  const uint64_t wanted = std::min(stamp.value, head().value);
  MutexLock lock(sync_mutex_);
  const uint64_t seen = flushes_;
  while (durable_ < wanted) {
    if (failure_.flush > seen && failure_.target >= wanted) return failure_.status;
    if (is_flushing_) {
      flush_ended_.wait(lock);
      continue;
    }
    is_flushing_ = true;
    lock.unlock();
    const uint64_t target = head().value;
    Status status = flush_log();
    lock.lock();
    is_flushing_ = false;
    ++flushes_;
    if (status.is_ok()) {
      durable_ = std::max(durable_, target);
    } else {
      failure_ = {flushes_, target, status};
    }
    flush_ended_.notify_all();
  }
  return {};
}

Status RocksStore::read_log(Stamp after, const std::function<bool(const LogEntry&)>& visitor) {
  if (after.value == UINT64_MAX) return {};
  rocksdb::ReadOptions options;
  const rocksdb::Slice end = slice(kLogEnd);
  options.iterate_upper_bound = &end;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  for (it->Seek(log_key(after.value + 1)); it->Valid(); it->Next()) {
    LogEntry entry{Stamp(read_be64(view(it->key()).substr(kLogPrefix.size()))), {}};
    Reader records(view(it->value()));
    while (!records.at_end()) {
      entry.record = records.bytes();
      if (!records.is_ok()) {
        return Status(Code::kCorrupt,
                      fmt::format("the log row of stamp {} is cut short", entry.stamp.value));
      }
      if (!visitor(entry)) return {};
    }
  }
  if (!it->status().ok()) return rocks_status(it->status(), "reading the change log");
  return {};
}

Status RocksStore::trim_log(Stamp through) {
  // Row by row: a range deletion would slow down every read of the memtable that holds it, and
  // RocksDB 7.8 mixes up its insertion hints with those of rows.
  rocksdb::ReadOptions options;
  const std::string end =
      through.value == UINT64_MAX ? std::string(kLogEnd) : log_key(through.value + 1);
  const rocksdb::Slice end_slice(end);
  options.iterate_upper_bound = &end_slice;
  options.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  // Not from the beginning, where the tombstones of earlier trims are.
  it->Seek(log_key(trimmed_ + 1));
  while (it->Valid()) {
    rocksdb::WriteBatch batch;
    uint64_t last = 0;
    for (uint32_t rows = 0; it->Valid() && rows < kTrimBatchRows; ++rows, it->Next()) {
      last = read_be64(view(it->key()).substr(kLogPrefix.size()));
      rocksdb::Status status = batch.Delete(it->key());
      if (!status.ok()) return rocks_status(status, "trimming the change log");
    }
    MutexLock lock(commit_mutex_);
    TARN_TRY(write(batch, {}, {}));
    trimmed_ = std::max<uint64_t>(trimmed_, last);
  }
  if (!it->status().ok()) return rocks_status(it->status(), "trimming the change log");
  return {};
}

Statistics RocksStore::statistics() {
  Statistics out;
  out.transactions = transactions_;
  out.conflicts = conflicts_;
  out.rows_written = rows_written_;
  out.wal_bytes = wal_bytes_;
  out.reads = reads_;
  MutexLock lock(sync_mutex_);
  out.syncs = flushes_;
  return out;
}

Status RocksStore::settle() {
  if (files_->is_out_of_space())
    return Status(Code::kNoSpace, "settling: no room to flush memtables");
  rocksdb::Status status = db_->Flush(rocksdb::FlushOptions());
  if (status.ok()) {
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
    status = db_->CompactRange(options, nullptr, nullptr);
  }
  cache_->EraseUnRefEntries();
  ::malloc_trim(0);
  if (!status.ok()) return rocks_status(status, "settling");
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> open_rocks(RocksOptions options, MergeFunction merge) {
  TARN_TRY(make_directories(options.path));
  auto cache = rocksdb::NewLRUCache(options.cache_bytes, kCacheShardBits);
  auto files = std::make_shared<RocksFiles>(rocksdb::FileSystem::Default());
  std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(files);
  rocksdb::DB* opened = nullptr;
  rocksdb::Status status =
      rocksdb::DB::Open(rocks_options(options, merge, cache, env.get()), options.path, &opened);
  if (status.ok()) {
    return std::unique_ptr<Store>(std::make_unique<RocksStore>(std::unique_ptr<rocksdb::DB>(opened),
                                                               std::move(cache), std::move(files),
                                                               std::move(env), std::move(merge)));
  }
  // RocksDB reports both as an I/O error and tells them apart in words only. The lock file must not
  // be looked at when this process holds the lock: closing it would release the lock.
  const std::string text = status.ToString();
  if (text.find("lock hold by current process") != std::string::npos) {
    return Status(Code::kBusy,
                  fmt::format("the store '{}' is already open in this process", options.path));
  }
  if (text.find("While lock file") != std::string::npos) {
    return Status(Code::kBusy, fmt::format("the store '{}' is in use by {}", options.path,
                                           lock_holder(options.path)));
  }
  return rocks_status(status, fmt::format("opening the store '{}'", options.path));
}

}  // namespace tarn::kv
