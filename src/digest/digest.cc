#include "digest/digest.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/check.h"
#include "digest/crc.h"
#include "digest/md5_stream.h"

namespace tarn::digest {
namespace {

constexpr size_t kStepBytes = 64 * 1024;
constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::string_view kBase64Digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct AlgorithmFacts {
  std::string_view name;
  size_t bytes;
};

const AlgorithmFacts& facts(Algorithm algorithm) {
  static constexpr AlgorithmFacts kFacts[] = {{"md5", 16},  {"sha1", 20},  {"sha256", 32},
                                              {"crc32", 4}, {"crc32c", 4}, {"crc64nvme", 8}};
  return kFacts[static_cast<size_t>(algorithm)];
}

bool is_crc(Algorithm algorithm) {
  return algorithm == Algorithm::kCrc32 || algorithm == Algorithm::kCrc32c ||
         algorithm == Algorithm::kCrc64Nvme;
}

uint64_t crc_of(Algorithm algorithm, std::span<const std::byte> bytes, uint64_t crc) {
  if (algorithm == Algorithm::kCrc32) return crc32(bytes, static_cast<uint32_t>(crc));
  if (algorithm == Algorithm::kCrc32c) return crc32c(bytes, static_cast<uint32_t>(crc));
  return crc64nvme(bytes, crc);
}

/// The value of a digit of base64, or -1.
int base64_value(char c) {
  size_t at = kBase64Digits.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Status bad_text(Algorithm algorithm, std::string_view form, std::string_view text) {
  return {Code::kInvalidArgument,
          fmt::format("'{}' is not the {} form of a {} digest ({} bytes)", text.substr(0, 80), form,
                      algorithm_name(algorithm), digest_bytes(algorithm))};
}

struct EvpContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

/// SHA-1 or SHA-256 by OpenSSL. The algorithm is looked up in OpenSSL's providers once a process:
/// a look-up costs as much as hashing a few hundred bytes.
class EvpStream {
 public:
  explicit EvpStream(Algorithm algorithm) : algorithm_(algorithm), context_(EVP_MD_CTX_new()) {
    static EVP_MD* const sha1_method = EVP_MD_fetch(nullptr, "SHA1", nullptr);
    static EVP_MD* const sha256_method = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    method_ = algorithm == Algorithm::kSha1 ? sha1_method : sha256_method;
    CHECK(method_ != nullptr, "OpenSSL on this machine has no SHA-1 or SHA-256");
    CHECK(context_ != nullptr, "out of memory for a digest");
    restart();
  }

  void update(std::span<const std::byte> bytes) {
    CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }

  Digest finish() {
    std::array<std::byte, kDigestBytesMax> bytes;
    CHECK(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(bytes.data()),
                             nullptr) == 1);
    restart();
    return {algorithm_, std::span(bytes).first(digest_bytes(algorithm_))};
  }

 private:
  void restart() { CHECK(EVP_DigestInit_ex2(context_.get(), method_, nullptr) == 1); }

  Algorithm algorithm_;
  EVP_MD* method_ = nullptr;
  std::unique_ptr<EVP_MD_CTX, EvpContextDeleter> context_;
};

}  // namespace

std::string_view algorithm_name(Algorithm algorithm) {
  return facts(algorithm).name;
}

Result<Algorithm> algorithm_from_name(std::string_view name) {
  for (Algorithm algorithm : kAlgorithms) {
    if (algorithm_name(algorithm) == name) return algorithm;
  }
  return {Code::kInvalidArgument,
          fmt::format("no digest is called '{}'; there are md5, sha1, sha256, crc32, crc32c and "
                      "crc64nvme",
                      name.substr(0, 80))};
}

size_t digest_bytes(Algorithm algorithm) {
  return facts(algorithm).bytes;
}

Digest::Digest(Algorithm algorithm, std::span<const std::byte> bytes) : algorithm_(algorithm) {
  CHECK(bytes.size() == digest_bytes(algorithm),
        fmt::format("{} bytes for a {} digest", bytes.size(), algorithm_name(algorithm)));
  std::ranges::copy(bytes, bytes_.begin());
}

Digest Digest::from_crc(Algorithm algorithm, uint64_t crc) {
  CHECK(is_crc(algorithm), std::string(algorithm_name(algorithm)) + " is not a CRC");
  Digest digest(algorithm);
  size_t count = digest_bytes(algorithm);
  for (size_t i = 0; i < count; ++i) {
    digest.bytes_[i] = static_cast<std::byte>(crc >> (8 * (count - 1 - i)));
  }
  return digest;
}

Result<Digest> Digest::from_hex(Algorithm algorithm, std::string_view hex) {
  Digest digest(algorithm);
  if (hex.size() != 2 * digest_bytes(algorithm)) return bad_text(algorithm, "hex", hex);
  for (size_t i = 0; i < digest_bytes(algorithm); ++i) {
    int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
    if (high < 0 || low < 0) return bad_text(algorithm, "hex", hex);
    digest.bytes_[i] = static_cast<std::byte>(high << 4 | low);
  }
  return digest;
}

Result<Digest> Digest::from_base64(Algorithm algorithm, std::string_view base64) {
  Digest digest(algorithm);
  size_t count = digest_bytes(algorithm);
  if (base64.size() != (count + 2) / 3 * 4) return bad_text(algorithm, "base64", base64);
  size_t digits = (count * 8 + 5) / 6;
  uint32_t pending = 0;
  unsigned pending_bits = 0;
  size_t out = 0;
  for (size_t i = 0; i < base64.size(); ++i) {
    if (i >= digits) {
      if (base64[i] != '=') return bad_text(algorithm, "base64", base64);
      continue;
    }
    int value = base64_value(base64[i]);
    if (value < 0) return bad_text(algorithm, "base64", base64);
    pending = pending << 6 | static_cast<uint32_t>(value);
    pending_bits += 6;
    if (pending_bits >= 8) {
      pending_bits -= 8;
      digest.bytes_[out++] = static_cast<std::byte>(pending >> pending_bits);
      pending &= (1u << pending_bits) - 1;
    }
  }
  // Bits that no byte holds must be zero, so that each digest has one text.
  if (pending != 0) return bad_text(algorithm, "base64", base64);
  return digest;
}

uint64_t Digest::crc() const {
  CHECK(is_crc(algorithm_), std::string(algorithm_name(algorithm_)) + " is not a CRC");
  uint64_t crc = 0;
  for (std::byte b : bytes()) crc = crc << 8 | static_cast<uint64_t>(b);
  return crc;
}

std::string Digest::hex() const {
  std::string out;
  for (std::byte b : bytes()) {
    out.push_back(kHexDigits[static_cast<size_t>(b >> 4)]);
    out.push_back(kHexDigits[static_cast<size_t>(b & std::byte{15})]);
  }
  return out;
}

std::string Digest::base64() const {
  std::string out;
  std::span<const std::byte> in = bytes();
  for (size_t i = 0; i < in.size(); i += 3) {
    auto at = [&](size_t k) { return k < in.size() ? static_cast<uint32_t>(in[k]) : 0u; };
    uint32_t group = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    for (unsigned digit = 0; digit < 4; ++digit) {
      bool is_padding = i + digit > in.size();
      out.push_back(is_padding ? '=' : kBase64Digits[group >> (18 - 6 * digit) & 63]);
    }
  }
  return out;
}

const Digest& DigestSet::operator[](Algorithm algorithm) const {
  const std::optional<Digest>& digest = find(algorithm);
  CHECK(digest.has_value(), std::string(algorithm_name(algorithm)) + " was not asked for");
  return *digest;
}

struct MultiDigest::State {
  AlgorithmSet algorithms;
  uint64_t bytes_seen = 0;
  std::optional<Md5Stream> md5;
  std::optional<EvpStream> sha1;
  std::optional<EvpStream> sha256;
  std::array<uint64_t, kAlgorithms.size()> crcs{};

