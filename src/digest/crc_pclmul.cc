#include "digest/crc_math.h"

#if defined(__PCLMUL__) && defined(__SSE4_1__)

#include <immintrin.h>

namespace tarn::digest {
namespace {

constexpr size_t kLanes = 8;

[[gnu::always_inline]] inline __m128i load(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

[[gnu::always_inline]] inline __m128i pair(const FoldPair& p) {
  return _mm_set_epi64x(static_cast<int64_t>(p.high), static_cast<int64_t>(p.low));
}

[[gnu::always_inline]] inline __m128i fold(__m128i x, __m128i k, __m128i next) {
  __m128i low = _mm_clmulepi64_si128(x, k, 0x00);
  __m128i high = _mm_clmulepi64_si128(x, k, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

}  // namespace

Folded crc_fold_pclmul(const FoldConstants& constants, uint64_t state, const std::byte* bytes,
                       size_t length) {
  __m128i by_16 = pair(constants.by_16);
  __m128i x = _mm_xor_si128(load(bytes), _mm_set_epi64x(0, static_cast<int64_t>(state)));
  bytes += 16;
  length -= 16;
  if (length >= 16 * (2 * kLanes - 1)) {
    // Eight independent chains hide the multiplier's latency of 6 to 7 cycles.
    __m128i by_128 = pair(constants.by_128);
    __m128i lane[kLanes] = {x};
    for (size_t i = 1; i < kLanes; ++i) lane[i] = load(bytes + 16 * (i - 1));
    bytes += 16 * (kLanes - 1);
    length -= 16 * (kLanes - 1);
    for (; length >= 16 * kLanes; bytes += 16 * kLanes, length -= 16 * kLanes) {
      for (size_t i = 0; i < kLanes; ++i) lane[i] = fold(lane[i], by_128, load(bytes + 16 * i));
    }
    x = lane[0];
    for (size_t i = 1; i < kLanes; ++i) x = fold(x, by_16, lane[i]);
  }
  for (; length >= 16; bytes += 16, length -= 16) x = fold(x, by_16, load(bytes));
  return {static_cast<uint64_t>(_mm_cvtsi128_si64(x)),
          static_cast<uint64_t>(_mm_extract_epi64(x, 1))};
}

}  // namespace tarn::digest

#endif
