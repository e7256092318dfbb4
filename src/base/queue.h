// BoundedQueue: hand-over between threads with a limit.
//
// `push` waits while the queue is full (back-pressure is the policy for every queue of Tarn),
// `try_push` refuses, `pop` waits for an item. After `close` pushes are refused and pops drain what
// is left, then return nothing. Thread-safe.
#pragma once

#include <deque>
#include <optional>

#include "base/mutex.h"

namespace tarn {

template <class T>
class BoundedQueue {
 public:
  BoundedQueue(const char* name, int rank, size_t items_max)
      : mutex_(name, rank), items_max_(items_max) {}

  /// False when the queue is closed.
  bool push(T item) {
    MutexLock lock(mutex_);
    has_room_.wait(lock, [&] { return is_closed_ || items_.size() < items_max_; });
    if (is_closed_) return false;
    items_.push_back(std::move(item));
    has_item_.notify_one();
    return true;
  }
  /// False when the queue is closed or full.
  bool try_push(T item) {
    MutexLock lock(mutex_);
    if (is_closed_ || items_.size() >= items_max_) return false;
    items_.push_back(std::move(item));
    has_item_.notify_one();
    return true;
  }
  std::optional<T> pop() {
    MutexLock lock(mutex_);
    has_item_.wait(lock, [&] { return is_closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    has_room_.notify_one();
    return item;
  }
  void close() {
    MutexLock lock(mutex_);
    is_closed_ = true;
    has_item_.notify_all();
    has_room_.notify_all();
  }
  size_t size() {
    MutexLock lock(mutex_);
    return items_.size();
  }

 private:
  Mutex mutex_;
  CondVar has_item_, has_room_;
  std::deque<T> items_;
  size_t items_max_;
  bool is_closed_ = false;
};

}  // namespace tarn
