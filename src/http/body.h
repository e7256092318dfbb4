// Decoding and verifying request bodies, as layers of Body.
//
// ChunkedBody takes AWS's own chunks apart (Content-Encoding: aws-chunked) and judges their
// signatures and trailers. VerifiedBody judges length, SHA-256 of the payload, Content-MD5 and
// x-amz-checksum-* from header or trailer. make_body puts the layers on a raw body as the
// signature and the headers ask. Thread rules: one thread a body.
#pragma once

#include <array>
#include <memory>

#include "digest/digest.h"
#include "http/signature.h"

namespace tarn::http {

class ChunkedBody final : public Body {
 public:
  ChunkedBody(std::unique_ptr<Body> raw, PayloadRule rule, std::optional<uint64_t> decoded_length);
  Result<size_t> read(std::span<std::byte> out) override;
  std::optional<uint64_t> size() const override { return decoded_length_; }

 private:
  Result<std::string> read_line();
  Status fill();
  Status begin_chunk();
  Status end_chunk();
  Status read_trailers();
  Status check_signature(std::string_view text_to_sign, std::string_view claimed);

  std::unique_ptr<Body> raw_;
  PayloadRule rule_;
  std::optional<uint64_t> decoded_length_;
  std::array<std::byte, 4096> buffer_;
  size_t begin_ = 0, end_ = 0;
  uint64_t chunk_left_ = 0;
  bool is_in_chunk_ = false, is_at_end_ = false;
  digest::MultiDigest chunk_digest_{{digest::Algorithm::kSha256}};
  std::string chunk_signature_;
};

/// What a body has to be.
struct BodyExpectation {
  std::optional<uint64_t> size;
  std::optional<digest::Digest> payload_sha256, content_md5;
  struct Checksum {
    digest::Algorithm algorithm;
    std::string header;
    std::optional<digest::Digest> value;  // absent: comes as a trailer
  };
  std::optional<Checksum> checksum;
};

class VerifiedBody final : public Body {
 public:
  VerifiedBody(std::unique_ptr<Body> inner, BodyExpectation expectation);
  Result<size_t> read(std::span<std::byte> out) override;
  std::optional<uint64_t> size() const override { return expected_.size; }

 private:
  Status judge();

  std::unique_ptr<Body> inner_;
  BodyExpectation expected_;
  digest::AlgorithmSet algorithms_;
  digest::MultiDigest digest_;
  uint64_t seen_ = 0;
  bool is_at_end_ = false;
};

/// A body whose bytes are all here.
class TextBody final : public Body {
 public:
  explicit TextBody(std::string text) : text_(std::move(text)) {}
  Result<size_t> read(std::span<std::byte> out) override;
  std::optional<uint64_t> size() const override { return text_.size(); }

 private:
  std::string text_;
  size_t at_ = 0;
};

/// The layers that `rule` and the headers ask for over `raw`. A Fault for headers that contradict
/// each other or cannot be read.
Outcome<std::unique_ptr<Body>> make_body(const Request& request, std::unique_ptr<Body> raw,
                                         const PayloadRule& rule);

}  // namespace tarn::http
