// Mutex with a name and a rank; debug builds assert that ranks only grow while a thread holds
// several.
//
// docs/LOCKS.md lists every mutex with its rank. A thread that holds a mutex of rank r may lock
// only mutexes of a higher rank. Use with MutexLock (a std::unique_lock), which condition variables
// (std::condition_variable_any) accept too.
#pragma once

#include <condition_variable>
#include <mutex>

namespace tarn {

class Mutex {
 public:
  /// `name` must outlive the mutex; `rank` is the mutex's line in docs/LOCKS.md.
  constexpr Mutex(const char* name, int rank) : name_(name), rank_(rank) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock();
  void unlock();
  bool try_lock();
  const char* name() const { return name_; }
  int rank() const { return rank_; }

 private:
  std::mutex mutex_;
  const char* name_;
  int rank_;
};

using MutexLock = std::unique_lock<Mutex>;
using CondVar = std::condition_variable_any;

}  // namespace tarn
