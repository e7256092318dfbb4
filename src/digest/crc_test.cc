#include "digest/crc.h"

#include <random>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <zlib.h>

#include "base/file.h"
#include "digest/cpu_level.h"

namespace tarn::digest {
namespace {

using Bytes = std::span<const std::byte>;

/// The definition: one bit at a time.
uint64_t bitwise(Bytes bytes, uint64_t reflected_polynomial, int bits) {
  uint64_t ones = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  uint64_t state = ones;
  for (std::byte b : bytes) {
    state ^= static_cast<uint64_t>(b);
    for (int i = 0; i < 8; ++i) state = state >> 1 ^ ((state & 1) != 0 ? reflected_polynomial : 0);
  }
  return state ^ ones;
}

/// One of the three CRCs behind one signature.
struct Kind {
  const char* name;
  uint64_t polynomial;
  int bits;
  uint64_t check;
  uint64_t (*update)(Bytes, uint64_t);
  uint64_t (*combine)(uint64_t, uint64_t, uint64_t);
};

const Kind kKinds[] = {
    {"crc32", 0xedb88320, 32, 0xcbf43926,
     [](Bytes b, uint64_t c) -> uint64_t { return crc32(b, static_cast<uint32_t>(c)); },
     [](uint64_t a, uint64_t b, uint64_t n) -> uint64_t {
       return crc32_combine(static_cast<uint32_t>(a), static_cast<uint32_t>(b), n);
     }},
    {"crc32c", 0x82f63b78, 32, 0xe3069283,
     [](Bytes b, uint64_t c) -> uint64_t { return crc32c(b, static_cast<uint32_t>(c)); },
     [](uint64_t a, uint64_t b, uint64_t n) -> uint64_t {
       return crc32c_combine(static_cast<uint32_t>(a), static_cast<uint32_t>(b), n);
     }},
    {"crc64nvme", 0x9a6c9329ac4bc9b5, 64, 0xae8b14860a799888, crc64nvme, crc64nvme_combine},
};

std::vector<std::byte> random_bytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> out(count);
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  return out;
}

class CrcAtLevel : public testing::TestWithParam<Level> {
 protected:
  ScopedLevelCap cap_{GetParam()};
};

TEST_P(CrcAtLevel, GivesTheCheckValues) {
  ASSERT_EQ(active_level(), GetParam());
  for (const Kind& kind : kKinds) {
    EXPECT_EQ(kind.update(as_bytes("123456789"), 0), kind.check) << kind.name;
    EXPECT_EQ(kind.update({}, 0), 0u) << kind.name;
    EXPECT_EQ(kind.update({}, 0x1234), 0x1234u) << kind.name;
  }
}

TEST_P(CrcAtLevel, EqualsTheBitwiseCrcAtEveryLengthAndAlignment) {
  std::vector<std::byte> data = random_bytes(4096 + 64, 1);
  for (const Kind& kind : kKinds) {
    for (size_t length = 0; length <= 1100; ++length) {
      Bytes bytes = Bytes(data).subspan(length % 17, length);
      ASSERT_EQ(kind.update(bytes, 0), bitwise(bytes, kind.polynomial, kind.bits))
          << kind.name << " of " << length << " bytes";
    }
    for (size_t length = 1101; length <= 4096; length += 97) {
      Bytes bytes = Bytes(data).subspan(length % 61, length);
      ASSERT_EQ(kind.update(bytes, 0), bitwise(bytes, kind.polynomial, kind.bits))
          << kind.name << " of " << length << " bytes";
    }
  }
}

TEST_P(CrcAtLevel, ContinuesOverRandomSplits) {
  std::mt19937 random(2);
  std::vector<std::byte> data = random_bytes(20'000, 3);
  for (const Kind& kind : kKinds) {
    uint64_t whole = bitwise(data, kind.polynomial, kind.bits);
    for (int round = 0; round < 100; ++round) {
      uint64_t crc = 0;
      for (Bytes rest = data; !rest.empty();) {
        size_t count = std::min<size_t>(rest.size(), random() % 3000);
        crc = kind.update(rest.first(count), crc);
        rest = rest.subspan(count);
      }
      ASSERT_EQ(crc, whole) << kind.name;
    }
  }
}

TEST_P(CrcAtLevel, AgreesWithZlibOnLongInput) {
  std::vector<std::byte> data = random_bytes(1'000'003, 4);
  EXPECT_EQ(crc32(data), ::crc32(0, reinterpret_cast<const Bytef*>(data.data()),
                                 static_cast<uInt>(data.size())));
}

INSTANTIATE_TEST_SUITE_P(Levels, CrcAtLevel, testing::ValuesIn(supported_levels()),
                         [](const auto& test) { return std::string(level_name(test.param)); });

TEST(CrcCombine, EqualsTheCrcOfBothParts) {
  std::mt19937 random(5);
  std::vector<std::byte> data = random_bytes(30'000, 6);
  for (const Kind& kind : kKinds) {
    for (int round = 0; round < 300; ++round) {
      size_t length = random() % data.size(), split = random() % (length + 1);
      Bytes a = Bytes(data).first(split), b = Bytes(data).subspan(split, length - split);
      ASSERT_EQ(kind.combine(kind.update(a, 0), kind.update(b, 0), b.size()),
                kind.update(Bytes(data).first(length), 0))
          << kind.name << " of " << split << " + " << b.size();
    }
    EXPECT_EQ(kind.combine(0, 0x55, 7), kind.update({}, 0) ^ 0x55) << kind.name;
    EXPECT_EQ(kind.combine(0x77, 0, 0), 0x77u) << kind.name;
  }
}

TEST(CrcCombine, HoldsForLengthsBeyondMemory) {
  // 2^50 zero bytes by doubling, against a split of them at an odd place.
  for (const Kind& kind : kKinds) {
    auto zeros = [&](uint64_t count) {
      const std::byte zero{0};
      uint64_t power = kind.update(Bytes(&zero, 1), 0), crc = 0, length = 1;
      for (; count != 0; count >>= 1) {
        if ((count & 1) != 0) crc = kind.combine(crc, power, length);
        power = kind.combine(power, power, length);
        length *= 2;
      }
      return crc;
    };
    uint64_t all = uint64_t{1} << 50, first = 0x123456789ab;
    EXPECT_EQ(kind.combine(zeros(first), zeros(all - first), all - first), zeros(all)) << kind.name;
    std::vector<std::byte> some(100'000);
    EXPECT_EQ(zeros(some.size()), kind.update(some, 0)) << kind.name;
  }
}

}  // namespace
}  // namespace tarn::digest
