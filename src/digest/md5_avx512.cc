#include "digest/md5_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512VL__)

#include <immintrin.h>

#include "digest/md5_rounds.h"

namespace tarn::digest {
namespace {

// The round functions as truth tables of (b, c, d) for vpternlog: F, G, H, I of RFC 1321.
constexpr int kTruth[4] = {0xca, 0xe4, 0x96, 0x39};

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
  template <int kRound>
  TARN_MD5_INLINE static Vec add_mix(Vec t, Vec b, Vec c, Vec d) {
    return _mm_add_epi32(t, _mm_ternarylogic_epi32(b, c, d, kTruth[kRound]));
  }
  template <int kBits>
  TARN_MD5_INLINE static Vec rotate(Vec x) {
    return _mm_rol_epi32(x, kBits);
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
    return _mm256_add_epi32(t, _mm256_ternarylogic_epi32(b, c, d, kTruth[kRound]));
  }
  template <int kBits>
  TARN_MD5_INLINE static Vec rotate(Vec x) {
    return _mm256_rol_epi32(x, kBits);
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

struct Zmm {
  using Vec = __m512i;
  static constexpr int kLanes = 16;
  TARN_MD5_INLINE static Vec load(const uint32_t* p) { return _mm512_load_si512(p); }
  TARN_MD5_INLINE static void store(uint32_t* p, Vec v) { _mm512_store_si512(p, v); }
  TARN_MD5_INLINE static Vec add(Vec x, Vec y) { return _mm512_add_epi32(x, y); }
  TARN_MD5_INLINE static Vec add_constant(Vec x, uint32_t k) {
    return _mm512_add_epi32(x, _mm512_set1_epi32(static_cast<int>(k)));
  }
  template <int kRound>
  TARN_MD5_INLINE static Vec add_mix(Vec t, Vec b, Vec c, Vec d) {
    return _mm512_add_epi32(t, _mm512_ternarylogic_epi32(b, c, d, kTruth[kRound]));
  }
  template <int kBits>
  TARN_MD5_INLINE static Vec rotate(Vec x) {
    return _mm512_rol_epi32(x, kBits);
  }
  TARN_MD5_INLINE static void copy_line(std::byte* target, const std::byte* source) {
    _mm512_store_si512(target, _mm512_loadu_si512(source));
  }
  TARN_MD5_INLINE static void load_rows(const std::byte* rows, Vec (&row)[4]) {
    for (size_t i = 0; i < 4; ++i) {
      auto at = [&](size_t lane) __attribute__((always_inline)) {
        return _mm_load_si128(reinterpret_cast<const __m128i*>(rows + kMd5BlockBytes * lane));
      };
      Vec v = _mm512_castsi128_si512(at(i));
      v = _mm512_inserti32x4(v, at(i + 4), 1);
      v = _mm512_inserti32x4(v, at(i + 8), 2);
      row[i] = _mm512_inserti32x4(v, at(i + 12), 3);
    }
  }
  TARN_MD5_INLINE static Vec unpack_low32(Vec x, Vec y) { return _mm512_unpacklo_epi32(x, y); }
  TARN_MD5_INLINE static Vec unpack_high32(Vec x, Vec y) { return _mm512_unpackhi_epi32(x, y); }
  TARN_MD5_INLINE static Vec unpack_low64(Vec x, Vec y) { return _mm512_unpacklo_epi64(x, y); }
  TARN_MD5_INLINE static Vec unpack_high64(Vec x, Vec y) { return _mm512_unpackhi_epi64(x, y); }
};

}  // namespace

void md5_blocks_avx512_x4(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Xmm, 1>(states, lanes, blocks);
}
void md5_blocks_avx512_x8(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Ymm, 1>(states, lanes, blocks);
}
void md5_blocks_avx512_x16(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Zmm, 1>(states, lanes, blocks);
}
void md5_blocks_avx512_x32(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Zmm, 2>(states, lanes, blocks);
}

}  // namespace tarn::digest

#endif
