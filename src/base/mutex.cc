#include "base/mutex.h"

#include <vector>

#include <fmt/format.h>

#include "base/check.h"

namespace tarn {
namespace {

#ifndef NDEBUG
thread_local std::vector<const Mutex*> held;

void assert_order(const Mutex& next) {
  for (const Mutex* m : held) {
    CHECK(m->rank() < next.rank(),
          fmt::format("locking '{}' (rank {}) while holding '{}' (rank {})", next.name(),
                      next.rank(), m->name(), m->rank()));
  }
}
void note_locked(const Mutex& m) {
  held.push_back(&m);
}
void note_unlocked(const Mutex& m) {
  std::erase(held, &m);
}
#else
void assert_order(const Mutex&) {}
void note_locked(const Mutex&) {}
void note_unlocked(const Mutex&) {}
#endif

}  // namespace

void Mutex::lock() {
  assert_order(*this);
  mutex_.lock();
  note_locked(*this);
}

bool Mutex::try_lock() {
  if (!mutex_.try_lock()) return false;
  note_locked(*this);
  return true;
}

void Mutex::unlock() {
  note_unlocked(*this);
  mutex_.unlock();
}

}  // namespace tarn
