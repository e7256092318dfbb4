#include "kv/rocks_adapter.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include <fmt/format.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include "base/file.h"
#include "base/log.h"
#include "kv/rocks_files.h"
#include "kv/write_set.h"

namespace tarn::kv {
namespace {

// A row that every reading of a merge would have to fold from this many operands is written out
// instead.
constexpr size_t kSuccessiveMergesMax = 16;
constexpr int kOpenFilesMax = 256;
constexpr uint64_t kTableFileBytes = 32 << 20;
constexpr double kBloomBitsPerKey = 10;

std::string_view view(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

/// An empty value stands for an absent row, because a merge operator cannot answer "delete".
class RowMerge : public rocksdb::MergeOperator {
 public:
  explicit RowMerge(MergeFunction merge) : merge_(std::move(merge)) {}
  const char* Name() const override { return "tarn.row"; }
  bool FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const override {
    std::optional<std::string_view> existing;
    if (in.existing_value != nullptr && !in.existing_value->empty()) {
      existing = view(*in.existing_value);
    }
    std::vector<std::string_view> operands;
    operands.reserve(in.operand_list.size());
    for (const rocksdb::Slice& operand : in.operand_list) operands.push_back(view(operand));
    out->new_value = fold(merge_, view(in.key), existing, operands).value_or("");
    return true;
  }

 private:
  MergeFunction merge_;
};

/// Drops rows that merges made absent. Older versions below such a row stay hidden: RocksDB turns
/// the removal into a tombstone where it must.
class DropAbsent : public rocksdb::CompactionFilter {
 public:
  const char* Name() const override { return "tarn.drop_absent"; }
  Decision FilterV2(int, const rocksdb::Slice&, ValueType type, const rocksdb::Slice& value,
                    std::string*, std::string*) const override {
    return type == ValueType::kValue && value.empty() ? Decision::kRemove : Decision::kKeep;
  }
};

/// Warnings and errors go to Tarn's log, the rest nowhere.
class ForwardingLogger : public rocksdb::Logger {
 public:
  ForwardingLogger() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  void LogHeader(const char*, va_list) override {}
  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::WARN_LEVEL, format, arguments);
  }
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    std::array<char, 1024> line{};
    std::vsnprintf(line.data(), line.size(), format, arguments);
    std::string_view text(line.data());
    while (text.ends_with('\n')) text.remove_suffix(1);
    if (level == rocksdb::InfoLogLevel::WARN_LEVEL) {
      log_warn("kv.rocksdb", "{}", text);
    } else {
      log_error("kv.rocksdb", "{}", text);
    }
  }
};

rocksdb::CompressionType first_supported(std::initializer_list<rocksdb::CompressionType> wanted) {
  const std::vector<rocksdb::CompressionType> supported = rocksdb::GetSupportedCompressions();
  for (rocksdb::CompressionType type : wanted) {
    if (std::ranges::find(supported, type) != supported.end()) return type;
  }
  return rocksdb::kNoCompression;
}

rocksdb::BlockBasedTableOptions table_options(std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = std::move(cache);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.format_version = 5;
  // Otherwise indexes and filters of every open table stay outside the cache's limit.
  table.cache_index_and_filter_blocks = true;
  // Whole ones would be hundreds of KiB each and push one another out of a small cache.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.pin_top_level_index_and_filter = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  return table;
}

}  // namespace

Status rocks_status(const rocksdb::Status& status, std::string_view what) {
  Code code = Code::kIo;
  if (status.IsNoSpace()) code = Code::kNoSpace;
  if (status.IsCorruption()) code = Code::kCorrupt;
  if (status.IsBusy() || status.IsTryAgain()) code = Code::kBusy;
  if (status.IsMemoryLimit()) code = Code::kOutOfMemory;
  if (status.IsInvalidArgument() || status.IsNotSupported()) code = Code::kInternal;
  return Status(code, fmt::format("{}: {}", what, status.ToString()));
}

std::string lock_holder(const std::string& path) {
  auto file = open_at(AT_FDCWD, path + "/LOCK", O_RDONLY);
  struct flock lock{};
  lock.l_type = F_WRLCK;
  if (file.is_ok() && ::fcntl(file->get(), F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK &&
      lock.l_pid > 0) {
    return fmt::format("process {}", lock.l_pid);
  }
  return "another process";
}

void RocksListener::OnCompactionBegin(rocksdb::DB*, const rocksdb::CompactionJobInfo&) {
  RocksFiles::mark_compacting(true);
}

void RocksListener::OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo&) {
  RocksFiles::mark_compacting(false);
}

void RocksListener::OnBackgroundError(rocksdb::BackgroundErrorReason reason,
                                      rocksdb::Status* error) {
  if (!error->IsNoSpace()) return;
  if (reason == rocksdb::BackgroundErrorReason::kCompaction) {
    *error = rocksdb::Status::OK();
  } else if (error->severity() > rocksdb::Status::kHardError) {
    *error = rocksdb::Status(*error, rocksdb::Status::kHardError);
  }
}

void RocksListener::OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                                         bool* is_automatic) {
  *is_automatic = false;
}

rocksdb::Options rocks_options(const RocksOptions& options, const MergeFunction& merge,
                               std::shared_ptr<rocksdb::Cache> cache, rocksdb::Env* env) {
  static const DropAbsent drop_absent;
  rocksdb::Options out;
  out.create_if_missing = true;
  out.merge_operator = std::make_shared<RowMerge>(merge);
  out.compaction_filter = &drop_absent;
  out.listeners = {std::make_shared<RocksListener>()};
  out.env = env;
  out.info_log = std::make_shared<ForwardingLogger>();
  out.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table_options(cache)));

  // After a power cut the unsynced end of the log may be torn anywhere, not only cut short:
  // point-in-time recovery ends at the first damage. kTolerateCorruptedTailRecords would refuse to
  // open.
  out.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // It would take 1.1 memtables at once for the log, which a nearly full disk does not have;
  // RocksFiles reserves what is needed.
  out.allow_fallocate = false;
  out.manifest_preallocation_size = 64 << 10;
  out.max_manifest_file_size = 4 << 20;

  out.write_buffer_size = options.memtable_bytes;
  out.max_write_buffer_number = 3;
  out.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(0, std::move(cache));
  out.memtable_whole_key_filtering = true;
  out.memtable_prefix_bloom_size_ratio = 0.05;
  // Commits come one at a time, under the engine's mutex; folding merges at write time needs that
  // too.
  out.allow_concurrent_memtable_write = false;
  out.enable_write_thread_adaptive_yield = false;
  out.max_successive_merges = kSuccessiveMergesMax;
  // Rows of a kind (first byte of the key) are mostly added near the last one of that kind: new
  // inodes, log records, names in one directory.
  out.memtable_insert_with_hint_prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(1));

  out.compression = first_supported({rocksdb::kLZ4Compression});
  out.bottommost_compression = first_supported({rocksdb::kZSTD, rocksdb::kLZ4Compression});
  out.level_compaction_dynamic_level_bytes = true;
  out.target_file_size_base = kTableFileBytes;
  out.max_bytes_for_level_base = 4 * kTableFileBytes;
  out.max_background_jobs = 2;
  out.bytes_per_sync = 1 << 20;
  out.max_open_files = kOpenFilesMax;
  out.skip_stats_update_on_db_open = true;
  out.stats_dump_period_sec = 0;
  out.stats_persist_period_sec = 0;
  return out;
}

}  // namespace tarn::kv
