// Which SIMD instructions the digests use, chosen at run time.
//
// The processor is asked once. `active_level` is the best level that the processor has and that the
// cap allows; md5_lanes and crc ask it at each call. Tests and benches lower the cap with
// ScopedLevelCap so that every code path runs on one machine; nothing else has a reason to. Every
// level gives the same digests. Thread rules: the cap is one atomic of the whole process; work that
// is under way while it changes keeps the level it began with.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tarn::digest {

enum class Level : uint8_t {
  kPortable = 0,  // any processor; GCC's generic vectors (SSE2 on x86-64)
  kAvx2 = 1,      // AVX2 and PCLMULQDQ
  kAvx512 = 2,    // AVX-512 F, BW, VL and VPCLMULQDQ
};

/// "portable", "avx2" or "avx512".
std::string_view level_name(Level level);

/// The levels that this processor has, lowest first; kPortable is always among them.
std::vector<Level> supported_levels();

/// The level that a digest begun now uses.
Level active_level();

/// While it lives, no level above `cap` is used by any thread; then the former cap holds again.
class ScopedLevelCap {
 public:
  explicit ScopedLevelCap(Level cap);
  ~ScopedLevelCap();
  ScopedLevelCap(const ScopedLevelCap&) = delete;
  ScopedLevelCap& operator=(const ScopedLevelCap&) = delete;

 private:
  Level former_;
};

}  // namespace tarn::digest
