#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

#include "base/file.h"
#include "digest/md5_lanes.h"
#include "digest/md5_plan.h"

namespace tarn::digest {
namespace {

// 32 buffers of 64 KiB: small enough to stay in the cache between read and hash, large enough that
// the system call is 2 % of it.
constexpr size_t kChunkBytes = 64 * 1024;
// Asked for ahead of each stream, and at the beginning of each stream that will soon begin.
constexpr uint64_t kReadAheadBytes = 1024 * 1024;

/// Whether reading should be preceded by advice, and which streams have had it. Advice about bytes
/// that are in the page cache already costs a look at every page, so it begins with the first read
/// that would have had to wait.
class ReadAhead {
 public:
  ReadAhead(std::span<const FileRange> files, const Md5Plan& plan) : files_(files), plan_(plan) {}

  void note_wait() { is_cold_ = true; }

  /// Asks for the beginnings of the streams that come within plan.lanes after place `now`.
  void advise_after(size_t now) {
    if (!is_cold_) return;
    next_ = std::max(next_, now + 1);
    size_t end = std::min(now + 1 + plan_.lanes, plan_.order.size());
    for (; next_ < end; ++next_) {
      const FileRange& file = files_[plan_.order[next_]];
      advise(file.fd, file.offset, std::min(file.length, kReadAheadBytes));
    }
  }

  static void advise(int fd, uint64_t offset, uint64_t length) {
    // Only a hint: where it fails the read itself will say so, or works all the same.
    (void)posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(length),
                        POSIX_FADV_WILLNEED);
  }

 private:
  std::span<const FileRange> files_;
  const Md5Plan& plan_;
  size_t next_ = 0;
  bool is_cold_ = false;
};

/// Buffers of kChunkBytes, one for each stream in flight.
class BufferPool {
 public:
  explicit BufferPool(size_t count) : bytes_(std::make_unique<std::byte[]>(count * kChunkBytes)) {
    for (size_t i = 0; i < count; ++i) free_.push_back(bytes_.get() + i * kChunkBytes);
  }
  std::byte* take() {
    std::byte* buffer = free_.back();
    free_.pop_back();
    return buffer;
  }
  void give_back(std::byte* buffer) { free_.push_back(buffer); }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::vector<std::byte*> free_;
};

/// A range of a file as an Md5Pull.
class RangeReader {
 public:
  RangeReader(const FileRange& file, size_t place, BufferPool& pool, ReadAhead& ahead)
      : file_(file), place_(place), pool_(&pool), ahead_(&ahead), buffer_(pool.take()) {}
  RangeReader(RangeReader&& other) noexcept
      : file_(other.file_),
        place_(other.place_),
        pool_(other.pool_),
        ahead_(other.ahead_),
        done_(other.done_),
        advised_(other.advised_),
        is_cold_(other.is_cold_),
        buffer_(std::exchange(other.buffer_, nullptr)) {}
  RangeReader& operator=(RangeReader&&) = delete;
  ~RangeReader() {
    if (buffer_ != nullptr) pool_->give_back(buffer_);
  }

  Result<std::span<const std::byte>> operator()() {
    std::span<std::byte> chunk(
        buffer_, static_cast<size_t>(std::min<uint64_t>(kChunkBytes, file_.length - done_)));
    if (chunk.empty()) return std::span<const std::byte>();
    // Once a stream has had to wait, its window moves on also while the disk keeps pace.
    if (is_cold_) advise_window();
    if (done_ == 0) ahead_->advise_after(place_);
    if (!read_cached(chunk)) TARN_TRY(read_waiting(chunk));
    done_ += chunk.size();
    return std::span<const std::byte>(chunk);
  }

 private:
  /// True when all of the chunk was in the page cache and is in the buffer now.
  bool read_cached(std::span<std::byte> chunk) {
    iovec part = {chunk.data(), chunk.size()};
    ssize_t got = preadv2(file_.fd, &part, 1, static_cast<off_t>(file_.offset + done_), RWF_NOWAIT);
    return got == static_cast<ssize_t>(chunk.size());
  }

  void advise_window() {
    if (done_ + kReadAheadBytes / 2 < advised_ || advised_ == file_.length) return;
    uint64_t from = std::max(advised_, done_);
    uint64_t length = std::min(kReadAheadBytes, file_.length - from);
    ReadAhead::advise(file_.fd, file_.offset + from, length);
    advised_ = from + length;
  }

  Status read_waiting(std::span<std::byte> chunk) {
    ahead_->note_wait();
    if (!is_cold_) {
      is_cold_ = true;
      advise_window();
    }
    ahead_->advise_after(place_);
    Status status = read_exactly_at(file_.fd, file_.offset + done_, chunk);
    if (status.is_ok()) return status;
    return status.with_context(
        fmt::format("md5 of bytes {} to {}", file_.offset, file_.offset + file_.length));
  }

  FileRange file_;
  size_t place_;
  BufferPool* pool_;
  ReadAhead* ahead_;
  uint64_t done_ = 0;
  uint64_t advised_ = 0;
  bool is_cold_ = false;
  std::byte* buffer_;
};

}  // namespace

std::vector<Result<Digest>> md5_files(std::span<const FileRange> files) {
  if (files.empty()) return {};
  std::vector<uint64_t> lengths;
  for (const FileRange& file : files) lengths.push_back(file.length);
  Md5Plan plan = plan_md5(lengths);
  Md5Lanes lanes(plan.lanes);
  // One more than there are lanes: a job has its buffer while it waits for a lane.
  BufferPool pool(plan.lanes + 1);
  ReadAhead ahead(files, plan);
  for (size_t place = 0; place < plan.order.size(); ++place) {
    lanes.submit(RangeReader(files[plan.order[place]], place, pool, ahead));
  }
  std::vector<Result<Digest>> by_place = lanes.finish();
  std::vector<size_t> place_of(files.size());
  for (size_t place = 0; place < plan.order.size(); ++place) place_of[plan.order[place]] = place;
  std::vector<Result<Digest>> out;
  out.reserve(files.size());
  for (size_t place : place_of) out.push_back(std::move(by_place[place]));
  return out;
}

}  // namespace tarn::digest
