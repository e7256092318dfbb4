#include "content/pool.h"

#include <chrono>

#include "base/log.h"
#include "base/worker_pool.h"

namespace tarn::content {

Pool::Pool(std::shared_ptr<LocalFiles> files, uint32_t size)
    : files_(std::move(files)), size_(size) {
  if (size_ > 0) thread_ = std::thread([this] { fill(); });
}

Pool::~Pool() {
  stop();
}

void Pool::stop() {
  std::vector<LocalBlobRef> rest;
  {
    MutexLock lock(mutex_);
    is_stopped_ = true;
    rest.swap(ready_);
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

Result<LocalBlobRef> Pool::take() {
  LocalBlobRef file;
  {
    MutexLock lock(mutex_);
    if (!ready_.empty()) {
      file = std::move(ready_.back());
      ready_.pop_back();
    }
    if (ready_.size() < size_ - size_ / 4) wake_.notify_one();
  }
  if (!file) {
    TARN_ASSIGN(file, files_->make_new());
  }
  files_->hand_out(file);
  return file;
}

uint64_t Pool::ready() {
  MutexLock lock(mutex_);
  return ready_.size();
}

void Pool::fill() {
  set_thread_name("tarn-pool");
  MutexLock lock(mutex_);
  while (!is_stopped_) {
    if (ready_.size() >= size_) {
      wake_.wait(lock, [&] { return is_stopped_ || ready_.size() < size_ - size_ / 4; });
      continue;
    }
    lock.unlock();
    auto made = files_->make_new();
    lock.lock();
    if (made.is_ok()) {
      if (is_stopped_) {
        lock.unlock();  // before `made` ends
        return;
      }
      ready_.push_back(std::move(made).value());
      continue;
    }
    // A full disk or too many descriptors: CREATE reports it itself, the pool waits for better
    // times.
    log_debug("content.pool", "fill failed: {}", made.status().to_string());
    wake_.wait_for(lock, std::chrono::milliseconds(100), [&] { return is_stopped_; });
  }
}

}  // namespace tarn::content
