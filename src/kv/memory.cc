// Engine in memory. Each key has its versions, oldest first; a version that no live snapshot can
// read is dropped as soon as the snapshots that needed it are gone. One mutex guards everything and
// is held only for map operations and merges, never while a visitor runs.
#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/mutex.h"
#include "kv/kv.h"
#include "kv/write_set.h"

namespace tarn::kv {
namespace {

// Rows copied out under one hold of the mutex during a scan.
constexpr size_t kScanBatch = 64;

struct Version {
  uint64_t stamp;
  std::optional<std::string> value;  // absent: erased
};
using Versions = std::vector<Version>;

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(MergeFunction merge) : merge_(std::move(merge)) {}

  std::unique_ptr<Transaction> begin() override;
  Status sync(Stamp) override;
  Stamp head() override;
  Status read_log(Stamp after, const std::function<bool(const LogEntry&)>& visitor) override;
  Status trim_log(Stamp through) override;
  Statistics statistics() override;
  std::string_view engine() const override { return "memory"; }

 private:
  friend class MemoryTransaction;
  using Row = std::pair<std::string, std::string>;

  uint64_t open_snapshot();
  void close_snapshot(uint64_t snapshot);
  std::optional<std::string> read(std::string_view key, uint64_t snapshot);
  std::vector<Row> read_batch(const std::string& begin, bool is_after, const std::string& end,
                              uint64_t snapshot);
  Result<Stamp> commit(const WriteSet& writes, const std::vector<std::string>& tracked,
                       uint64_t snapshot);
  // The three below need the mutex.
  bool is_written_since(std::string_view key, uint64_t snapshot) const;
  void apply(const WriteSet& writes, uint64_t stamp);
  void prune();

  const MergeFunction merge_;
  Mutex mutex_{"kv.memory", 110};
  std::map<std::string, Versions, std::less<>> rows_;
  std::deque<LogEntry> log_;
  std::multiset<uint64_t> snapshots_;                      // live ones
  std::deque<std::pair<uint64_t, std::string>> prunable_;  // once no snapshot is older than .first
  uint64_t head_ = 0;
  Statistics statistics_;  // but for the reads
  std::atomic<uint64_t> reads_ = 0;
};

class MemoryTransaction final : public Transaction {
 public:
  explicit MemoryTransaction(MemoryStore& store)
      : store_(store), snapshot_(store.open_snapshot()) {}
  ~MemoryTransaction() override { end(); }

  Result<std::optional<std::string>> get(std::string_view key) override {
    ++store_.reads_;
    return overlaid(key);
  }
  Result<std::optional<std::string>> get_tracked(std::string_view key) override {
    tracked_.emplace_back(key);
    return get(key);
  }
  Result<Linked> get_linked(std::string_view key, const Link& link) override {
    ++store_.reads_;
    Linked out;
    out.row = overlaid(key);
    if (!out.row) return out;
    if (auto target = linked_key(*out.row, link)) out.linked = overlaid(*target);
    return out;
  }
  Status scan(const Range& range, const Visitor& visitor) override;

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
    CHECK(is_live_, "commit of a transaction that has ended");
    Result<Stamp> stamp = store_.commit(writes_, tracked_, snapshot_);
    end();
    return stamp;
  }

 private:
  std::optional<std::string> overlaid(std::string_view key) {
    CHECK(is_live_, "read in a transaction that has ended");
    check_key(key);
    std::optional<std::string> committed = store_.read(key, snapshot_);
    const WriteSet::Entry* entry = writes_.find(key);
    return entry ? resolve(store_.merge_, key, *entry, std::move(committed)) : committed;
  }
  void end() {
    if (is_live_) store_.close_snapshot(snapshot_);
    is_live_ = false;
  }

  MemoryStore& store_;
  const uint64_t snapshot_;
  WriteSet writes_;
  std::vector<std::string> tracked_;
  bool is_live_ = true;
};

Status MemoryTransaction::scan(const Range& range, const Visitor& visitor) {
  CHECK(is_live_, "scan in a transaction that has ended");
  ++store_.reads_;
  std::string begin = range.begin;
  bool is_after = false;
  while (true) {
    auto rows = store_.read_batch(begin, is_after, range.end, snapshot_);
    for (const auto& [key, value] : rows) {
      if (!visitor(key, value)) return {};
    }
    if (rows.empty()) return {};
    begin = rows.back().first;
    is_after = true;
  }
}

const Version* visible(const Versions& versions, uint64_t snapshot) {
  for (auto it = versions.rbegin(); it != versions.rend(); ++it) {
    if (it->stamp <= snapshot) return &*it;
  }
  return nullptr;
}

std::unique_ptr<Transaction> MemoryStore::begin() {
  return std::make_unique<MemoryTransaction>(*this);
}

Status MemoryStore::sync(Stamp) {
  MutexLock lock(mutex_);
  ++statistics_.syncs;
  return {};
}

Stamp MemoryStore::head() {
  MutexLock lock(mutex_);
  return Stamp(head_);
}

