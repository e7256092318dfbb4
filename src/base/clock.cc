#include "base/clock.h"

namespace tarn {
namespace {

class SystemClock final : public Clock {
 public:
  // The kernel's file systems stamp with the coarse clock. With the same one, a file's creation
  // never seems later than a write to its backing file that came after it.
  TimeNs now() override { return read(CLOCK_REALTIME_COARSE); }
  TimeNs monotonic() override { return read(CLOCK_MONOTONIC); }

 private:
  static TimeNs read(clockid_t id) {
    timespec t{};
    clock_gettime(id, &t);
    return from_timespec(t);
  }
};

}  // namespace

Clock& Clock::system() {
  static SystemClock clock;
  return clock;
}

}  // namespace tarn
