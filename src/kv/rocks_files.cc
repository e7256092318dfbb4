#include "kv/rocks_files.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include <fmt/format.h>

#include "base/log.h"

namespace tarn::kv {
namespace {

// Space is reserved in steps of this size while there is room for them: one call in some thousands
// of commits.
constexpr uint64_t kReserveStepBytes = 1 << 20;
// What must be free where nothing can be reserved.
constexpr uint64_t kFreeBytesMin = 8 << 20;
constexpr std::chrono::milliseconds kRoomPoll(20);
// RocksDB tries a failed compaction again after a second.
constexpr TimeNs kCompactionRetryNs = 2 * kSecondNs;

thread_local bool is_compacting_thread = false;

/// More than a batch of `bytes` takes in the log: 7 bytes a fragment, a fragment and padding each
/// 32 KiB.
uint64_t log_bytes(uint64_t bytes) {
  return bytes + bytes / 1024 + 64;
}

rocksdb::IOStatus io_status(const Status& status) {
  if (status.is_ok()) return rocksdb::IOStatus::OK();
  const std::string text(status.message());
  if (status.is(Code::kNoSpace)) return rocksdb::IOStatus::NoSpace(text);
  return rocksdb::IOStatus::IOError(text);
}

}  // namespace

Result<std::shared_ptr<GrowingFile>> GrowingFile::open(const std::string& path) {
  auto file = std::make_shared<GrowingFile>();
  file->path_ = path;
  TARN_ASSIGN(file->fd_, open_at(AT_FDCWD, path, O_WRONLY));
  return file;
}

Status GrowingFile::reserve(uint64_t bytes) {
  const uint64_t needed = written_ + bytes;
  if (needed <= reserved_) return {};
  if (can_reserve_) {
    for (uint64_t end : {std::max(needed, reserved_ + kReserveStepBytes), needed}) {
      const auto begin = static_cast<off_t>(reserved_);
      if (::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, begin, static_cast<off_t>(end) - begin) ==
          0) {
        reserved_ = end;
        return {};
      }
      if (errno == EOPNOTSUPP || errno == ENOSYS) can_reserve_ = false;
      if (!can_reserve_) break;
    }
    if (can_reserve_) {
      return last_errno(fmt::format("reserving {} bytes in '{}'", needed - reserved_, path_));
    }
  }
  struct statvfs disk{};
  if (::fstatvfs(fd_.get(), &disk) != 0) return last_errno("fstatvfs");
  const uint64_t free = disk.f_bavail * disk.f_frsize;
  if (free < bytes + kFreeBytesMin) {
    return Status(Code::kNoSpace, fmt::format("{} bytes are free, {} are needed to write '{}'",
                                              free, bytes + kFreeBytesMin, path_));
  }
  reserved_ = std::max(needed, written_ + kReserveStepBytes);
  return {};
}

void GrowingFile::trim() {
  if (reserved_ <= written_) return;
  // If it fails, the space is only lent for longer.
  if (::ftruncate(fd_.get(), static_cast<off_t>(written_)) != 0) {
    log_warn("kv.trim", "{}", last_errno(fmt::format("ftruncate '{}'", path_)).to_string());
  }
  reserved_ = written_;
}

Status GrowingFile::sync() {
  if (is_broken_) {
    return Status(Code::kIo, fmt::format("an earlier sync of '{}' failed", path_));
  }
  Status status = sync_data(fd_.get());
  if (status.is_ok()) return status;
  is_broken_ = true;
  return status.with_context(fmt::format("syncing '{}'", path_));
}

/// Any file that RocksDB writes. A log's space was reserved by the commit.
class ReservingFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  enum class Kind { kLog, kTable, kOther };
  ReservingFile(std::unique_ptr<rocksdb::FSWritableFile> target, std::shared_ptr<GrowingFile> file,
                RocksFiles& files, Kind kind)
      : FSWritableFileOwnerWrapper(std::move(target)),
        file_(std::move(file)),
        files_(files),
        kind_(kind) {}

  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
    rocksdb::IOStatus status = before(data.size());
    if (status.ok()) status = FSWritableFileOwnerWrapper::Append(data, options, debug);
    if (status.ok()) file_->wrote(data.size());
    return status;
  }
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo& information,
                           rocksdb::IODebugContext* debug) override {
    rocksdb::IOStatus status = before(data.size());
    if (status.ok()) status = FSWritableFileOwnerWrapper::Append(data, options, information, debug);
    if (status.ok()) file_->wrote(data.size());
    return status;
  }
  rocksdb::IOStatus Close(const rocksdb::IOOptions& options,
                          rocksdb::IODebugContext* debug) override {
    file_->trim();
    return FSWritableFileOwnerWrapper::Close(options, debug);
  }

 private:
  rocksdb::IOStatus before(uint64_t bytes) {
    if (kind_ == Kind::kLog) return rocksdb::IOStatus::OK();
    return files_.reserve_or_wait(*file_, bytes, kind_ == Kind::kTable);
  }

  std::shared_ptr<GrowingFile> file_;
  RocksFiles& files_;
  const Kind kind_;
};

