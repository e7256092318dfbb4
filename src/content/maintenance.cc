#include <sched.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/log.h"
#include "base/worker_pool.h"
#include "content/content_impl.h"
#include "content/kill_points.h"

namespace tarn::content {
namespace {

// A chore that does not fit is not lost: digests come on demand, pieces stay readable as they are.
constexpr size_t kChoresMax = 16 * 1024;

}  // namespace

void ContentImpl::add_chore(Chore chore, const meta::InodeRow& row) {
  if (chore == Chore::kDigest && !row.digests.md5.empty()) return;
  MutexLock lock(chore_mutex_);
  if (chores_.size() >= kChoresMax) return;
  chores_.emplace_back(chore, row);
  chore_wake_.notify_one();
}

void ContentImpl::maintain() {
  set_thread_name("tarn-chores");
  // It runs on what the others leave; no lock is held while it computes.
  sched_param idle{};
  if (::sched_setscheduler(0, SCHED_IDLE, &idle) != 0)
    log_debug("content.chores", "not idle class");
  while (true) {
    std::pair<Chore, meta::InodeRow> chore;
    {
      MutexLock lock(chore_mutex_);
      chore_wake_.wait(lock, [&] { return is_closed_ || !chores_.empty(); });
      if (is_closed_) return;
      chore = std::move(chores_.front());
      chores_.pop_front();
    }
    const meta::InodeRow& row = chore.second;
    auto now = meta::get_inode(*store_.begin(), row.ino);
    if (!now.is_ok() || now->generation != row.generation || now->content != row.content ||
        now->state != meta::ContentState::kSettled) {
      continue;
    }
    Status status = chore.first == Chore::kDigest ? digest(*now, DigestKind::kMd5).status()
                                                  : merge_pieces(*now);
    // Written meanwhile: it comes back when it settles.
    const bool is_overtaken = status.is(Code::kInterrupted) || status.is(Code::kBusy);
    if (!status.is_ok() && !is_overtaken) {
      log_warn("content.chore", "inode={} failed: {}", row.ino.value, status.to_string());
    }
  }
}

/// Copies the pieces of a settled generation into one blob and lets go of them.
Status ContentImpl::merge_pieces(const meta::InodeRow& row) {
  TARN_ASSIGN(Descriptor old, decode(row.content));
  if (!std::holds_alternative<Pieces>(old)) return {};
  TARN_ASSIGN(Root::Space space, root_.space());
  if (space.is_low || row.size > space.bytes_free / 2) return {};
  TARN_ASSIGN(FileRef from, open_read(row));
  TARN_ASSIGN(LocalBlobRef own, pool_->take());
  std::vector<std::byte> buffer(limits::kPieceBytes);
  for (uint64_t at = 0; at < row.size;) {
    if (is_closed_) return Status(Code::kInterrupted, "the content is being closed");
    auto data = from->seek(at, SEEK_DATA);
    if (data.is(Code::kNoDevice)) break;
    TARN_TRY(data);
    at = *data;
    TARN_ASSIGN(size_t n, from->read(at, buffer));
    if (n == 0) break;
    TARN_TRY(write_at(own->fd(), at, std::span(buffer).first(n)));
    at += n;
  }
  if (::ftruncate(own->fd(), static_cast<off_t>(row.size)) != 0) {
    return last_errno("size a merged blob");
  }
  TARN_TRY(own->sync());
  TARN_KILL_POINT("content.merge.before_commit");
  own->set_fresh(false);
  meta::InodeRow merged;
  auto committed = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    meta::ContentChange change;
    change.content = encode(WholeBlob{own->blob()});
    meta::Context context;
    context.now = Clock::system().now();
    TARN_ASSIGN(merged,
                meta::set_content(txn, context, row.ino, change, [&](const meta::InodeRow& now) {
                  return now.state == meta::ContentState::kSettled &&
                         now.generation == row.generation && now.content == row.content;
                }));
    TARN_TRY(reverse_.release(txn, row.ino, old));
    TARN_TRY(reverse_.attach(txn, row.ino, row.generation, WholeBlob{own->blob()}));
    BlobInfo info;
    info.size = row.size;
    info.ino = row.ino;
    info.generation = row.generation;
    txn.put_blind(info_key(own->blob()), encode(info));
    return {};
  });
  if (!committed.is_ok()) {
    reverse_.suspect(own->blob());
    const bool is_overtaken = committed.is(Code::kPreconditionFailed) || committed.is(Code::kStale);
    return is_overtaken ? Status() : committed.status();
  }
  reverse_.note_committed();
  add_chore(Chore::kDigest, merged);
  return {};
}

}  // namespace tarn::content