uint64_t MemoryStore::open_snapshot() {
  MutexLock lock(mutex_);
  snapshots_.insert(head_);
  return head_;
}

void MemoryStore::close_snapshot(uint64_t snapshot) {
  MutexLock lock(mutex_);
  snapshots_.erase(snapshots_.find(snapshot));
  prune();
}

std::optional<std::string> MemoryStore::read(std::string_view key, uint64_t snapshot) {
  MutexLock lock(mutex_);
  auto it = rows_.find(key);
  if (it == rows_.end()) return std::nullopt;
  const Version* version = visible(it->second, snapshot);
  return version ? version->value : std::nullopt;
}

std::vector<MemoryStore::Row> MemoryStore::read_batch(const std::string& begin, bool is_after,
                                                      const std::string& end, uint64_t snapshot) {
  std::vector<Row> out;
  MutexLock lock(mutex_);
  for (auto it = is_after ? rows_.upper_bound(begin) : rows_.lower_bound(begin);
       it != rows_.end() && out.size() < kScanBatch; ++it) {
    if (!end.empty() && it->first >= end) break;
    const Version* version = visible(it->second, snapshot);
    if (version && version->value) out.emplace_back(it->first, *version->value);
  }
  return out;
}

bool MemoryStore::is_written_since(std::string_view key, uint64_t snapshot) const {
  auto it = rows_.find(key);
  return it != rows_.end() && it->second.back().stamp > snapshot;
}

Result<Stamp> MemoryStore::commit(const WriteSet& writes, const std::vector<std::string>& tracked,
                                  uint64_t snapshot) {
  MutexLock lock(mutex_);
  auto conflict = [&](std::string_view key) {
    ++statistics_.conflicts;
    return Status(Code::kConflict, fmt::format("a key of {} bytes was written since stamp {}",
                                               key.size(), snapshot));
  };
  for (const std::string& key : tracked) {
    if (is_written_since(key, snapshot)) return conflict(key);
  }
  for (const auto& [key, entry] : writes.entries()) {
    if (entry.is_checked && is_written_since(key, snapshot)) return conflict(key);
  }
  if (writes.is_empty()) return Stamp(snapshot);
  apply(writes, ++head_);
  ++statistics_.transactions;
  statistics_.rows_written += writes.row_count();
  return Stamp(head_);
}

void MemoryStore::apply(const WriteSet& writes, uint64_t stamp) {
  for (const auto& [key, entry] : writes.entries()) {
    Versions& versions = rows_[key];
    std::optional<std::string> committed;
    if (!versions.empty()) committed = versions.back().value;
    std::optional<std::string> value = resolve(merge_, key, entry, std::move(committed));
    if (!versions.empty() || !value) prunable_.emplace_back(stamp, key);
    versions.push_back({stamp, std::move(value)});
  }
  for (const std::string& record : writes.records()) log_.push_back({Stamp(stamp), record});
}

void MemoryStore::prune() {
  uint64_t oldest = snapshots_.empty() ? head_ : *snapshots_.begin();
  while (!prunable_.empty() && prunable_.front().first <= oldest) {
    auto it = rows_.find(prunable_.front().second);
    prunable_.pop_front();
    if (it == rows_.end()) continue;
    Versions& versions = it->second;
    // The newest version that the oldest snapshot sees stays, and all after it.
    auto keep = versions.begin();
    while (keep + 1 != versions.end() && (keep + 1)->stamp <= oldest) ++keep;
    versions.erase(versions.begin(), keep);
    if (versions.size() == 1 && !versions.front().value && versions.front().stamp <= oldest) {
      rows_.erase(it);
    }
  }
}

Status MemoryStore::read_log(Stamp after, const std::function<bool(const LogEntry&)>& visitor) {
  auto above = [](Stamp stamp, const LogEntry& entry) { return stamp < entry.stamp; };
  while (true) {
    std::vector<LogEntry> batch;
    {
      MutexLock lock(mutex_);
      auto it = std::upper_bound(log_.begin(), log_.end(), after, above);
      // A commit's records are never split over two batches, for the next batch starts above its
      // stamp.
      while (it != log_.end() && (batch.size() < kScanBatch || it->stamp == batch.back().stamp)) {
        batch.push_back(*it++);
      }
    }
    if (batch.empty()) return {};
    for (const LogEntry& entry : batch) {
      if (!visitor(entry)) return {};
    }
    after = batch.back().stamp;
  }
}

Status MemoryStore::trim_log(Stamp through) {
  MutexLock lock(mutex_);
  while (!log_.empty() && log_.front().stamp <= through) log_.pop_front();
  return {};
}

Statistics MemoryStore::statistics() {
  MutexLock lock(mutex_);
  Statistics out = statistics_;
  out.reads = reads_;
  return out;
}

}  // namespace

std::unique_ptr<Store> open_memory(MergeFunction merge) {
  return std::make_unique<MemoryStore>(std::move(merge));
}

}  // namespace tarn::kv
