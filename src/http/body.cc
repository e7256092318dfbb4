#include "http/body.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "base/file.h"
#include "http/hash.h"

namespace tarn::http {
namespace {

constexpr size_t kLineBytesMax = 1024;
constexpr size_t kTrailersMax = 16;
constexpr std::string_view kEmptySha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct ChecksumName {
  std::string_view header;
  digest::Algorithm algorithm;
};
constexpr std::array kChecksums = {
    ChecksumName{"x-amz-checksum-crc32", digest::Algorithm::kCrc32},
    ChecksumName{"x-amz-checksum-crc32c", digest::Algorithm::kCrc32c},
    ChecksumName{"x-amz-checksum-crc64nvme", digest::Algorithm::kCrc64Nvme},
    ChecksumName{"x-amz-checksum-sha1", digest::Algorithm::kSha1},
    ChecksumName{"x-amz-checksum-sha256", digest::Algorithm::kSha256},
};

const ChecksumName* find_checksum(std::string_view header) {
  for (const ChecksumName& name : kChecksums) {
    if (equals_ignoring_case(name.header, header)) return &name;
  }
  return nullptr;
}

std::unexpected<Fault> fault(std::string code, std::string message) {
  return std::unexpected(Fault{400, std::move(code), std::move(message)});
}

std::optional<uint64_t> parse_number(std::string_view text, int base) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

ChunkedBody::ChunkedBody(std::unique_ptr<Body> raw, PayloadRule rule,
                         std::optional<uint64_t> decoded_length)
    : raw_(std::move(raw)), rule_(std::move(rule)), decoded_length_(decoded_length) {}

Status ChunkedBody::fill() {
  begin_ = 0;
  auto n = raw_->read(buffer_);
  if (!n.is_ok()) return fail_as(*raw_, n.status());
  end_ = *n;
  if (end_ == 0) {
    return fail(400, "IncompleteBody", "the body ended before its last chunk");
  }
  return {};
}

Result<std::string> ChunkedBody::read_line() {
  std::string line;
  while (true) {
    if (begin_ == end_) TARN_TRY(fill());
    const char c = static_cast<char>(buffer_[begin_++]);
    if (c == '\n') {
      if (line.ends_with('\r')) line.pop_back();
      return line;
    }
    if (line.size() == kLineBytesMax) {
      return fail(400, "InvalidRequest",
                  fmt::format("a line between chunks has more than {} bytes", kLineBytesMax));
    }
    line += c;
  }
}

Status ChunkedBody::begin_chunk() {
  TARN_ASSIGN(const std::string line, read_line());
  const size_t semicolon = line.find(';');
  const auto size = parse_number(std::string_view(line).substr(0, semicolon), 16);
  if (!size) {
    return fail(400, "InvalidRequest", fmt::format("'{}' is no chunk's size", line.substr(0, 40)));
  }
  chunk_signature_.clear();
  constexpr std::string_view kSignature = ";chunk-signature=";
  if (const size_t at = line.find(kSignature); at != std::string::npos) {
    chunk_signature_ = line.substr(at + kSignature.size());
  }
  chunk_left_ = *size;
  is_in_chunk_ = true;
  if (*size > 0) return {};
  TARN_TRY(end_chunk());
  is_at_end_ = true;
  return read_trailers();
}

Status ChunkedBody::check_signature(std::string_view text_to_sign, std::string_view claimed) {
  const std::string expected = to_hex(hmac_sha256(rule_.signing_key, text_to_sign));
  if (!equals_in_constant_time(expected, claimed)) {
    return fail(403, "SignatureDoesNotMatch", "a chunk's signature is wrong");
  }
  rule_.seed_signature = expected;
  return {};
}

Status ChunkedBody::end_chunk() {
  is_in_chunk_ = false;
  if (rule_.kind != PayloadRule::Kind::kChunkedSigned) return {};
  const std::string sha256 = chunk_digest_.finish()[digest::Algorithm::kSha256].hex();
  return check_signature(fmt::format("AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}", rule_.amz_date,
                                     rule_.scope, rule_.seed_signature, kEmptySha256, sha256),
                         chunk_signature_);
}

Status ChunkedBody::read_trailers() {
  std::string canonical, signature;
  while (true) {
    TARN_ASSIGN(const std::string line, read_line());
    if (line.empty()) break;
    const size_t colon = line.find(':');
    if (colon == std::string::npos || trailers_.size() == kTrailersMax) {
      return fail(400, "MalformedTrailerError", "a trailer must be NAME:VALUE, at most 16 of them");
    }
    std::string name = to_lower(trim(std::string_view(line).substr(0, colon)));
    std::string value(trim(std::string_view(line).substr(colon + 1)));
    if (name == "x-amz-trailer-signature") {
      signature = value;
      continue;
    }
    canonical += name + ":" + value + "\n";
    trailers_.emplace_back(std::move(name), std::move(value));
  }
  if (!rule_.has_trailer || rule_.kind != PayloadRule::Kind::kChunkedSigned) return {};
  return check_signature(fmt::format("AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}", rule_.amz_date,
                                     rule_.scope, rule_.seed_signature, sha256_hex(canonical)),
                         signature);
}

Result<size_t> ChunkedBody::read(std::span<std::byte> out) {
  while (!is_at_end_) {
    if (!is_in_chunk_) {
      TARN_TRY(begin_chunk());
      continue;
    }
    size_t n = std::min<uint64_t>(out.size(), chunk_left_);
    if (begin_ < end_) {
      n = std::min(n, end_ - begin_);
      std::memcpy(out.data(), buffer_.data() + begin_, n);
      begin_ += n;
    } else {
      auto got = raw_->read(out.first(n));
      if (!got.is_ok()) return fail_as(*raw_, got.status());
      n = *got;
      if (n == 0) return fail(400, "IncompleteBody", "the body ended inside a chunk");
    }
    if (rule_.kind == PayloadRule::Kind::kChunkedSigned) chunk_digest_.update(out.first(n));
    chunk_left_ -= n;
    if (chunk_left_ == 0) {
      TARN_ASSIGN(const std::string line, read_line());
      if (!line.empty()) {
        return fail(400, "InvalidRequest", "a chunk is longer than it says");
      }
      TARN_TRY(end_chunk());
    }
    return n;
  }
  // What follows the last chunk (there should be nothing) is read, so that the connection is free.
  while (true) {
    auto got = raw_->read(buffer_);
    if (!got.is_ok()) return fail_as(*raw_, got.status());
    if (*got == 0) return size_t{0};
  }
}

VerifiedBody::VerifiedBody(std::unique_ptr<Body> inner, BodyExpectation expectation)
    : inner_(std::move(inner)), expected_(std::move(expectation)), digest_({}) {
  if (expected_.payload_sha256) algorithms_.insert(digest::Algorithm::kSha256);
  if (expected_.content_md5) algorithms_.insert(digest::Algorithm::kMd5);
  if (expected_.checksum) algorithms_.insert(expected_.checksum->algorithm);
  digest_ = digest::MultiDigest(algorithms_);
}

Result<size_t> VerifiedBody::read(std::span<std::byte> out) {
  if (fault_) return Status(Code::kBadFormat, fault_->message);
  if (is_at_end_) return size_t{0};
  auto n = inner_->read(out);
  if (!n.is_ok()) return fail_as(*inner_, n.status());
  seen_ += *n;
  if (expected_.size && seen_ > *expected_.size) {
    return fail(
        400, "IncompleteBody",
        fmt::format("the body has more than the {} bytes it was said to have", *expected_.size));
  }
  if (*n > 0) {
    if (!algorithms_.is_empty()) digest_.update(out.first(*n));
    return *n;
  }
  TARN_TRY(judge());
  is_at_end_ = true;
  return size_t{0};
}

Status VerifiedBody::judge() {
  trailers_ = inner_->trailers();
  if (expected_.size && seen_ != *expected_.size) {
    return fail(
        400, "IncompleteBody",
        fmt::format("the body has {} bytes and was said to have {}", seen_, *expected_.size));
  }
  if (algorithms_.is_empty()) return {};
  const digest::DigestSet found = digest_.finish();
  if (expected_.payload_sha256 && found[digest::Algorithm::kSha256] != *expected_.payload_sha256) {
    return fail(
        400, "XAmzContentSHA256Mismatch",
        fmt::format("the body's SHA-256 is {} and x-amz-content-sha256 said {}",
                    found[digest::Algorithm::kSha256].hex(), expected_.payload_sha256->hex()));
  }
  if (expected_.content_md5 && found[digest::Algorithm::kMd5] != *expected_.content_md5) {
    return fail(
        400, "BadDigest",
        fmt::format("the body's MD5 is {} and Content-MD5 said {}",
                    found[digest::Algorithm::kMd5].base64(), expected_.content_md5->base64()));
  }
  if (!expected_.checksum) return {};
  auto& checksum = *expected_.checksum;
  if (!checksum.value) {
    for (const auto& [name, value] : trailers_) {
      if (name != checksum.header) continue;
      auto parsed = digest::Digest::from_base64(checksum.algorithm, value);
      if (!parsed.is_ok()) {
        return fail(400, "InvalidRequest", fmt::format("{}: '{}' is no value", name, value));
      }
      checksum.value = *parsed;
    }
    if (!checksum.value) {
      return fail(400, "MalformedTrailerError",
                  fmt::format("the trailer {} was announced and did not come", checksum.header));
    }
  }
  const digest::Digest& is = found[checksum.algorithm];
  if (is != *checksum.value) {
    return fail(400, "BadDigest",
                fmt::format("the body's {} is {} and {} said {}",
                            digest::algorithm_name(checksum.algorithm), is.base64(),
                            checksum.header, checksum.value->base64()));
  }
  checksums_.emplace_back(checksum.header, is.base64());
  return {};
}

Result<size_t> TextBody::read(std::span<std::byte> out) {
  const size_t n = std::min(out.size(), text_.size() - at_);
  std::memcpy(out.data(), text_.data() + at_, n);
  at_ += n;
  return n;
}

Outcome<std::unique_ptr<Body>> make_body(const Request& request, std::unique_ptr<Body> raw,
                                         const PayloadRule& rule) {
  BodyExpectation expected;
  expected.size = raw->size();
  const bool is_chunked = rule.kind == PayloadRule::Kind::kChunkedSigned ||
                          rule.kind == PayloadRule::Kind::kChunkedUnsigned;
  if (is_chunked) {
    const std::string_view text = request.headers.get("x-amz-decoded-content-length");
    expected.size = parse_number(text, 10);
    if (!expected.size) {
      return std::unexpected(Fault{411, "MissingContentLength",
                                   "a body in chunks needs x-amz-decoded-content-length"});
    }
    raw = std::make_unique<ChunkedBody>(std::move(raw), rule, expected.size);
  }
  if (rule.kind == PayloadRule::Kind::kHashed) {
    auto sha256 = digest::Digest::from_hex(digest::Algorithm::kSha256, rule.sha256);
    if (!sha256.is_ok()) return fault("InvalidArgument", "x-amz-content-sha256 is no SHA-256");
    expected.payload_sha256 = *sha256;
  }
  if (const auto text = request.headers.find("content-md5")) {
    auto md5 = digest::Digest::from_base64(digest::Algorithm::kMd5, *text);
    if (!md5.is_ok()) {
      return fault("InvalidDigest", fmt::format("Content-MD5 '{}' is no MD5 in base64", *text));
    }
    expected.content_md5 = *md5;
  }
  for (const ChecksumName& name : kChecksums) {
    const auto text = request.headers.find(name.header);
    if (!text) continue;
    if (expected.checksum) {
      return fault("InvalidRequest", "expecting a single x-amz-checksum- header");
    }
    auto value = digest::Digest::from_base64(name.algorithm, *text);
    if (!value.is_ok()) {
      return fault("InvalidRequest", fmt::format("value for {} header is invalid", name.header));
    }
    expected.checksum = BodyExpectation::Checksum{name.algorithm, std::string(name.header), *value};
  }
  const std::string trailer = to_lower(trim(request.headers.get("x-amz-trailer")));
  if (!trailer.empty() && is_chunked && rule.has_trailer && !expected.checksum) {
    if (const ChecksumName* name = find_checksum(trailer)) {
      expected.checksum =
          BodyExpectation::Checksum{name->algorithm, std::string(name->header), std::nullopt};
    } else if (trailer.starts_with("x-amz-checksum-")) {
      return fault("InvalidRequest", fmt::format("the trailer {} is not supported", trailer));
    }
  }
  return std::make_unique<VerifiedBody>(std::move(raw), std::move(expected));
}

}  // namespace tarn::http
