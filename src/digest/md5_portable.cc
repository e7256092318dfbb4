#include <bit>
#include <cstring>

#include "digest/md5_kernels.h"
#include "digest/md5_rounds.h"

namespace tarn::digest {
namespace {

struct Generic4 {
  using Vec = uint32_t __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  TARN_MD5_INLINE static Vec load(const void* p) {
    Vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  TARN_MD5_INLINE static void store(uint32_t* p, Vec v) { std::memcpy(p, &v, sizeof v); }
  TARN_MD5_INLINE static Vec add(Vec x, Vec y) { return x + y; }
  TARN_MD5_INLINE static Vec add_constant(Vec x, uint32_t k) { return x + k; }
  template <int kRound>
  TARN_MD5_INLINE static Vec add_mix(Vec t, Vec b, Vec c, Vec d) {
    if constexpr (kRound == 0) return t + (((c ^ d) & b) ^ d);
    if constexpr (kRound == 1) return t + (~d & c) + (d & b);
    if constexpr (kRound == 2) return t + ((c ^ d) ^ b);
    if constexpr (kRound == 3) return t + ((~d | b) ^ c);
  }
  template <int kBits>
  TARN_MD5_INLINE static Vec rotate(Vec x) {
    return x << kBits | x >> (32 - kBits);
  }
  TARN_MD5_INLINE static void copy_line(std::byte* target, const std::byte* source) {
    std::memcpy(target, source, kMd5BlockBytes);
  }
  TARN_MD5_INLINE static void load_rows(const std::byte* rows, Vec (&row)[4]) {
    for (size_t i = 0; i < 4; ++i) {
      row[i] = load(rows + kMd5BlockBytes * i);
      if constexpr (std::endian::native == std::endian::big) {
        for (int w = 0; w < 4; ++w) row[i][w] = __builtin_bswap32(row[i][w]);
      }
    }
  }
  TARN_MD5_INLINE static Vec unpack_low32(Vec x, Vec y) {
    return __builtin_shufflevector(x, y, 0, 4, 1, 5);
  }
  TARN_MD5_INLINE static Vec unpack_high32(Vec x, Vec y) {
    return __builtin_shufflevector(x, y, 2, 6, 3, 7);
  }
  TARN_MD5_INLINE static Vec unpack_low64(Vec x, Vec y) {
    return __builtin_shufflevector(x, y, 0, 1, 4, 5);
  }
  TARN_MD5_INLINE static Vec unpack_high64(Vec x, Vec y) {
    return __builtin_shufflevector(x, y, 2, 3, 6, 7);
  }
};

constexpr Md5Kernel kPortableKernels[] = {{1, 1.0, md5_blocks_openssl},
                                          {4, 2.7, md5_blocks_portable_x4},
                                          {8, 4.0, md5_blocks_portable_x8}};

#if defined(__x86_64__)
constexpr Md5Kernel kAvx2Kernels[] = {{1, 1.0, md5_blocks_openssl},
                                      {4, 2.7, md5_blocks_avx2_x4},
                                      {8, 4.8, md5_blocks_avx2_x8},
                                      {16, 7.5, md5_blocks_avx2_x16}};
constexpr Md5Kernel kAvx512Kernels[] = {{1, 1.0, md5_blocks_openssl},
                                        {4, 3.3, md5_blocks_avx512_x4},
                                        {8, 7.1, md5_blocks_avx512_x8},
                                        {16, 13.7, md5_blocks_avx512_x16},
                                        {32, 15.0, md5_blocks_avx512_x32}};
#endif

}  // namespace

void md5_blocks_portable_x4(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Generic4, 1>(states, lanes, blocks);
}
void md5_blocks_portable_x8(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  md5_rounds::run<Generic4, 2>(states, lanes, blocks);
}

std::span<const Md5Kernel> md5_kernels(Level level) {
#if defined(__x86_64__)
  if (level == Level::kAvx512) return kAvx512Kernels;
  if (level == Level::kAvx2) return kAvx2Kernels;
#else
  (void)level;
#endif
  return kPortableKernels;
}

}  // namespace tarn::digest
