// Arithmetic of reflected CRCs modulo their polynomial, at compile time where it makes tables.
// Internal to the room.
//
// A polynomial over GF(2) of degree below kBits is a word whose highest bit (1 << (kBits - 1)) is
// x^0 and whose lowest is x^(kBits - 1): the order in which a reflected CRC meets its bits.
// Thread rules: pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tarn::digest {

template <class Word, Word kReflectedPolynomial>
struct CrcMath {
  static constexpr int kBits = 8 * sizeof(Word);
  static constexpr Word kOne = Word{1} << (kBits - 1);

  static constexpr Word times_x(Word a) {
    return static_cast<Word>(a >> 1 ^ ((a & 1) != 0 ? kReflectedPolynomial : Word{0}));
  }
  static constexpr Word multiply(Word a, Word b) {
    Word product = 0;
    for (Word bit = kOne; bit != 0; bit >>= 1) {
      // Without a branch, as the bits of a are as good as random.
      product ^= static_cast<Word>(b & (Word{0} - static_cast<Word>((a & bit) != 0)));
      b = times_x(b);
    }
    return product;
  }
  /// x^exponent.
  static constexpr Word power(uint64_t exponent) {
    Word result = kOne;
    Word square = kOne >> 1;
    for (; exponent != 0; exponent >>= 1) {
      if ((exponent & 1) != 0) result = multiply(result, square);
      square = multiply(square, square);
    }
    return result;
  }
  /// x^(2^k) for every k that the bit length of a byte string can have.
  static constexpr std::array<Word, 67> make_squares() {
    std::array<Word, 67> squares{};
    squares[0] = kOne >> 1;
    for (size_t k = 1; k < squares.size(); ++k) {
      squares[k] = multiply(squares[k - 1], squares[k - 1]);
    }
    return squares;
  }
  /// tables[k][b]: the effect of byte b with k more bytes after it (slicing by 8).
  static constexpr std::array<std::array<Word, 256>, 8> make_tables() {
    std::array<std::array<Word, 256>, 8> tables{};
    for (size_t b = 0; b < 256; ++b) {
      Word crc = static_cast<Word>(b);
      for (int bit = 0; bit < 8; ++bit) crc = times_x(crc);
      tables[0][b] = crc;
    }
    for (size_t k = 1; k < 8; ++k) {
      for (size_t b = 0; b < 256; ++b) {
        Word before = tables[k - 1][b];
        tables[k][b] = static_cast<Word>(before >> 8 ^ tables[0][before & 0xff]);
      }
    }
    return tables;
  }
};

/// The two multipliers that move 128 bits forward by `distance` bits: `low` for the first 8 bytes,
/// `high` for the last 8.
struct FoldPair {
  uint64_t low;
  uint64_t high;
};

/// A carry-less product of two reflected 64-bit words is one bit too short for its 128-bit register
/// (it reads as x times the product), hence the - 1 in the exponents.
template <class Math>
constexpr FoldPair make_fold_pair(uint64_t distance) {
  constexpr int shift = 64 - Math::kBits;
  return {static_cast<uint64_t>(Math::power(distance + 64 - 1)) << shift,
          static_cast<uint64_t>(Math::power(distance - 1)) << shift};
}

/// What a folding kernel needs to know of a polynomial, by distance in bytes.
struct FoldConstants {
  FoldPair by_256, by_128, by_64, by_48, by_32, by_16;
};

template <class Math>
constexpr FoldConstants make_fold_constants() {
  return {make_fold_pair<Math>(8 * 256), make_fold_pair<Math>(8 * 128),
          make_fold_pair<Math>(8 * 64),  make_fold_pair<Math>(8 * 48),
          make_fold_pair<Math>(8 * 32),  make_fold_pair<Math>(8 * 16)};
}

/// 16 bytes that leave the same CRC as all that were folded into them.
struct Folded {
  uint64_t low;
  uint64_t high;
};

/// Folds `length` bytes (a multiple of 16, at least the kernel's minimum) that are preceded by a
/// CRC register of `state`.
using FoldFn = Folded (*)(const FoldConstants& constants, uint64_t state, const std::byte* bytes,
                          size_t length);

inline constexpr size_t kFoldPclmulBytesMin = 16;
inline constexpr size_t kFoldAvx512BytesMin = 64;
Folded crc_fold_pclmul(const FoldConstants& constants, uint64_t state, const std::byte* bytes,
                       size_t length);
Folded crc_fold_avx512(const FoldConstants& constants, uint64_t state, const std::byte* bytes,
                       size_t length);

}  // namespace tarn::digest
