// MD5's 64 steps over vectors of lanes, once for all instruction sets. Internal to the room.
//
// `V` says what a vector is: its type Vec, kLanes 32-bit lanes, load, store, add, rotate, the round
// functions, and `load_rows`. `G` groups of V run interleaved, which hides the latency of the chain
// of additions. While a block is computed the next one is transposed from rows (bytes of a lane)
// into columns (one message word of every lane), a quarter of a group at a time, between steps.
//
// Each kernel file is compiled for its own processor, so V lives in an anonymous namespace there:
// that gives every function made from these templates internal linkage, and no code that needs
// AVX-512 can be picked by the linker for other files. Formulas: RFC 1321.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "digest/md5_kernels.h"

#define TARN_MD5_INLINE [[gnu::always_inline]] inline

namespace tarn::digest::md5_rounds {

inline constexpr uint32_t kSine[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};
inline constexpr int kRotate[4][4] = {
    {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
inline constexpr int kWordFactor[4] = {1, 5, 3, 7};
inline constexpr int kWordOffset[4] = {0, 1, 5, 0};

/// How far ahead of the line being copied each lane is prefetched: 32 lanes are more streams than
/// hardware prefetchers follow.
inline constexpr size_t kPrefetchBytes = 512;

/// Copies the 64 bytes at `offset` of lanes [kFirst, kFirst + kCount) to their rows. Each line of
/// each lane is touched once, so lanes that lie a multiple of the cache's size apart do not evict
/// one another between two uses.
template <class V, int kFirst, int kCount>
TARN_MD5_INLINE void copy_rows(const std::byte* const* lanes, size_t offset, std::byte* rows) {
  for (int lane = kFirst; lane < kFirst + kCount; ++lane) {
    const std::byte* line = lanes[lane] + offset;
    __builtin_prefetch(line + kPrefetchBytes);
    V::copy_line(rows + size_t{kMd5BlockBytes} * static_cast<size_t>(lane), line);
  }
}

/// Turns bytes [16 q, 16 q + 16) of every row of group g into the words 4 q .. 4 q + 3, where
/// kSlice = q * G + g.
template <class V, int G, int kSlice>
TARN_MD5_INLINE void transpose_slice(const std::byte* rows, typename V::Vec* words) {
  using Vec = typename V::Vec;
  constexpr int q = kSlice / G, g = kSlice % G;
  Vec row[4];
  V::load_rows(rows + size_t{kMd5BlockBytes} * V::kLanes * g + size_t{16} * q, row);
  Vec t0 = V::unpack_low32(row[0], row[1]), t1 = V::unpack_high32(row[0], row[1]);
  Vec t2 = V::unpack_low32(row[2], row[3]), t3 = V::unpack_high32(row[2], row[3]);
  words[(4 * q + 0) * G + g] = V::unpack_low64(t0, t2);
  words[(4 * q + 1) * G + g] = V::unpack_high64(t0, t2);
  words[(4 * q + 2) * G + g] = V::unpack_low64(t1, t3);
  words[(4 * q + 3) * G + g] = V::unpack_high64(t1, t3);
}

template <class V, int G, int kStep>
TARN_MD5_INLINE void step(typename V::Vec (&state)[4][G], const typename V::Vec* words) {
  constexpr int round = kStep / 16;
  constexpr int a = (4 - kStep % 4) % 4, b = (a + 1) % 4, c = (a + 2) % 4, d = (a + 3) % 4;
  constexpr int word = (kWordFactor[round] * kStep + kWordOffset[round]) % 16;
  for (int g = 0; g < G; ++g) {
    auto t = V::add(V::add_constant(state[a][g], kSine[kStep]), words[word * G + g]);
    t = V::template add_mix<round>(t, state[b][g], state[c][g], state[d][g]);
    state[a][g] = V::add(V::template rotate<kRotate[round][kStep % 4]>(t), state[b][g]);
  }
}

/// The bytes of a block on their way into words.
template <class V, int G>
struct alignas(64) Stage {
  std::byte rows[kMd5BlockBytes * V::kLanes * G];
  typename V::Vec words[16 * G];
};

/// The 64 steps over `now`, and between them the transposition of `next` and the copying of the
/// rows after that, at `rows_offset`, into `now`, whose own rows are words by then.
template <class V, int G, bool kHasNext, int... kSteps>
TARN_MD5_INLINE void block(typename V::Vec (&state)[4][G], Stage<V, G>& now, Stage<V, G>& next,
                           const std::byte* const* lanes, size_t rows_offset,
                           std::integer_sequence<int, kSteps...> /*steps*/) {
  constexpr int kSliceEvery = 16 / G;
  constexpr int kLanes = G * V::kLanes;
  constexpr int kCopyEvery = kLanes < 16 ? 64 / kLanes : 4;
  constexpr int kCopyLanes = kLanes * kCopyEvery / 64;
  (
      [&]() __attribute__((always_inline)) {
        if constexpr (kHasNext && kSteps % kSliceEvery == 0) {
          transpose_slice<V, G, kSteps / kSliceEvery>(next.rows, next.words);
        }
        if constexpr (kHasNext && kSteps % kCopyEvery == 0) {
          copy_rows<V, kSteps / kCopyEvery * kCopyLanes, kCopyLanes>(lanes, rows_offset, now.rows);
        }
        step<V, G, kSteps>(state, now.words);
      }(),
      ...);
}

template <class V, int G, int... kSlices>
TARN_MD5_INLINE void transpose(Stage<V, G>& stage,
                               std::integer_sequence<int, kSlices...> /*slices*/) {
  (transpose_slice<V, G, kSlices>(stage.rows, stage.words), ...);
}

/// The kernel of width G * V::kLanes; see Md5BlocksFn.
template <class V, int G>
TARN_MD5_INLINE void run(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  using Vec = typename V::Vec;
  constexpr auto steps = std::make_integer_sequence<int, 64>{};
  Stage<V, G> stages[2];
  Vec state[4][G];
  for (int w = 0; w < 4; ++w) {
    for (int g = 0; g < G; ++g) state[w][g] = V::load(&states.word[w][g * V::kLanes]);
  }
  Stage<V, G>* now = &stages[0];
  Stage<V, G>* next = &stages[1];
  size_t last_offset = (blocks - 1) * kMd5BlockBytes;
  copy_rows<V, 0, G * V::kLanes>(lanes, 0, now->rows);
  transpose(*now, std::make_integer_sequence<int, 4 * G>{});
  if (blocks > 1) copy_rows<V, 0, G * V::kLanes>(lanes, kMd5BlockBytes, next->rows);
  for (size_t offset = 0; offset <= last_offset; offset += kMd5BlockBytes) {
    Vec former[4][G];
    for (int w = 0; w < 4; ++w) {
      for (int g = 0; g < G; ++g) former[w][g] = state[w][g];
    }
    if (offset < last_offset) {
      size_t after_next = offset + 2 * kMd5BlockBytes;
      block<V, G, true>(state, *now, *next, lanes,
                        after_next < last_offset ? after_next : last_offset, steps);
    } else {
      block<V, G, false>(state, *now, *next, lanes, 0, steps);
    }
    for (int w = 0; w < 4; ++w) {
      for (int g = 0; g < G; ++g) state[w][g] = V::add(state[w][g], former[w][g]);
    }
    Stage<V, G>* done = now;
    now = next;
    next = done;
  }
  for (int w = 0; w < 4; ++w) {
    for (int g = 0; g < G; ++g) V::store(&states.word[w][g * V::kLanes], state[w][g]);
  }
}

}  // namespace tarn::digest::md5_rounds