void RocksFiles::mark_compacting(bool is_compacting) {
  is_compacting_thread = is_compacting;
}

rocksdb::IOStatus RocksFiles::reserve_or_wait(GrowingFile& file, uint64_t bytes, bool is_table) {
  Status status = file.reserve(bytes);
  if (!status.is(Code::kNoSpace)) return io_status(status);
  if (is_table && is_compacting_thread) {
    compaction_failed_ = Clock::system().monotonic();
    return io_status(status);
  }
  log_warn("kv.out_of_space", "waiting for room: {}", status.message());
  ++waiting_;
  while (status.is(Code::kNoSpace) && may_wait_) {
    std::this_thread::sleep_for(kRoomPoll);
    status = file.reserve(bytes);
  }
  --waiting_;
  if (status.is_ok()) log_info("kv.has_space", "there is room again");
  return io_status(status);
}

bool RocksFiles::is_out_of_space() const {
  if (waiting_ > 0) return true;
  const TimeNs failed = compaction_failed_;
  return failed != 0 && Clock::system().monotonic() - failed < kCompactionRetryNs;
}

std::shared_ptr<GrowingFile> RocksFiles::log() {
  MutexLock lock(mutex_);
  return log_;
}

rocksdb::IOStatus RocksFiles::NewWritableFile(const std::string& path,
                                              const rocksdb::FileOptions& options,
                                              std::unique_ptr<rocksdb::FSWritableFile>* result,
                                              rocksdb::IODebugContext* debug) {
  if (path.ends_with(".log")) return new_log(path, options, result, debug);
  std::unique_ptr<rocksdb::FSWritableFile> made;
  rocksdb::IOStatus status = target()->NewWritableFile(path, options, &made, debug);
  if (!status.ok()) return status;
  auto file = GrowingFile::open(path);
  if (!file.is_ok()) return io_status(file.status());
  const auto kind =
      path.ends_with(".sst") ? ReservingFile::Kind::kTable : ReservingFile::Kind::kOther;
  *result = std::make_unique<ReservingFile>(std::move(made), std::move(file).value(), *this, kind);
  return status;
}

/// RocksDB begins a log file between two writes, for the sake of the second.
rocksdb::IOStatus RocksFiles::new_log(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result,
                                      rocksdb::IODebugContext* debug) {
  if (auto previous = log(); previous != nullptr) {
    // A broken file was reported when it broke; what was in it is being written to table files now.
    if (!previous->is_broken()) {
      if (Status status = previous->sync(); !status.is_ok()) return io_status(status);
    }
    // On a full disk this is the room for the second write: it was reserved in the old file.
    previous->trim();
  }
  std::unique_ptr<rocksdb::FSWritableFile> made;
  rocksdb::IOStatus status = target()->NewWritableFile(path, options, &made, debug);
  if (!status.ok()) return status;
  auto opened = GrowingFile::open(path);
  if (!opened.is_ok()) return io_status(opened.status());
  std::shared_ptr<GrowingFile> file = std::move(opened).value();
  Status ready = file->reserve(log_bytes(batch_bytes_));
  if (ready.is_ok()) ready = sync_directory(std::filesystem::path(path).parent_path());
  if (!ready.is_ok()) return io_status(ready);
  {
    MutexLock lock(mutex_);
    log_ = file;
  }
  *result = std::make_unique<ReservingFile>(std::move(made), std::move(file), *this,
                                            ReservingFile::Kind::kLog);
  return status;
}

Status RocksFiles::reserve_log(uint64_t bytes) {
  batch_bytes_ = bytes;
  auto file = log();
  CHECK(file != nullptr, "a commit before the store has a log");
  return file->reserve(log_bytes(bytes));
}

Status RocksFiles::sync_log() {
  auto file = log();
  return file == nullptr ? Status() : file->sync();
}

}  // namespace tarn::kv
