// Requests that run in the pool, and what a signal to their caller does to them.
//
// The kernel sends INTERRUPT when a caller gets a signal while its request is being worked on. A
// request that has not begun is answered EINTR and dropped. One that runs is abandoned (EINTR at
// once, its own answer discarded) by its policy: `kIfEnding` only when the caller is being killed,
// because a local file system does not fail fsync or open for a timer's signal either and programs
// are not made for that; `kAlways` for Tarn's own long requests; `kNever` for those that end early
// themselves. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"

namespace tarn::mount {

class Queue;

enum class OnInterrupt : uint8_t { kNever, kIfEnding, kAlways };

/// A request in the pool. Whoever claims it gives the one answer.
class PendingRequest {
 public:
  PendingRequest(Queue& queue, uint64_t unique, uint32_t pid, OnInterrupt policy)
      : queue_(queue), unique_(unique), pid_(pid), policy_(policy) {}
  /// Work starts: false when the request was given up while it waited.
  bool begin() { return move(State::kWaiting, State::kRunning); }
  /// The right to answer a request that runs: true for the first caller only.
  bool claim() { return move(State::kRunning, State::kClaimed); }
  bool is_interrupted() const { return is_interrupted_.load(std::memory_order_relaxed); }

 private:
  friend class InterruptTable;
  Queue& queue_;
  const uint64_t unique_;  // as received
  const uint32_t pid_;
  const OnInterrupt policy_;
  enum class State : uint8_t { kWaiting, kRunning, kClaimed };
  bool move(State from, State to) { return state_.compare_exchange_strong(from, to); }
  std::atomic<State> state_{State::kWaiting};
  std::atomic<bool> is_interrupted_{false};
};

/// True when the process or thread `pid` has a fatal signal pending or is gone.
bool is_ending(uint32_t pid);

class InterruptTable {
 public:
  explicit InterruptTable(std::function<bool(uint32_t pid)> is_ending_pid = is_ending)
      : is_ending_(std::move(is_ending_pid)) {}

  /// An INTERRUPT that overtook its request is applied now.
  void add(const std::shared_ptr<PendingRequest>& request);
  void remove(const PendingRequest& request);
  /// INTERRUPT for the request `unique` arrived. Requests that are not here (answered, or not of
  /// the pool) are remembered for a moment only.
  void interrupt(uint64_t unique);

 private:
  void apply(PendingRequest& request);

  const std::function<bool(uint32_t)> is_ending_;
  Mutex mutex_{"mount.interrupts", 20};
  std::unordered_map<uint64_t, std::shared_ptr<PendingRequest>> requests_;  // resend bit cleared
  std::array<uint64_t, 64> early_{};
  size_t early_next_ = 0;
};

}  // namespace tarn::mount
