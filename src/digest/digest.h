// Digests of byte strings: MD5, SHA-1, SHA-256, CRC-32, CRC-32C, CRC-64/NVME.
//
// Digest is a value: an algorithm and its bytes, with the text forms that md5sum (hex) and S3
// (base64) use. `digest_of` takes bytes that are all at hand. MultiDigest takes chunks as they
// come and computes any set of algorithms in one pass: it goes through a chunk 64 KiB at a time,
// so that the second algorithm reads what the first has just brought into the cache. MD5 of many
// streams at once is in md5_lanes.h, CRCs as plain integers in crc.h. Thread rules: plain values;
// a MultiDigest is used by one thread at a time.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace tarn::digest {

enum class Algorithm : uint8_t { kMd5, kSha1, kSha256, kCrc32, kCrc32c, kCrc64Nvme };

inline constexpr std::array kAlgorithms = {Algorithm::kMd5,    Algorithm::kSha1,
                                           Algorithm::kSha256, Algorithm::kCrc32,
                                           Algorithm::kCrc32c, Algorithm::kCrc64Nvme};
inline constexpr size_t kDigestBytesMax = 32;

/// "md5", "sha1", "sha256", "crc32", "crc32c" or "crc64nvme".
std::string_view algorithm_name(Algorithm algorithm);
/// The algorithm of that name; InvalidArgument for any other text.
Result<Algorithm> algorithm_from_name(std::string_view name);
/// Bytes of a digest: 16, 20, 32, 4, 4, 8.
size_t digest_bytes(Algorithm algorithm);

class Digest {
 public:
  /// `bytes` are as many as the algorithm has; CRCs are big-endian, as in S3's headers.
  Digest(Algorithm algorithm, std::span<const std::byte> bytes);
  /// A CRC from its integer.
  static Digest from_crc(Algorithm algorithm, uint64_t crc);
  /// From 2 hexadecimal digits a byte, of either case; InvalidArgument for anything else.
  static Result<Digest> from_hex(Algorithm algorithm, std::string_view hex);
  /// From standard base64 with padding (RFC 4648, section 4); InvalidArgument for anything else.
  static Result<Digest> from_base64(Algorithm algorithm, std::string_view base64);

  Algorithm algorithm() const { return algorithm_; }
  std::span<const std::byte> bytes() const { return {bytes_.data(), digest_bytes(algorithm_)}; }
  /// The integer of a CRC.
  uint64_t crc() const;
  /// Lower-case hexadecimal digits.
  std::string hex() const;
  /// Standard base64 with padding.
  std::string base64() const;

  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  explicit Digest(Algorithm algorithm) : algorithm_(algorithm) {}

  Algorithm algorithm_;
  // Bytes past the algorithm's length stay zero, so that comparison may look at all of them.
  std::array<std::byte, kDigestBytesMax> bytes_{};
};

/// A set of algorithms.
class AlgorithmSet {
 public:
  constexpr AlgorithmSet() = default;
  constexpr AlgorithmSet(std::initializer_list<Algorithm> algorithms) {
    for (Algorithm algorithm : algorithms) insert(algorithm);
  }
  constexpr void insert(Algorithm algorithm) {
    bits_ = static_cast<uint8_t>(bits_ | 1u << static_cast<unsigned>(algorithm));
  }
  constexpr bool contains(Algorithm algorithm) const {
    return (bits_ >> static_cast<unsigned>(algorithm) & 1u) != 0;
  }
  constexpr bool is_empty() const { return bits_ == 0; }

 private:
  uint8_t bits_ = 0;
};

/// What a MultiDigest found: one digest for each algorithm that was asked for.
class DigestSet {
 public:
  /// The digest, or nothing when the algorithm was not asked for.
  const std::optional<Digest>& find(Algorithm algorithm) const {
    return digests_[static_cast<size_t>(algorithm)];
  }
  /// The digest of an algorithm that was asked for.
  const Digest& operator[](Algorithm algorithm) const;
  void insert(const Digest& digest) { digests_[static_cast<size_t>(digest.algorithm())] = digest; }

 private:
  std::array<std::optional<Digest>, kAlgorithms.size()> digests_;
};

/// One pass over a stream of bytes for a set of algorithms.
class MultiDigest {
 public:
  explicit MultiDigest(AlgorithmSet algorithms);
  MultiDigest(MultiDigest&& other) noexcept;
  MultiDigest& operator=(MultiDigest&& other) noexcept;
  ~MultiDigest();

  /// Adds the next bytes of the stream, of any length.
  void update(std::span<const std::byte> bytes);
  /// Bytes since the stream's beginning.
  uint64_t bytes_seen() const;
  /// The digests of all bytes since the beginning; the next update begins a new stream.
  DigestSet finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The digest of `bytes`.
Digest digest_of(Algorithm algorithm, std::span<const std::byte> bytes);
inline Digest md5(std::span<const std::byte> bytes) {
  return digest_of(Algorithm::kMd5, bytes);
}
inline Digest sha1(std::span<const std::byte> bytes) {
  return digest_of(Algorithm::kSha1, bytes);
}
inline Digest sha256(std::span<const std::byte> bytes) {
  return digest_of(Algorithm::kSha256, bytes);
}

}  // namespace tarn::digest
