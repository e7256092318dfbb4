#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <semaphore>
#include <thread>

#include <fmt/format.h>

#include "base/coding.h"
#include "base/log.h"
#include "base/worker_pool.h"
#include "content/content_impl.h"
#include "content/file_blob.h"
#include "digest/crc.h"
#include "digest/digest.h"

namespace tarn::content {

// Large enough that the disk sees few, long writes.
constexpr uint64_t kWriteBehindBytes = 8 * limits::kMiB;

// From here on a thread of its own hashes what is written meanwhile; MD5 alone takes longer than
// the copy.
constexpr uint64_t kHashBesideBytes = 8 * limits::kMiB;

/// MD5 of a stream, computed beside what the caller does with the same bytes between `begin` and
/// `wait`. What the thread has not begun by then, on a machine that is busy, the caller hashes
/// itself: it never waits for a thread to wake up.
class HashBeside {
 public:
  explicit HashBeside(digest::MultiDigest& digest) : digest_(digest), thread_([this] { run(); }) {}
  ~HashBeside() {
    is_closing_ = true;
    wake_.release();
    thread_.join();
  }
  HashBeside(const HashBeside&) = delete;
  HashBeside& operator=(const HashBeside&) = delete;

  /// `bytes` must stay as they are until `wait` returns.
  void begin(std::span<const std::byte> bytes) {
    bytes_ = bytes;
    is_offered_ = true;
    wake_.release();
  }
  void wait() {
    if (take()) {
      digest_.update(bytes_);
    } else {
      done_.acquire();
    }
  }

 private:
  /// Whoever gets the offer owns `bytes_` and `digest_`, until `begin` or `done_` hands them on.
  bool take() { return is_offered_.exchange(false); }
  void run() {
    set_thread_name("tarn-hash");
    for (wake_.acquire(); !is_closing_; wake_.acquire()) {
      if (!take()) continue;
      digest_.update(bytes_);
      done_.release();
    }
  }

  digest::MultiDigest& digest_;
  std::span<const std::byte> bytes_;
  std::atomic<bool> is_offered_ = false, is_closing_ = false;
  std::counting_semaphore<> wake_{0};  // counts offers that the caller took back, too
  std::binary_semaphore done_{0};
  std::thread thread_;
};

class IncomingImpl final : public Incoming {
 public:
  IncomingImpl(ContentImpl& content, PackWriter::Group* group)
      : content_(content), group_(group), digest_({digest::Algorithm::kMd5}) {}

  ~IncomingImpl() override {
    if (packed_) content_.packs_.unpin(packed_);
    if (!file_) return;
    {
      MutexLock lock(content_.incoming_mutex_);
      content_.incoming_crcs_.erase(file_->blob());
      std::erase(content_.incoming_unsynced_, file_);
    }
    // If nobody attached it by now, nobody will.
    if (file_->is_named()) content_.reverse_.suspect(file_->blob());
  }

  void describe(const Description& d) override {
    identity_.ino = d.ino;
    identity_.generation = d.generation;
    identity_.parent = d.parent;
    identity_.name = d.name;
    identity_.mode = d.mode;
    identity_.uid = d.uid;
    identity_.gid = d.gid;
    identity_.mtime = identity_.ctime = d.mtime;
  }
  void allow_inline() override { may_inline_ = true; }

  Status append(std::span<const std::byte> data) override {
    TARN_TRY(check_open());
    if (data.empty()) return {};
    if (!beside_ && size_ + data.size() > kHashBesideBytes)
      beside_ = std::make_unique<HashBeside>(digest_);
    if (!beside_) {
      digest_.update(data);
      TARN_TRY(store(data));
    } else {
      beside_->begin(data);
      const Status stored = store(data);
      beside_->wait();
      TARN_TRY(stored);
    }
    size_ += data.size();
    if (file_ && size_ - started_ >= kWriteBehindBytes) {
      // The disk begins while more arrives; what the sync at the end has to wait for stays small.
      ::sync_file_range(file_->fd(), static_cast<off_t>(started_),
                        static_cast<off_t>(size_ - started_), SYNC_FILE_RANGE_WRITE);
      started_ = size_;
    }
    return {};
  }

  Status hole(uint64_t length) override {
    TARN_TRY(check_open());
    static constexpr std::byte kZeros[64 * 1024] = {};
    if (!file_ && size_ + length > limits::kPackedBytesMax) TARN_TRY(spill());
    for (uint64_t done = 0; done < length;) {
      const auto zeros = std::span(kZeros).first(std::min<uint64_t>(sizeof kZeros, length - done));
      digest_.update(zeros);
      add_unit_crcs(zeros);
      done += zeros.size();
    }
    if (!file_) bytes_.append(length, '\0');
    size_ += length;
    return {};
  }

