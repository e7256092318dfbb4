// Queue of closed files on their way to settled, and their tickets.
//
// `push` waits while kQueueFilesMax files are queued (each holds a descriptor) unless told not to
// wait. A ticket is queued, then either cancelled by its holder or taken by the barrier: the two
// exclude each other under the ticket's lock. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "base/mutex.h"
#include "content/content.h"

namespace tarn::content {

inline constexpr size_t kQueueFilesMax = 4096;
inline constexpr size_t kQueueFilesKick = 1024;  // a barrier is begun before the queue is full

class TicketImpl final : public Ticket {
 public:
  TicketImpl(ClosedFile closed, std::function<void()> kick)
      : closed_(std::move(closed)), kick_(std::move(kick)) {}

  bool cancel() override;
  Status wait() override;

  /// False: it was cancelled.
  bool begin_commit();
  /// Back to the queue after a failure that may pass.
  void queue_again();
  /// Lets go of the file; waiters wake.
  void finish(Status status);
  /// Only between begin_commit and finish.
  ClosedFile& closed() { return closed_; }

 private:
  enum class State : uint8_t { kQueued, kCommitting, kCancelled, kDone };
  Mutex mutex_{"content.ticket", 320};
  CondVar changed_;
  State state_ = State::kQueued;
  Status status_;
  ClosedFile closed_;
  const std::function<void()> kick_;
};
using TicketImplRef = std::shared_ptr<TicketImpl>;

class SettleQueue {
 public:
  /// Returns true when a barrier should begin now.
  bool push(TicketImplRef ticket, uint64_t bytes, bool may_wait);
  void push_again(std::vector<TicketImplRef> tickets);
  /// All that are queued; the queue is empty then.
  std::vector<TicketImplRef> take();
  size_t size();

 private:
  Mutex mutex_{"content.settle_queue", 310};
  CondVar has_room_;
  std::vector<TicketImplRef> tickets_;
  uint64_t bytes_ = 0;
};

}  // namespace tarn::content