  void update_one(Algorithm algorithm, std::span<const std::byte> bytes) {
    switch (algorithm) {
      case Algorithm::kMd5:
        md5->update(bytes);
        break;
      case Algorithm::kSha1:
        sha1->update(bytes);
        break;
      case Algorithm::kSha256:
        sha256->update(bytes);
        break;
      case Algorithm::kCrc32:
      case Algorithm::kCrc32c:
      case Algorithm::kCrc64Nvme: {
        uint64_t& crc = crcs[static_cast<size_t>(algorithm)];
        crc = crc_of(algorithm, bytes, crc);
        break;
      }
    }
  }

  Digest finish_one(Algorithm algorithm) {
    switch (algorithm) {
      case Algorithm::kMd5:
        return md5->finish();
      case Algorithm::kSha1:
        return sha1->finish();
      case Algorithm::kSha256:
        return sha256->finish();
      default:
        return Digest::from_crc(algorithm, std::exchange(crcs[static_cast<size_t>(algorithm)], 0));
    }
  }
};

MultiDigest::MultiDigest(AlgorithmSet algorithms) : state_(std::make_unique<State>()) {
  state_->algorithms = algorithms;
  if (algorithms.contains(Algorithm::kMd5)) state_->md5.emplace();
  if (algorithms.contains(Algorithm::kSha1)) state_->sha1.emplace(Algorithm::kSha1);
  if (algorithms.contains(Algorithm::kSha256)) state_->sha256.emplace(Algorithm::kSha256);
}

MultiDigest::MultiDigest(MultiDigest&&) noexcept = default;
MultiDigest& MultiDigest::operator=(MultiDigest&&) noexcept = default;
MultiDigest::~MultiDigest() = default;

void MultiDigest::update(std::span<const std::byte> bytes) {
  state_->bytes_seen += bytes.size();
  while (!bytes.empty()) {
    std::span<const std::byte> step = bytes.first(std::min(kStepBytes, bytes.size()));
    for (Algorithm algorithm : kAlgorithms) {
      if (state_->algorithms.contains(algorithm)) state_->update_one(algorithm, step);
    }
    bytes = bytes.subspan(step.size());
  }
}

uint64_t MultiDigest::bytes_seen() const {
  return state_->bytes_seen;
}

DigestSet MultiDigest::finish() {
  DigestSet digests;
  for (Algorithm algorithm : kAlgorithms) {
    if (state_->algorithms.contains(algorithm)) digests.insert(state_->finish_one(algorithm));
  }
  state_->bytes_seen = 0;
  return digests;
}

Digest digest_of(Algorithm algorithm, std::span<const std::byte> bytes) {
  if (is_crc(algorithm)) return Digest::from_crc(algorithm, crc_of(algorithm, bytes, 0));
  if (algorithm == Algorithm::kMd5) {
    Md5Stream stream;
    stream.update(bytes);
    return stream.finish();
  }
  EvpStream stream(algorithm);
  stream.update(bytes);
  return stream.finish();
}

}  // namespace tarn::digest