  Result<Done> finish() override {
    TARN_TRY(check_open());
    is_finished_ = true;
    beside_.reset();
    Done done;
    done.size = size_;
    done.blocks = (size_ + 511) / 512;
    done.digests.md5 = as_text(digest_.finish()[digest::Algorithm::kMd5].bytes());
    if (unit_bytes_ > 0) end_unit();
    append_be64(done.digests.crc64nvme, crc_);
    if (size_ == 0) return done;
    if (file_) {
      TARN_TRY(finish_file(done));
    } else if (may_inline_ && size_ <= limits::kInlineBytesMax) {
      done.descriptor = Inline{std::move(bytes_)};
    } else {
      PackWriter::Record record{identity_, as_bytes(bytes_), crc_};
      TARN_ASSIGN(auto slices, content_.packs_.append(std::span(&record, 1), true, group_));
      packed_ = slices[0].blob;
      done.descriptor = slices[0];
    }
    return done;
  }

 private:
  Status check_open() const {
    if (!is_finished_) return {};
    return Status(Code::kInvalidArgument, "these bytes are finished already");
  }

  /// To where the bytes so far are, or to a file once they are too many.
  Status store(std::span<const std::byte> data) {
    add_unit_crcs(data);
    if (!file_ && size_ + data.size() > limits::kPackedBytesMax) TARN_TRY(spill());
    if (file_) return write_at(file_->fd(), size_, data);
    bytes_ += as_text(data);
    return {};
  }

  Status spill() {
    TARN_ASSIGN(LocalFileRef local, content_.take_new());
    file_ = std::static_pointer_cast<LocalBlob>(local);
    file_->set_writer(false);  // named by sync_incoming, not by a barrier
    return write_at(file_->fd(), 0, as_bytes(std::exchange(bytes_, {})));
  }

  Status finish_file(Done& done) {
    if (::ftruncate(file_->fd(), static_cast<off_t>(size_)) != 0) {
      return last_errno("size an incoming blob");
    }
    TARN_ASSIGN(FileStat stat, file_->stat());
    done.blocks = stat.blocks;
    done.descriptor = WholeBlob{file_->blob()};
    file_->set_fresh(false);
    content_.blob_bytes_ += size_;
    MutexLock lock(content_.incoming_mutex_);
    content_.incoming_unsynced_.push_back(file_);
    content_.incoming_crcs_[file_->blob()] = {size_, std::move(unit_crcs_)};
    return {};
  }

  void add_unit_crcs(std::span<const std::byte> data) {
    while (!data.empty()) {
      const auto n = std::min<uint64_t>(data.size(), limits::kPieceBytes - unit_bytes_);
      unit_crc_ = digest::crc64nvme(data.first(n), unit_crc_);
      unit_bytes_ += n;
      data = data.subspan(n);
      if (unit_bytes_ == limits::kPieceBytes) end_unit();
    }
  }

  void end_unit() {
    crc_ = digest::crc64nvme_combine(crc_, unit_crc_, unit_bytes_);
    unit_crcs_.push_back(std::exchange(unit_crc_, 0));
    unit_bytes_ = 0;
  }

  ContentImpl& content_;
  PackWriter::Group* const group_;
  Identity identity_;
  bool may_inline_ = false, is_finished_ = false;
  digest::MultiDigest digest_;
  std::unique_ptr<HashBeside> beside_;  // uses digest_ while an append runs
  std::string bytes_;                   // while it may still be small
  LocalBlobRef file_;
  BlobId packed_;
  uint64_t size_ = 0;
  uint64_t started_ = 0;  // bytes whose writing to disk was begun
  uint64_t crc_ = 0;      // of all whole units
  uint64_t unit_crc_ = 0, unit_bytes_ = 0;
  std::vector<uint64_t> unit_crcs_;
};

Result<std::unique_ptr<Incoming>> ContentImpl::begin_incoming(std::optional<uint64_t> size_hint,
                                                              IncomingGroup* group) {
  TARN_TRY(root_.check_may_write());
  if (size_hint) {
    TARN_ASSIGN(Root::Space space, root_.space());
    if (*size_hint > space.bytes_free) {
      return Status(Code::kNoSpace, fmt::format("{} bytes do not fit into {} that are free",
                                                *size_hint, space.bytes_free));
    }
  }
  return std::unique_ptr<Incoming>(
      std::make_unique<IncomingImpl>(*this, static_cast<PackWriter::Group*>(group)));
}

std::unique_ptr<IncomingGroup> ContentImpl::begin_group() {
  return std::make_unique<PackWriter::Group>(packs_);
}

Status ContentImpl::sync_incoming() {
  constexpr size_t kFilesForSyncfs = 8;
  TARN_TRY(packs_.sync());
  MutexLock sync_lock(incoming_sync_mutex_);
  std::vector<LocalBlobRef> files;
  {
    MutexLock lock(incoming_mutex_);
    files.swap(incoming_unsynced_);
  }
  Status status;
  for (const LocalBlobRef& file : files) {
    if (status.is_ok()) status = file->ensure_named(false);
  }
  if (status.is_ok() && files.size() > kFilesForSyncfs) {
    status = blobs_.sync_all();
    if (status.is_ok()) {
      for (const LocalBlobRef& file : files) file->note_name_synced();
    }
  } else {
    for (const LocalBlobRef& file : files) {
      if (status.is_ok()) status = file->sync_fully();
    }
  }
  if (status.is_ok()) return status;
  MutexLock lock(incoming_mutex_);
  incoming_unsynced_.insert(incoming_unsynced_.end(), files.begin(), files.end());
  return status;
}

}  // namespace tarn::content
