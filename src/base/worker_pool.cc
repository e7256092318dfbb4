#include "base/worker_pool.h"

#include <pthread.h>

namespace tarn {

WorkerPool::WorkerPool(std::string name, size_t threads, size_t tasks_max)
    : queue_("worker_pool.queue", 910, tasks_max) {
  for (size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this, label = name + "-" + std::to_string(i)] {
      set_thread_name(label);
      while (auto task = queue_.pop()) (*task)();
    });
  }
}

WorkerPool::~WorkerPool() {
  stop();
}

void WorkerPool::stop() {
  queue_.close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void set_thread_name(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

}  // namespace tarn
