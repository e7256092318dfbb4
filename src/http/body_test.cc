#include "http/body.h"

#include <cstring>

#include <gtest/gtest.h>

#include "base/file.h"

namespace tarn::http {
namespace {

/// Hands a text out a few bytes at a time.
class Dribble final : public Body {
 public:
  Dribble(std::string text, size_t step) : text_(std::move(text)), step_(step) {}
  Result<size_t> read(std::span<std::byte> out) override {
    const size_t n = std::min({out.size(), step_, text_.size() - at_});
    std::memcpy(out.data(), text_.data() + at_, n);
    at_ += n;
    return n;
  }
  std::optional<uint64_t> size() const override { return text_.size(); }

 private:
  std::string text_;
  size_t step_, at_ = 0;
};

/// The rule of AWS's published example of a chunked upload, 66,560 bytes of 'a'.
PayloadRule example_rule() {
  SignatureClaim claim;
  claim.date = "20130524";
  claim.region = "us-east-1";
  claim.service = "s3";
  PayloadRule rule;
  rule.kind = PayloadRule::Kind::kChunkedSigned;
  rule.scope = claim.scope();
  rule.amz_date = "20130524T000000Z";
  rule.signing_key = derive_signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", claim);
  rule.seed_signature = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
  return rule;
}

std::string example_body() {
  return "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
         "\r\n" +
         std::string(65536, 'a') +
         "\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
         "\r\n" +
         std::string(1024, 'a') +
         "\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"
         "\r\n\r\n";
}

std::string code_of(Body& body) {
  auto text = read_all(body, 1 << 20);
  if (text.is_ok()) return "";
  return body.fault() ? body.fault()->code : text.status().to_string();
}

TEST(ChunkedBody, PublishedExample) {
  for (size_t step : {size_t{1}, size_t{100}, size_t{1} << 20}) {
    ChunkedBody body(std::make_unique<Dribble>(example_body(), step), example_rule(), 66560);
    auto text = read_all(body, 1 << 20);
    ASSERT_TRUE(text.is_ok()) << text.status().to_string();
    EXPECT_EQ(*text, std::string(66560, 'a'));
  }
}

TEST(ChunkedBody, AChangedByteIsFound) {
  std::string text = example_body();
  text[1000] = 'b';
  ChunkedBody body(std::make_unique<Dribble>(text, 4096), example_rule(), 66560);
  EXPECT_EQ(code_of(body), "SignatureDoesNotMatch");
}

TEST(ChunkedBody, TruncatedAnywhere) {
  const std::string text = example_body();
  for (size_t left : {size_t{10}, size_t{500}, size_t{66000}, text.size() - 3}) {
    ChunkedBody body(std::make_unique<Dribble>(text.substr(0, left), 4096), example_rule(), 66560);
    EXPECT_EQ(code_of(body), "IncompleteBody") << left;
  }
}

TEST(ChunkedBody, LastChunkMayNotBeForged) {
  std::string text = example_body();
  text[text.size() - 10] = text[text.size() - 10] == '0' ? '1' : '0';
  ChunkedBody body(std::make_unique<Dribble>(text, 4096), example_rule(), 66560);
  EXPECT_EQ(code_of(body), "SignatureDoesNotMatch");
}

Request with(std::vector<std::pair<std::string, std::string>> headers) {
  Request request;
  for (auto& [name, value] : headers) request.headers.add(name, value);
  return request;
}

std::string code_of(const Request& request, std::string text, PayloadRule rule = {}) {
  auto body = make_body(request, std::make_unique<TextBody>(std::move(text)), rule);
  return body ? code_of(**body) : body.error().code;
}

PayloadRule unsigned_chunks() {
  PayloadRule rule;
  rule.kind = PayloadRule::Kind::kChunkedUnsigned;
  rule.has_trailer = true;
  return rule;
}

TEST(Body, UnsignedChunksWithTrailer) {
  const Request request =
      with({{"x-amz-decoded-content-length", "9"}, {"x-amz-trailer", "x-amz-checksum-crc32"}});
  const std::string good = "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
  auto body = make_body(request, std::make_unique<TextBody>(good), unsigned_chunks());
  ASSERT_TRUE(body);
  EXPECT_EQ(code_of(**body), "");
  ASSERT_EQ((*body)->checksums().size(), 1u);
  EXPECT_EQ((*body)->checksums()[0].second, "y/Q5Jg==");
  EXPECT_EQ(code_of(request, "9\r\n123456780\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n",
                    unsigned_chunks()),
            "BadDigest");
  EXPECT_EQ(code_of(request, "9\r\n123456789\r\n0\r\n\r\n", unsigned_chunks()),
            "MalformedTrailerError");
  EXPECT_EQ(code_of(request, "zz\r\n", unsigned_chunks()), "InvalidRequest");
  EXPECT_EQ(code_of(request, "3\r\n123456789\r\n0\r\n\r\n", unsigned_chunks()), "InvalidRequest");
  EXPECT_EQ(code_of(with({{"x-amz-decoded-content-length", "8"}}), good, unsigned_chunks()),
            "IncompleteBody");
  EXPECT_EQ(code_of(with({}), good, unsigned_chunks()), "MissingContentLength");
}

TEST(Body, ChecksumsInHeaders) {
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"x-amz-checksum-crc32", "y/Q5Jg=="},
           {"x-amz-checksum-crc32c", "4waSgw=="},
           {"x-amz-checksum-crc64nvme", "rosUhgp5mIg="},
           {"x-amz-checksum-sha1", "98O8HYCOBHMqCrtUqq1/RYy6N0s="},
           {"x-amz-checksum-sha256", "FeKw08M4ke/l4XGoSOY1Ku8JcHnGqHTSnZ+25TRuJ+Y="}}) {
    const bool is_known_value = name.find("sha") == std::string::npos;
    if (is_known_value) {
      EXPECT_EQ(code_of(with({{name, value}}), "123456789"), "") << name;
    }
    EXPECT_EQ(code_of(with({{name, value}}), "12345678"), "BadDigest") << name;
    EXPECT_EQ(code_of(with({{name, "?"}}), "123456789"), "InvalidRequest") << name;
  }
}

TEST(Body, PayloadHashAndMd5) {
  PayloadRule rule;
  rule.kind = PayloadRule::Kind::kHashed;
  rule.sha256 = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
  EXPECT_EQ(code_of(with({}), "123456789", rule), "");
  EXPECT_EQ(code_of(with({}), "123456780", rule), "XAmzContentSHA256Mismatch");
  EXPECT_EQ(code_of(with({{"content-md5", "JfnnlDI7RTiFgKfwCEB1Ng=="}}), "x"), "BadDigest");
  EXPECT_EQ(code_of(with({{"content-md5", "JfnnlDI7RTiF9RgfGirUew=="}}), "123456789"), "BadDigest");
  EXPECT_EQ(code_of(with({{"content-md5", "short"}}), "x"), "InvalidDigest");
}

TEST(Body, LimitOfReadAll) {
  TextBody body("12345");
  EXPECT_TRUE(read_all(body, 4).is(Code::kFileTooLarge));
}

}  // namespace
}  // namespace tarn::http
