#include "digest/digest.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "base/file.h"
#include "digest/cpu_level.h"
#include "digest/crc.h"

namespace tarn::digest {
namespace {

using Bytes = std::span<const std::byte>;

std::vector<std::byte> random_bytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> out(count);
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  return out;
}

Digest by_evp(Algorithm algorithm, const char* method, Bytes bytes) {
  std::vector<std::byte> out(digest_bytes(algorithm));
  EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(out.data()),
                       nullptr, EVP_get_digestbyname(method), nullptr),
            1);
  return {algorithm, out};
}

TEST(Digest, GivesThePublishedVectors) {
  EXPECT_EQ(md5(as_bytes("")).hex(), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(md5(as_bytes("abc")).hex(), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(sha1(as_bytes("abc")).hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha256(as_bytes("abc")).hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of(Algorithm::kCrc32, as_bytes("123456789")).hex(), "cbf43926");
  EXPECT_EQ(digest_of(Algorithm::kCrc32c, as_bytes("123456789")).hex(), "e3069283");
  EXPECT_EQ(digest_of(Algorithm::kCrc64Nvme, as_bytes("123456789")).hex(), "ae8b14860a799888");
}

TEST(Digest, GivesTheTextThatS3Uses) {
  EXPECT_EQ(md5(as_bytes("")).base64(), "1B2M2Y8AsgTpgAmY7PhCfg==");
  EXPECT_EQ(digest_of(Algorithm::kCrc64Nvme, as_bytes("123456789")).base64(), "rosUhgp5mIg=");
  EXPECT_EQ(digest_of(Algorithm::kCrc32, as_bytes("123456789")).base64(), "y/Q5Jg==");
  EXPECT_EQ(sha256(as_bytes("")).base64(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  EXPECT_EQ(sha1(as_bytes("")).base64(), "2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
}

TEST(Digest, TextFormsRoundTrip) {
  std::mt19937 random(1);
  for (Algorithm algorithm : kAlgorithms) {
    for (uint32_t round = 0; round < 50; ++round) {
      Digest digest(algorithm,
                    random_bytes(digest_bytes(algorithm), static_cast<uint32_t>(random())));
      Result<Digest> hex = Digest::from_hex(algorithm, digest.hex());
      Result<Digest> base64 = Digest::from_base64(algorithm, digest.base64());
      ASSERT_TRUE(hex.is_ok()) << hex.status().to_string();
      ASSERT_TRUE(base64.is_ok()) << base64.status().to_string();
      EXPECT_EQ(*hex, digest);
      EXPECT_EQ(*base64, digest);
    }
  }
  EXPECT_EQ(Digest::from_hex(Algorithm::kCrc32, "CBF43926")->crc(), 0xcbf43926u);
}

TEST(Digest, RefusesOtherText) {
  for (const char* text : {"", "cbf4392", "cbf439261", "cbf4392g", "cbf4392 "}) {
    EXPECT_TRUE(Digest::from_hex(Algorithm::kCrc32, text).is(Code::kInvalidArgument)) << text;
  }
  // Too short, no padding, padding within, a foreign digit, bits that no byte holds.
  for (const char* text : {"", "y/Q=", "y/Q5Jg", "y/Q5=g==", "y/Q5J===", "y_Q5Jg==", "y/Q5Jh=="}) {
    EXPECT_TRUE(Digest::from_base64(Algorithm::kCrc32, text).is(Code::kInvalidArgument)) << text;
  }
  EXPECT_NE(Digest::from_hex(Algorithm::kMd5, "zz").status().message().find("16 bytes"),
            std::string_view::npos);
}

TEST(Digest, NamesRoundTrip) {
  for (Algorithm algorithm : kAlgorithms) {
    Result<Algorithm> back = algorithm_from_name(algorithm_name(algorithm));
    ASSERT_TRUE(back.is_ok());
    EXPECT_EQ(*back, algorithm);
  }
  EXPECT_TRUE(algorithm_from_name("MD5").is(Code::kInvalidArgument));
}

TEST(Digest, CrcIntegersRoundTrip) {
  EXPECT_EQ(Digest::from_crc(Algorithm::kCrc64Nvme, 0x0102030405060708).hex(), "0102030405060708");
  EXPECT_EQ(Digest::from_crc(Algorithm::kCrc64Nvme, 0xfedcba9876543210).crc(), 0xfedcba9876543210u);
  EXPECT_EQ(Digest::from_crc(Algorithm::kCrc32c, 0x80000001).crc(), 0x80000001u);
  EXPECT_NE(Digest::from_crc(Algorithm::kCrc32, 1), Digest::from_crc(Algorithm::kCrc32c, 1));
}

TEST(MultiDigest, EqualsEachDigestAloneOverRandomSplits) {
  std::mt19937 random(2);
  MultiDigest all(AlgorithmSet{Algorithm::kMd5, Algorithm::kSha1, Algorithm::kSha256,
                               Algorithm::kCrc32, Algorithm::kCrc32c, Algorithm::kCrc64Nvme});
  for (uint32_t round = 0; round < 60; ++round) {
    // Some cases longer than the 64 KiB that one algorithm takes at a time.
    std::vector<std::byte> data = random_bytes(random() % (round % 4 == 0 ? 300'000 : 3000), round);
    for (Bytes rest = data; !rest.empty();) {
      size_t count = std::min<size_t>(rest.size(), random() % 100'000);
      all.update(rest.first(count));
      rest = rest.subspan(count);
    }
    EXPECT_EQ(all.bytes_seen(), data.size());
    DigestSet found = all.finish();
    EXPECT_EQ(found[Algorithm::kMd5], by_evp(Algorithm::kMd5, "MD5", data));
    EXPECT_EQ(found[Algorithm::kSha1], by_evp(Algorithm::kSha1, "SHA1", data));
    EXPECT_EQ(found[Algorithm::kSha256], by_evp(Algorithm::kSha256, "SHA256", data));
    EXPECT_EQ(found[Algorithm::kCrc32].crc(), crc32(data));
    EXPECT_EQ(found[Algorithm::kCrc32c].crc(), crc32c(data));
    EXPECT_EQ(found[Algorithm::kCrc64Nvme].crc(), crc64nvme(data));
    EXPECT_EQ(all.bytes_seen(), 0u);
  }
}

TEST(MultiDigest, ComputesOnlyWhatWasAskedFor) {
  MultiDigest some(AlgorithmSet{Algorithm::kMd5, Algorithm::kCrc64Nvme});
  some.update(as_bytes("abc"));
  MultiDigest moved = std::move(some);
  DigestSet found = moved.finish();
  EXPECT_EQ(found[Algorithm::kMd5], md5(as_bytes("abc")));
  EXPECT_TRUE(found.find(Algorithm::kCrc64Nvme).has_value());
  EXPECT_FALSE(found.find(Algorithm::kSha256).has_value());
  EXPECT_FALSE(found.find(Algorithm::kCrc32).has_value());
  EXPECT_DEATH(found[Algorithm::kSha1], "sha1 was not asked for");
  MultiDigest none{AlgorithmSet()};
  none.update(as_bytes("abc"));
  EXPECT_FALSE(none.finish().find(Algorithm::kMd5).has_value());
}

TEST(Level, CapHoldsForItsScope) {
  Level best = active_level();
  {
    ScopedLevelCap cap(Level::kPortable);
    EXPECT_EQ(active_level(), Level::kPortable);
  }
  EXPECT_EQ(active_level(), best);
  EXPECT_EQ(supported_levels().front(), Level::kPortable);
  EXPECT_EQ(supported_levels().back(), best);
}

}  // namespace
}  // namespace tarn::digest
