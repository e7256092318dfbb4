// What RocksDB is given by the engine: options, the merge operator, the filter that drops absent
// rows, the logger, the listener, and the translation of its statuses.
//
// Only rocks.cc uses this. The objects are shared with RocksDB's own threads and are thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>

#include "kv/kv.h"

namespace tarn::kv {

/// kNoSpace, kCorrupt, kBusy or kIo by `status`, which is not ok; `what` names the call.
Status rocks_status(const rocksdb::Status& status, std::string_view what);

/// A process that holds the lock file of the database at `path`: "process 123", or "another
/// process" when the system does not say.
std::string lock_holder(const std::string& path);

/// Keeps the write-ahead log a prefix of history and errors recoverable.
///
/// A new log file is begun while the last commits of the one before may not be on disk; if the new
/// one's pages got there first, a power cut would leave a hole in history. So the old log is synced
/// when a memtable is sealed, before the first record goes to the new log. RocksDB calls some
/// failed writes fatal and recovers from a full disk by polling; here every failed write is one
/// that the engine's own recovery (which flushes to new files and leaves the damaged log behind)
/// may mend.
class RocksListener : public rocksdb::EventListener {
 public:
  void attach(rocksdb::DB* db) { db_ = db; }
  void OnMemTableSealed(const rocksdb::MemTableInfo& info) override;
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override;
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason reason, rocksdb::Status error,
                            bool* is_automatic) override;

 private:
  std::atomic<rocksdb::DB*> db_ = nullptr;
};

/// `cache` is charged for blocks, indexes, filters and memtables together.
rocksdb::Options rocks_options(const RocksOptions& options, const MergeFunction& merge,
                               std::shared_ptr<rocksdb::Cache> cache,
                               std::shared_ptr<RocksListener> listener);

}  // namespace tarn::kv
