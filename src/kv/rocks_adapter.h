// What RocksDB is given by the engine: options, the merge operator, the filter that drops absent
// rows, the logger, the listener, and the translation of its statuses.
//
// Only rocks.cc uses this. The objects are shared with RocksDB's own threads and are thread-safe.
#pragma once

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

/// Keeps RocksDB from stopping for want of room: a compaction that found none is tried again later,
/// and what else may fail so can be resumed from, which only the engine does.
class RocksListener : public rocksdb::EventListener {
 public:
  void OnCompactionBegin(rocksdb::DB* db, const rocksdb::CompactionJobInfo& info) override;
  void OnCompactionCompleted(rocksdb::DB* db, const rocksdb::CompactionJobInfo& info) override;
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override;
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason reason, rocksdb::Status error,
                            bool* is_automatic) override;
};

/// `env` must outlive the database. `cache` is charged for blocks, indexes, filters and memtables
/// together.
rocksdb::Options rocks_options(const RocksOptions& options, const MergeFunction& merge,
                               std::shared_ptr<rocksdb::Cache> cache, rocksdb::Env* env);

}  // namespace tarn::kv
