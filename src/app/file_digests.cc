#include "app/file_digests.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "meta/meta.h"

namespace tarn::app {
namespace {

// Reading again is bound by the disk and digests by memory well before this many cores are.
constexpr size_t kThreadsMax = 8;
// For fewer files starting threads costs more than it saves.
constexpr size_t kParallelFrom = 4;

Status check_is_readable_file(fs::FileSystem& file_system, const fs::Caller& caller,
                              const fs::Attributes& file) {
  if (S_ISDIR(file.mode)) return {Code::kIsDirectory, "is a directory (-r goes into directories)"};
  if (!S_ISREG(file.mode))
    return {Code::kInvalidArgument, "is neither a regular file nor a directory"};
  // Root may read everything; the look-up would be most of the cost of a stored digest.
  return caller.uid == 0 ? Status() : file_system.access(caller, file.ino, R_OK);
}

}  // namespace

Result<FileDigests> digests_of(fs::FileSystem& file_system, const Health& health,
                               const fs::Caller& caller, const fs::Attributes& file,
                               const WantedDigests& wanted) {
  TARN_TRY(check_is_readable_file(file_system, caller, file));
  if (health.is_damaged(file.ino, file.generation))
    return Status(Code::kCorrupt, "its stored bytes are damaged (tarn status lists where)");
  FileDigests found;
  if (wanted.md5) {
    TARN_ASSIGN(found.md5, file_system.get_xattr(caller, file.ino, "user.tarn.md5"));
  }
  if (wanted.crc64nvme) {
    TARN_ASSIGN(found.crc64nvme, file_system.get_xattr(caller, file.ino, "user.tarn.crc64nvme"));
  }
  if (wanted.sha256) {
    TARN_ASSIGN(found.sha256, file_system.get_xattr(caller, file.ino, "user.tarn.sha256"));
  }
  if (wanted.etag) {
    TARN_ASSIGN(found.etag, file_system.get_xattr(caller, file.ino, "user.tarn.etag"));
  }
  return found;
}

Result<std::vector<KnownDamage>> reread(fs::FileSystem& file_system, Health& health,
                                        const fs::Caller& caller, const fs::Attributes& file) {
  TARN_TRY(check_is_readable_file(file_system, caller, file));
  // Settles a file that was closed a moment ago, and refuses one with a writer.
  TARN_TRY(file_system.get_xattr(caller, file.ino, "user.tarn.crc64nvme"));
  const auto txn = file_system.store().begin();
  TARN_ASSIGN(const meta::InodeRow row, meta::get_inode(*txn, file.ino));
  TARN_ASSIGN(const auto damages, file_system.content().reread(row));
  std::vector<KnownDamage> known;
  for (const auto& damage : damages)
    known.push_back({.ino = file.ino,
                     .generation = row.generation,
                     .blob = damage.blob,
                     .offset = damage.offset,
                     .length = damage.length,
                     .what = damage.what,
                     .found = Clock::system().now()});
  TARN_TRY(health.record_reread(file.ino, row.generation, known));
  return known;
}

void for_each_parallel(size_t count, const std::function<void(size_t)>& body) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
  };
  const size_t threads =
      count < kParallelFrom
          ? 1
          : std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kThreadsMax);
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
  work();
}

}  // namespace tarn::app
