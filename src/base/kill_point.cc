#include "base/kill_point.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace tarn::detail {
namespace {

struct Target {
  std::string name;
  long pass = 1;
};

const Target& target() {
  static const Target made = [] {
    Target t;
    const char* value = std::getenv("TARN_KILL_POINT");
    if (value == nullptr) return t;
    t.name = value;
    if (size_t colon = t.name.find(':'); colon != std::string::npos) {
      t.pass = std::atol(t.name.c_str() + colon + 1);
      t.name.resize(colon);
    }
    return t;
  }();
  return made;
}

}  // namespace

const bool kill_points_on = std::getenv("TARN_KILL_POINT") != nullptr;

void kill_point_passed(std::string_view name) {
  static std::atomic<long> passes{0};
  if (name != target().name) return;
  if (passes.fetch_add(1) + 1 == target().pass) {
    ::kill(::getpid(), SIGKILL);
    ::pause();
  }
}

}  // namespace tarn::detail
