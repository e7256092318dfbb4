#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "base/log.h"
#include "base/worker_pool.h"
#include "content/content_impl.h"
#include "content/kill_points.h"
#include "digest/crc.h"
#include "digest/digest.h"

namespace tarn::content {
namespace {

constexpr size_t kFoldDeltas = 16 * 1024;
constexpr size_t kFilesForSyncfs = 8;
// Far more runs than can end before a waiter of the first of them wakes up.
constexpr size_t kFailuresKept = 256;
constexpr TimeNs kBallastIntervalNs = 10 * kSecondNs;

}  // namespace

Status ContentImpl::with_ballast(const std::function<Status()>& body) {
  Status status = body();
  if (!status.is(Code::kNoSpace)) return status;
  TARN_TRY(root_.release_ballast());
  return body();
}

Status ContentImpl::barrier() {
  return join_barrier(true);
}

void ContentImpl::kick() {
  MutexLock lock(barrier_mutex_);
  is_kicked_ = true;
  barrier_wake_.notify_all();
}

Status ContentImpl::join_barrier(bool is_explicit) {
  MutexLock lock(barrier_mutex_);
  const uint64_t mine = ++barrier_wanted_;
  is_explicit_wanted_ = is_explicit_wanted_ || is_explicit;
  while (barrier_finished_ < mine) {
    if (is_barrier_running_) {
      barrier_done_.wait(lock);
      continue;
    }
    is_barrier_running_ = true;
    const uint64_t covered = barrier_wanted_;
    const bool is_for_waiters = std::exchange(is_explicit_wanted_, false);
    lock.unlock();
    Status status = run_barrier(is_for_waiters);
    lock.lock();
    if (!status.is_ok()) {
      barrier_failures_.push_back({barrier_finished_ + 1, covered, std::move(status)});
      if (barrier_failures_.size() > kFailuresKept) barrier_failures_.pop_front();
    }
    barrier_finished_ = covered;
    is_barrier_running_ = false;
    barrier_done_.notify_all();
  }
  // That of the run that was for this caller: a later one may have ended well in the meantime.
  for (const BarrierFailure& failure : barrier_failures_) {
    if (failure.first <= mine && mine <= failure.last) return failure.status;
  }
  return {};
}

Status ContentImpl::run_barrier(bool is_explicit) {
  // Looked up first: a file that is closed from here on may miss the queue that is taken next.
  const std::vector<LocalBlobRef> open = files_->written();
  Status settled = settle(queue_.take());
  Status named = name_open_files(open, is_explicit);
  if (named.is_ok()) named = suspect_abandoned();
  Status packed = pack_inline_rows();
  // What was released before this line is durable after the sync below, and may go then.
  TARN_ASSIGN(auto listed, reverse_.list_released());
  const Stamp head = store_.head();
  if (is_explicit || head != synced_through_) {
    TARN_TRY(with_ballast([&] { return store_.sync(head); }));
    synced_through_ = head;
  }
  TARN_KILL_POINT("content.barrier.after_sync");
  TARN_TRY(with_ballast([&] { return reverse_.collect(listed); }));
  if (reverse_.has_deltas()) {
    TARN_TRY(with_ballast([&] { return reverse_.fold(kFoldDeltas).status(); }));
  }
  TARN_TRY(with_ballast([&] { return reverse_.drop_doubtful_packs(); }));
  const TimeNs now = Clock::system().monotonic();
  if (now - ballast_checked_ >= kBallastIntervalNs) {
    ballast_checked_ = now;
    root_.restore_ballast();
  }
  TARN_TRY(settled);
  TARN_TRY(named);
  return packed;
}

/// Files that are still open for writing get their names; for waiters their data is synced as well.
Status ContentImpl::name_open_files(const std::vector<LocalBlobRef>& open, bool is_explicit) {
  for (const LocalBlobRef& file : open) {
    if (!file->is_named()) TARN_TRY(file->ensure_named(false));
  }
  if (!is_explicit) return {};
  const auto changed = std::count_if(
      open.begin(), open.end(), [](const LocalBlobRef& file) { return !file->is_name_synced(); });
  if (changed > static_cast<ptrdiff_t>(kFilesForSyncfs)) {
    TARN_TRY(blobs_.sync_all());
    for (const LocalBlobRef& file : open) file->note_name_synced();
    return {};
  }
  for (const LocalBlobRef& file : open) TARN_TRY(file->sync_if_changed());
  return {};
}

/// Blobs that somebody named and let go of: unless an open row names them, they go.
Status ContentImpl::suspect_abandoned() {
  const std::vector<BlobId> abandoned = files_->take_abandoned();
  if (abandoned.empty()) return {};
  TARN_ASSIGN(auto named, blobs_of_unsettled());
  for (BlobId blob : abandoned) {
    if (!named.contains(blob)) reverse_.suspect(blob);
  }
  return {};
}

/// Bytes that came in with a transaction move from their rows to a pack.
Status ContentImpl::pack_inline_rows() {
  std::vector<Ino> inodes;
  {
    MutexLock lock(inline_mutex_);
    inodes.swap(inline_rows_);
  }
  if (inodes.empty()) return {};
  std::vector<meta::InodeRow> rows;
  std::vector<std::string> bytes;
  {
    auto txn = store_.begin();
    for (Ino ino : inodes) {
      auto row = meta::get_inode(*txn, ino);
      if (!row.is_ok() || !row->is_regular() || row->state != meta::ContentState::kSettled)
        continue;
      TARN_ASSIGN(Descriptor descriptor, decode(row->content));
      auto* held = std::get_if<Inline>(&descriptor);
      if (held == nullptr || held->bytes.empty()) continue;
      bytes.push_back(held->bytes);
      rows.push_back(std::move(row).value());
    }
  }
  if (rows.empty()) return {};
  std::vector<PackWriter::Record> records;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto data = as_bytes(bytes[i]);
    records.push_back({identity_of(rows[i], rows[i].generation), data, digest::crc64nvme(data)});
  }
  auto slices = packs_.append(records, false);
  // Without room they stay where they are, which is no loss.
  if (slices.is(Code::kNoSpace)) return {};
  TARN_TRY(slices);
  TARN_TRY(packs_.sync());
  for (size_t i = 0; i < rows.size(); ++i) {
    const Slice& slice = (*slices)[i];
    auto moved = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
      meta::ContentChange change;
      change.content = encode(slice);
      meta::Context context;
      context.now = Clock::system().now();
      TARN_TRY(meta::set_content(txn, context, rows[i].ino, change, [&](const meta::InodeRow& now) {
        return now.state == meta::ContentState::kSettled && now.generation == rows[i].generation &&
               now.content == rows[i].content;
      }));
      return reverse_.add_records(txn, slice.blob,
                                  {{slice.offset, slice.length, rows[i].ino, rows[i].generation}});
    });
    const bool is_gone = moved.is(Code::kPreconditionFailed) || moved.is(Code::kStale);
    if (!moved.is_ok() && !is_gone) return moved.status();
  }
  return {};
}

void ContentImpl::background() {
  set_thread_name("tarn-barrier");
  MutexLock lock(barrier_mutex_);
  while (!is_stopping_) {
    barrier_wake_.wait_for(lock, std::chrono::nanoseconds(options_.barrier_interval_ns),
                           [&] { return is_stopping_ || is_kicked_; });
    if (is_stopping_) break;
    is_kicked_ = false;
    lock.unlock();
    if (auto status = join_barrier(false); !status.is_ok()) {
      log_warn("content.barrier", "{}", status.to_string());
    }
    lock.lock();
  }
}

}  // namespace tarn::content
