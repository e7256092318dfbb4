#include "digest/md5_kernels.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include "digest/md5_rounds.h"

namespace tarn::digest {
namespace {

struct Xmm {
  using Vec = __m128i;
  static constexpr int kLanes = 4;
  TARN_MD5_INLINE static Vec load(const uint32_t* p) {
    return _mm_load_si128(reinterpret_cast<const Vec*>(p));
  }
  TARN_MD5_INLINE static void store(uint32_t* p, Vec v) {
    _mm_store_si128(reinterpret_cast<Vec*>(p), v);
  }
  TARN_MD5_INLINE static Vec add(Vec x, Vec y) { return _mm_add_epi32(x, y); }
  TARN_MD5_INLINE static Vec add_constant(Vec x, uint32_t k) {
    return _mm_add_epi32(x, _mm_set1_epi32(static_cast<int>(k)));
  }
  // Written so that as little as possible waits for b, which the step before has just made.
  template <int kRound>
  TARN_MD5_INLINE static Vec add_mix(Vec t, Vec b, Vec c, Vec d) {
    if constexpr (kRound == 0)
      return add(t, _mm_xor_si128(_mm_and_si128(_mm_xor_si128(c, d), b), d));
    if constexpr (kRound == 1) return add(add(t, _mm_andnot_si128(d, c)), _mm_and_si128(d, b));
    if constexpr (kRound == 2) return add(t, _mm_xor_si128(_mm_xor_si128(c, d), b));
    if constexpr (kRound == 3) {
      Vec not_d = _mm_xor_si128(d, _mm_set1_epi32(-1));
      return add(t, _mm_xor_si128(_mm_or_si128(not_d, b), c));
    }
  }
  template <int kBits>
  TARN_MD5_INLINE static Vec rotate(Vec x) {
    return _mm_or_si128(_mm_slli_epi32(x, kBits), _mm_srli_epi32(x, 32 - kBits));
  }
  TARN_MD5_INLINE static void copy_line(std::byte* target, const std::byte* source) {
    for (int i = 0; i < 4; ++i) {
      _mm_store_si128(reinterpret_cast<Vec*>(target) + i,
                      _mm_loadu_si128(reinterpret_cast<const Vec*>(source) + i));
    }
  }
  TARN_MD5_INLINE static void load_rows(const std::byte* rows, Vec (&row)[4]) {
    for (size_t i = 0; i < 4; ++i) {
      row[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(rows + kMd5BlockBytes * i));
    }
  }
  TARN_MD5_INLINE static Vec unpack_low32(Vec x, Vec y) { return _mm_unpacklo_epi32(x, y); }
  TARN_MD5_INLINE static Vec unpack_high32(Vec x, Vec y) { return _mm_unpackhi_epi32(x, y); }
  TARN_MD5_INLINE static Vec unpack_low64(Vec x, Vec y) { return _mm_unpacklo_epi64(x, y); }
  TARN_MD5_INLINE static Vec unpack_high64(Vec x, Vec y) { return _mm_unpackhi_epi64(x, y); }
};

struct Ymm {
  using Vec = __m256i;
  static constexpr int kLanes = 8;
  TARN_MD5_INLINE static Vec load(const uint32_t* p) {
    return _mm256_load_si256(reinterpret_cast<const Vec*>(p));
  }
  TARN_MD5_INLINE static void store(uint32_t* p, Vec v) {
    _mm256_store_si256(reinterpret_cast<Vec*>(p), v);
  }
  TARN_MD5_INLINE static Vec add(Vec x, Vec y) { return _mm256_add_epi32(x, y); }
  TARN_MD5_INLINE static Vec add_constant(Vec x, uint32_t k) {
    return _mm256_add_epi32(x, _mm256_set1_epi32(static_cast<int>(k)));
  }
  template <int kRound>
  TARN_MD5_INLINE static Vec add_mix(Vec t, Vec b, Vec c, Vec d) {
    if constexpr (kRound == 0) {
      return add(t, _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(c, d), b), d));
    }
    if constexpr (kRound == 1) {
      return add(add(t, _mm256_andnot_si256(d, c)), _mm256_and_si256(d, b));
    }
    if constexpr (kRound == 2) return add(t, _mm256_xor_si256(_mm256_xor_si256(c, d), b));
    if constexpr (kRound == 3) {
      Vec not_d = _mm256_xor_si256(d, _mm256_set1_epi32(-1));
      return add(t, _mm256_xor_si256(_mm256_or_si256(not_d, b), c));
    }
  }
  template <int kBits>
  TARN_MD5_INLINE static Vec rotate(Vec x) {
    return _mm256_or_si256(_mm256_slli_epi32(x, kBits), _mm256_srli_epi32(x, 32 - kBits));
  }
  TARN_MD5_INLINE static void copy_line(std::byte* target, const std::byte* source) {
    for (int i = 0; i < 2; ++i) {
      _mm256_store_si256(reinterpret_cast<Vec*>(target) + i,
                         _mm256_loadu_si256(reinterpret_cast<const Vec*>(source) + i));
    }
  }
  TARN_MD5_INLINE static void load_rows(const std::byte* rows, Vec (&row)[4]) {
    for (size_t i = 0; i < 4; ++i) {
      auto at = [&](size_t lane) __attribute__((always_inline)) {
        return _mm_load_si128(reinterpret_cast<const __m128i*>(rows + kMd5BlockBytes * lane));
      };
      row[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(at(i)), at(i + 4), 1);
    }
  }
  TARN_MD5_INLINE static Vec unpack_low32(Vec x, Vec y) { return _mm256_unpacklo_epi32(x, y); }
  TARN_MD5_INLINE static Vec unpack_high32(Vec x, Vec y) { return _mm256_unpackhi_epi32(x, y); }
  TARN_MD5_INLINE static Vec unpack_low64(Vec x, Vec y) { return _mm256_unpacklo_epi64(x, y); }
  TARN_MD5_INLINE static Vec unpack_high64(Vec x, Vec y) { return _mm256_unpackhi_epi64(x, y); }
};

}  // namespace

void md5_blocks_avx2_x4(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Xmm, 1>(states, lanes, blocks);
}
void md5_blocks_avx2_x8(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Ymm, 1>(states, lanes, blocks);
}
void md5_blocks_avx2_x16(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Ymm, 2>(states, lanes, blocks);
}

}  // namespace tarn::digest

#endif
