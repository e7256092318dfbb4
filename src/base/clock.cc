#include "base/clock.h"

namespace tarn {
namespace {

class SystemClock final : public Clock {
 public:
  TimeNs now() override { return read(CLOCK_REALTIME); }
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
