// Time, reached through an interface so that tests can own it.
//
// Wall-clock times are nanoseconds since 1970-01-01 UTC in an int64_t (good from 1677 to 2262);
// spans are nanoseconds too. Thread-safe.
#pragma once

#include <cstdint>
#include <ctime>

namespace tarn {

using TimeNs = int64_t;
inline constexpr TimeNs kSecondNs = 1'000'000'000;
inline constexpr TimeNs kMillisecondNs = 1'000'000;

class Clock {
 public:
  virtual ~Clock() = default;
  /// Wall clock, nanoseconds since the epoch.
  virtual TimeNs now() = 0;
  /// Monotonic clock, nanoseconds since some fixed point.
  virtual TimeNs monotonic() = 0;
  /// The machine's clocks.
  static Clock& system();
};

/// A clock that moves only when told.
class ManualClock : public Clock {
 public:
  TimeNs now() override { return now_; }
  TimeNs monotonic() override { return now_; }
  void advance(TimeNs span) { now_ += span; }
  void set(TimeNs now) { now_ = now; }

 private:
  TimeNs now_ = 1'700'000'000 * kSecondNs;
};

constexpr timespec to_timespec(TimeNs time) {
  TimeNs seconds = time / kSecondNs, rest = time % kSecondNs;
  if (rest < 0) {
    rest += kSecondNs;
    --seconds;
  }
  return timespec{static_cast<time_t>(seconds), static_cast<long>(rest)};
}
constexpr TimeNs from_timespec(const timespec& t) {
  return static_cast<TimeNs>(t.tv_sec) * kSecondNs + t.tv_nsec;
}

}  // namespace tarn
