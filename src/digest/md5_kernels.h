// The MD5 compression functions behind md5_lanes, one table of them a level. Internal to the room.
//
// A kernel runs `blocks` blocks of 64 bytes on each of its first `width` lanes at once. It knows
// nothing of padding, lengths or ends of streams; md5_lanes does that. Thread rules: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "digest/cpu_level.h"

namespace tarn::digest {

inline constexpr size_t kMd5LanesMax = 32;
inline constexpr size_t kMd5BlockBytes = 64;

/// The chaining values of all lanes: word[0] is every lane's A, then B, C, D.
struct alignas(64) Md5States {
  uint32_t word[4][kMd5LanesMax];
};

/// Processes `blocks` >= 1 blocks from each of lanes[0 .. width-1], which may coincide.
using Md5BlocksFn = void (*)(Md5States& states, const std::byte* const* lanes, size_t blocks);

struct Md5Kernel {
  size_t width;
  // Bytes a second over all lanes, as a multiple of one OpenSSL stream, measured on an Ice Lake
  // server; only ratios of these matter, and only to the choice of a width.
  double speed;
  Md5BlocksFn run;
};

/// The kernels of one level in growing width; the first has width 1 and is OpenSSL's.
std::span<const Md5Kernel> md5_kernels(Level level);

void md5_blocks_openssl(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_portable_x4(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_portable_x8(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_avx2_x4(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_avx2_x8(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_avx2_x16(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_avx512_x4(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_avx512_x8(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_avx512_x16(Md5States& states, const std::byte* const* lanes, size_t blocks);
void md5_blocks_avx512_x32(Md5States& states, const std::byte* const* lanes, size_t blocks);

}  // namespace tarn::digest
