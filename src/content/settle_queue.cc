#include "content/settle_queue.h"

#include <chrono>

#include "base/limits.h"
#include "content/files.h"

namespace tarn::content {

bool TicketImpl::cancel() {
  ClosedFile dropped;  // ends after the lock is gone
  MutexLock lock(mutex_);
  if (state_ == State::kQueued) {
    state_ = State::kCancelled;
    dropped = std::exchange(closed_, {});
    // Whoever takes it back may write: barriers must look at it again.
    if (LocalBlobRef backing = backing_of(dropped.file)) backing->set_writer(true);
    changed_.notify_all();
  }
  const bool is_cancelled = state_ == State::kCancelled;
  lock.unlock();
  return is_cancelled;
}

Status TicketImpl::wait() {
  MutexLock lock(mutex_);
  if (state_ == State::kQueued && kick_) {
    lock.unlock();
    kick_();
    lock.lock();
  }
  changed_.wait(lock, [&] { return state_ == State::kCancelled || state_ == State::kDone; });
  return status_;
}

bool TicketImpl::begin_commit() {
  MutexLock lock(mutex_);
  if (state_ != State::kQueued) return false;
  state_ = State::kCommitting;
  return true;
}

void TicketImpl::queue_again() {
  MutexLock lock(mutex_);
  state_ = State::kQueued;
}

void TicketImpl::finish(Status status) {
  ClosedFile dropped;
  MutexLock lock(mutex_);
  state_ = State::kDone;
  status_ = std::move(status);
  dropped = std::exchange(closed_, {});
  changed_.notify_all();
  lock.unlock();
}

bool SettleQueue::push(TicketImplRef ticket, uint64_t bytes, bool may_wait) {
  MutexLock lock(mutex_);
  if (may_wait) has_room_.wait(lock, [&] { return tickets_.size() < kQueueFilesMax; });
  tickets_.push_back(std::move(ticket));
  bytes_ += bytes;
  return tickets_.size() >= kQueueFilesKick || bytes_ >= limits::kBarrierBytes;
}

void SettleQueue::push_again(std::vector<TicketImplRef> tickets) {
  MutexLock lock(mutex_);
  for (TicketImplRef& ticket : tickets) tickets_.push_back(std::move(ticket));
}

std::vector<TicketImplRef> SettleQueue::take() {
  MutexLock lock(mutex_);
  bytes_ = 0;
  has_room_.notify_all();
  return std::exchange(tickets_, {});
}

size_t SettleQueue::size() {
  MutexLock lock(mutex_);
  return tickets_.size();
}

}  // namespace tarn::content
