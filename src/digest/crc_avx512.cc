#include "digest/crc_math.h"

#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__VPCLMULQDQ__)

#include <immintrin.h>

namespace tarn::digest {
namespace {

[[gnu::always_inline]] inline __m512i load(const std::byte* p) {
  return _mm512_loadu_si512(p);
}

[[gnu::always_inline]] inline __m128i pair(const FoldPair& p) {
  return _mm_set_epi64x(static_cast<int64_t>(p.high), static_cast<int64_t>(p.low));
}

[[gnu::always_inline]] inline __m512i fold(__m512i x, __m512i k, __m512i next) {
  __m512i low = _mm512_clmulepi64_epi128(x, k, 0x00);
  __m512i high = _mm512_clmulepi64_epi128(x, k, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);
}

[[gnu::always_inline]] inline __m128i fold(__m128i x, __m128i k, __m128i next) {
  __m128i low = _mm_clmulepi64_si128(x, k, 0x00);
  __m128i high = _mm_clmulepi64_si128(x, k, 0x11);
  return _mm_ternarylogic_epi64(low, high, next, 0x96);
}

/// The four 128-bit quarters of x as one, the first moved by 48 bytes, the second by 32 ...
[[gnu::always_inline]] inline __m128i join_quarters(const FoldConstants& constants, __m512i x) {
  __m512i k = _mm512_castsi128_si512(pair(constants.by_48));
  k = _mm512_inserti32x4(k, pair(constants.by_32), 1);
  k = _mm512_inserti32x4(k, pair(constants.by_16), 2);
  k = _mm512_inserti32x4(k, _mm_setzero_si128(), 3);
  __m512i moved = fold(x, k, _mm512_setzero_si512());
  __m128i last = _mm512_extracti32x4_epi32(x, 3);
  __m128i first_two =
      _mm_xor_si128(_mm512_castsi512_si128(moved), _mm512_extracti32x4_epi32(moved, 1));
  return _mm_ternarylogic_epi64(first_two, _mm512_extracti32x4_epi32(moved, 2), last, 0x96);
}

}  // namespace

Folded crc_fold_avx512(const FoldConstants& constants, uint64_t state, const std::byte* bytes,
                       size_t length) {
  __m512i by_64 = _mm512_broadcast_i32x4(pair(constants.by_64));
  __m512i x = _mm512_xor_si512(
      load(bytes), _mm512_zextsi128_si512(_mm_set_epi64x(0, static_cast<int64_t>(state))));
  bytes += 64;
  length -= 64;
  if (length >= 7 * 64) {
    __m512i by_256 = _mm512_broadcast_i32x4(pair(constants.by_256));
    __m512i lane[4] = {x, load(bytes), load(bytes + 64), load(bytes + 128)};
    bytes += 192;
    length -= 192;
    for (; length >= 256; bytes += 256, length -= 256) {
      for (size_t i = 0; i < 4; ++i) lane[i] = fold(lane[i], by_256, load(bytes + 64 * i));
    }
    x = lane[0];
    for (size_t i = 1; i < 4; ++i) x = fold(x, by_64, lane[i]);
  }
  for (; length >= 64; bytes += 64, length -= 64) x = fold(x, by_64, load(bytes));
  __m128i y = join_quarters(constants, x);
  __m128i by_16 = pair(constants.by_16);
  for (; length >= 16; bytes += 16, length -= 16) {
    y = fold(y, by_16, _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
  return {static_cast<uint64_t>(_mm_cvtsi128_si64(y)),
          static_cast<uint64_t>(_mm_extract_epi64(y, 1))};
}

}  // namespace tarn::digest

#endif
