// RocksDB's view of the file system: room is made sure of before anything is written, and the
// engine itself syncs the write-ahead log.
//
// RocksDB copes badly with a full disk: half a record stays in its log, background errors stop it,
// and resuming from them can hang (7.8 loses count of flushes that start while it is stopped). So
// it never meets one here. Every append is preceded by a reservation of its space. Where there is
// none a commit is refused before RocksDB hears of it; a flush of a memtable waits for room
// (meanwhile memtables fill up, and then commits are refused); a compaction fails, gives its space
// back and is tried again later. On file systems without fallocate a look at the free space stands
// in for the reservation.
//
// A log file is synced before the next one is begun: else the new one's pages may reach the disk
// first, and a power cut leaves a hole in history. Syncing goes by a descriptor of our own, while
// commits are written, and never again on a file whose fsync has failed (its pages may be marked
// clean without being on the disk). Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include <rocksdb/file_system.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/status.h"

namespace tarn::kv {

/// A file that is being written, and the room that it has.
class GrowingFile {
 public:
  static Result<std::shared_ptr<GrowingFile>> open(const std::string& path);

  /// Makes sure that `bytes` more can be written. Only the file's one writer may call it. Errors:
  /// kNoSpace, kIo.
  Status reserve(uint64_t bytes);
  void wrote(uint64_t bytes) { written_ += bytes; }
  /// Gives back what is reserved behind the end.
  void trim();
  /// fdatasync; kIo, for ever after, once it has failed.
  Status sync();
  bool is_broken() const { return is_broken_; }

 private:
  std::string path_;
  UniqueFd fd_;
  uint64_t written_ = 0;   // bytes
  uint64_t reserved_ = 0;  // bytes from the beginning
  bool can_reserve_ = true;
  std::atomic<bool> is_broken_ = false;
};

class RocksFiles : public rocksdb::FileSystemWrapper {
 public:
  explicit RocksFiles(const std::shared_ptr<rocksdb::FileSystem>& target)
      : FileSystemWrapper(target) {}
  const char* Name() const override { return "tarn.rocks_files"; }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;

  /// Makes sure that the log can take a batch of `bytes`. Only the thread that is going to write it
  /// may call this. Errors: kNoSpace, kIo.
  Status reserve_log(uint64_t bytes);
  /// Makes all durable that was written to the log before the call. Errors: kIo.
  Status sync_log();

  /// From now on flushes wait for room; before and after they fail instead, for nobody could be
  /// told.
  void set_waiting(bool may_wait) { may_wait_ = may_wait; }
  bool may_wait() const { return may_wait_; }
  /// A flush waits for room, or a compaction lately found none.
  bool is_out_of_space() const;
  /// Tells whether the calling thread compacts; its table files do not wait.
  static void mark_compacting(bool is_compacting);

 private:
  friend class ReservingFile;

  /// GrowingFile::reserve, or a wait for room.
  rocksdb::IOStatus reserve_or_wait(GrowingFile& file, uint64_t bytes, bool is_table);
  std::shared_ptr<GrowingFile> log();
  rocksdb::IOStatus new_log(const std::string& path, const rocksdb::FileOptions& options,
                            std::unique_ptr<rocksdb::FSWritableFile>* result,
                            rocksdb::IODebugContext* debug);

  Mutex mutex_{"kv.rocks.log", 140};
  std::shared_ptr<GrowingFile> log_;
  uint64_t batch_bytes_ = 0;  // of the batch that is being written
  std::atomic<bool> may_wait_ = false;
  std::atomic<int> waiting_ = 0;
  std::atomic<TimeNs> compaction_failed_ = 0;  // monotonic time
};

}  // namespace tarn::kv
