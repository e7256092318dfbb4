// WorkerPool: a fixed number of threads that run submitted tasks from a bounded queue.
//
// `submit` waits while the queue is full and returns false after `stop`. `stop` runs what was
// queued, then joins; the destructor calls it. Tasks must not throw. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/queue.h"

namespace tarn {

class WorkerPool {
 public:
  using Task = std::move_only_function<void()>;
  /// `name` (at most 12 characters) becomes the threads' name in ps and gdb.
  WorkerPool(std::string name, size_t threads, size_t tasks_max);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  bool submit(Task task) { return queue_.push(std::move(task)); }
  void stop();

 private:
  BoundedQueue<Task> queue_;
  std::vector<std::thread> threads_;
};

/// Names the calling thread (cut to 15 characters).
void set_thread_name(const std::string& name);

}  // namespace tarn
