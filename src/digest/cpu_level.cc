#include "digest/cpu_level.h"

#include <algorithm>
#include <atomic>

namespace tarn::digest {
namespace {

std::atomic<Level> level_cap{Level::kAvx512};

Level detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("pclmul") &&
                  __builtin_cpu_supports("sse4.1");
  bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vpclmulqdq");
  if (has_avx2 && has_avx512) return Level::kAvx512;
  if (has_avx2) return Level::kAvx2;
#endif
  return Level::kPortable;
}

Level detected_level() {
  static const Level level = detect();
  return level;
}

}  // namespace

std::string_view level_name(Level level) {
  switch (level) {
    case Level::kPortable:
      return "portable";
    case Level::kAvx2:
      return "avx2";
    case Level::kAvx512:
      return "avx512";
  }
  return "unknown";
}

std::vector<Level> supported_levels() {
  std::vector<Level> levels;
  for (Level level : {Level::kPortable, Level::kAvx2, Level::kAvx512}) {
    if (level <= detected_level()) levels.push_back(level);
  }
  return levels;
}

Level active_level() {
  return std::min(detected_level(), level_cap.load(std::memory_order_relaxed));
}

ScopedLevelCap::ScopedLevelCap(Level cap) : former_(level_cap.exchange(cap)) {}

ScopedLevelCap::~ScopedLevelCap() {
  level_cap.store(former_);
}

}  // namespace tarn::digest
