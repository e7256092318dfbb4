#include "digest/crc.h"

#include <bit>
#include <cstring>

#include "digest/cpu_level.h"
#include "digest/crc_math.h"

namespace tarn::digest {
namespace {

/// Below this the folding kernels' way in and out costs more than the tables.
constexpr size_t kFoldBytesMin = 64;
static_assert(kFoldBytesMin >= kFoldPclmulBytesMin && kFoldBytesMin >= kFoldAvx512BytesMin);

FoldFn fold_function() {
#if defined(__x86_64__)
  switch (active_level()) {
    case Level::kAvx512:
      return crc_fold_avx512;
    case Level::kAvx2:
      return crc_fold_pclmul;
    case Level::kPortable:
      break;
  }
#endif
  return nullptr;
}

uint64_t load_le64(const std::byte* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  if constexpr (std::endian::native == std::endian::big) v = __builtin_bswap64(v);
  return v;
}

template <class Word, Word kReflectedPolynomial>
struct Crc {
  using Math = CrcMath<Word, kReflectedPolynomial>;
  static constexpr auto kTables = Math::make_tables();
  static constexpr auto kSquares = Math::make_squares();
  static constexpr FoldConstants kFold = make_fold_constants<Math>();

  /// The register after 8 bytes, given as a little-endian word that the register is xored into.
  static Word after_8(uint64_t v) {
    Word crc = 0;
#pragma GCC unroll 8
    for (size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][v >> (8 * k) & 0xff];
    return crc;
  }

  static Word by_tables(Word state, const std::byte* p, size_t length) {
    for (; length >= 8; p += 8, length -= 8) state = after_8(load_le64(p) ^ state);
    for (; length != 0; ++p, --length) {
      Word at = (state ^ static_cast<Word>(*p)) & 0xff;
      state = static_cast<Word>(state >> 8 ^ kTables[0][at]);
    }
    return state;
  }

  static Word update(std::span<const std::byte> bytes, Word crc) {
    Word state = static_cast<Word>(~crc);
    const std::byte* p = bytes.data();
    size_t length = bytes.size();
    if (length >= kFoldBytesMin) {
      if (FoldFn fold = fold_function(); fold != nullptr) {
        size_t folded_length = length & ~size_t{15};
        Folded folded = fold(kFold, state, p, folded_length);
        state = after_8(folded.low);
        state = after_8(folded.high ^ state);
        p += folded_length;
        length -= folded_length;
      }
    }
    return static_cast<Word>(~by_tables(state, p, length));
  }

  static Word combine(Word crc_a, Word crc_b, uint64_t length_b) {
    // crc_a moved over length_b zero bytes; the inversions at the seam cancel.
    for (size_t k = 3; length_b != 0; ++k, length_b >>= 1) {
      if ((length_b & 1) != 0) crc_a = Math::multiply(crc_a, kSquares[k]);
    }
    return crc_a ^ crc_b;
  }
};

using Crc32 = Crc<uint32_t, 0xedb88320>;
using Crc32c = Crc<uint32_t, 0x82f63b78>;
using Crc64Nvme = Crc<uint64_t, 0x9a6c9329ac4bc9b5>;

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc) {
  return Crc32::update(bytes, crc);
}
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc) {
  return Crc32c::update(bytes, crc);
}
uint64_t crc64nvme(std::span<const std::byte> bytes, uint64_t crc) {
  return Crc64Nvme::update(bytes, crc);
}

uint32_t crc32_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b) {
  return Crc32::combine(crc_a, crc_b, length_b);
}
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b) {
  return Crc32c::combine(crc_a, crc_b, length_b);
}
uint64_t crc64nvme_combine(uint64_t crc_a, uint64_t crc_b, uint64_t length_b) {
  return Crc64Nvme::combine(crc_a, crc_b, length_b);
}

}  // namespace tarn::digest
