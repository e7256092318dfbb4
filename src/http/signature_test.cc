// Signatures against the examples that AWS publishes in "Authenticating Requests (AWS Signature
// Version 4)" of the S3 API reference.
#include "http/signature.h"

#include <gtest/gtest.h>

#include "http/date.h"
#include "http/uri.h"

namespace tarn::http {
namespace {

constexpr std::string_view kEmpty =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

class OneKey final : public KeyStore {
 public:
  std::optional<Key> find(std::string_view id) override {
    if (id != "AKIAIOSFODNN7EXAMPLE") return std::nullopt;
    return Key{"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", {std::string(id), 1000, 1000, {}, 022}};
  }
};

Request request_of(std::string method, std::string target) {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  const size_t question = request.target.find('?');
  request.raw_path = request.target.substr(0, question);
  request.path = *percent_decode(request.raw_path, Plus::kLiteral);
  if (question != std::string::npos)
    request.query = *parse_query(request.target.substr(question + 1));
  request.headers.add("Host", "examplebucket.s3.amazonaws.com");
  return request;
}

void sign_with(Request& request, std::string_view headers, std::string_view signature,
               std::string_view payload) {
  request.headers.add("x-amz-content-sha256", std::string(payload));
  request.headers.add(
      "Authorization",
      "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
      "SignedHeaders=" +
          std::string(headers) + ",Signature=" + std::string(signature));
}

class SignatureTest : public ::testing::Test {
 protected:
  SignatureTest() { clock_.set(*parse_amz_date("20130524T000000Z")); }

  Outcome<Verified> verify(const Request& request) {
    auto claim = read_claim(request);
    if (!claim) return std::unexpected(claim.error());
    if (!claim->has_value()) return std::unexpected(Fault{403, "NotSigned", ""});
    return verifier_.verify(request, **claim);
  }
  std::string code_of(const Request& request) {
    auto verified = verify(request);
    return verified ? "" : verified.error().code;
  }

  ManualClock clock_;
  OneKey keys_;
  Verifier verifier_{keys_, clock_};
};

Request get_object() {
  Request request = request_of("GET", "/test.txt");
  request.headers.add("Range", "bytes=0-9");
  request.headers.add("x-amz-date", "20130524T000000Z");
  sign_with(request, "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", kEmpty);
  return request;
}

TEST_F(SignatureTest, GetObject) {
  auto verified = verify(get_object());
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_EQ(verified->identity.uid, 1000u);
  EXPECT_EQ(verified->payload.kind, PayloadRule::Kind::kHashed);
  EXPECT_EQ(verified->payload.sha256, kEmpty);
}

TEST_F(SignatureTest, PutObject) {
  Request request = request_of("PUT", "/test%24file.text");
  request.headers.add("Date", "Fri, 24 May 2013 00:00:00 GMT");
  request.headers.add("x-amz-date", "20130524T000000Z");
  request.headers.add("x-amz-storage-class", "REDUCED_REDUNDANCY");
  sign_with(request, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  EXPECT_EQ(code_of(request), "");
}

TEST_F(SignatureTest, QueriesAreSorted) {
  Request lifecycle = request_of("GET", "/?lifecycle");
  lifecycle.headers.add("x-amz-date", "20130524T000000Z");
  sign_with(lifecycle, "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", kEmpty);
  EXPECT_EQ(code_of(lifecycle), "");
  Request list = request_of("GET", "/?max-keys=2&prefix=J");
  list.headers.add("x-amz-date", "20130524T000000Z");
  sign_with(list, "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", kEmpty);
  EXPECT_EQ(code_of(list), "");
}

Request presigned() {
  return request_of(
      "GET",
      "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%"
      "2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-"
      "SignedHeaders=host&X-Amz-Signature="
      "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

TEST_F(SignatureTest, Presigned) {
  EXPECT_EQ(code_of(presigned()), "");
  clock_.advance(86399 * kSecondNs);
  EXPECT_EQ(code_of(presigned()), "");
  clock_.advance(2 * kSecondNs);
  EXPECT_EQ(code_of(presigned()), "AccessDenied");
  clock_.set(*parse_amz_date("20130523T230000Z"));
  EXPECT_EQ(code_of(presigned()), "AccessDenied") << "signed an hour ahead";
}

// The example of the S3 User Guide, "Query string request authentication alternative".
TEST_F(SignatureTest, PresignedByVersion2) {
  SignatureClaim claim;
  claim.expires_s = 1141889120;
  Request request = request_of("GET",
                               "/quotes/nelson?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&uploads&"
                               "Expires=1141889120&Signature=x");
  request.headers.add("X-Amz-B", "2");
  request.headers.add("x-amz-a", "1");
  EXPECT_EQ(text_to_sign_v2(request, claim),
            "GET\n\n\n1141889120\nx-amz-a:1\nx-amz-b:2\n/quotes/nelson?uploads");
  request = request_of("GET",
                       "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires="
                       "1141889120&Signature=wrong");
  EXPECT_EQ(code_of(request), "AccessDenied") << "expired";
  clock_.set(1141889120 * kSecondNs);
  EXPECT_EQ(code_of(request), "SignatureDoesNotMatch");
}

TEST_F(SignatureTest, SkewOfMoreThanAQuarterOfAnHour) {
  clock_.advance(899 * kSecondNs);
  EXPECT_EQ(code_of(get_object()), "");
  clock_.advance(2 * kSecondNs);
  EXPECT_EQ(code_of(get_object()), "RequestTimeTooSkewed");
  clock_.set(*parse_amz_date("20130523T234459Z"));
  EXPECT_EQ(code_of(get_object()), "RequestTimeTooSkewed");
}

TEST_F(SignatureTest, AnyChangeIsFound) {
  Request other = get_object();
  other.path = "/test2.txt";
  EXPECT_EQ(code_of(other), "SignatureDoesNotMatch");
  other = get_object();
  other.method = "PUT";
  EXPECT_EQ(code_of(other), "SignatureDoesNotMatch");
  other = get_object();
  other.headers.set("Range", "bytes=0-8");
  EXPECT_EQ(code_of(other), "SignatureDoesNotMatch");
  other = get_object();
  other.query.emplace_back("acl", "");
  EXPECT_EQ(code_of(other), "SignatureDoesNotMatch");
}

TEST_F(SignatureTest, RefusesWhatItCannotJudge) {
  Request request = get_object();
  EXPECT_EQ(code_of(request_of("GET", "/")), "NotSigned");
  request.headers.set("Authorization", "AWS AKIA:abc");
  EXPECT_EQ(code_of(request), "InvalidRequest");
  request.headers.set("Authorization", "AWS4-HMAC-SHA256 Credential=a/b");
  EXPECT_EQ(code_of(request), "AuthorizationHeaderMalformed");
  request.headers.set("Authorization",
                      "AWS4-HMAC-SHA256 Credential=NOBODY/20130524/us-east-1/s3/aws4_request, "
                      "SignedHeaders=host, Signature=00");
  EXPECT_EQ(code_of(request), "InvalidAccessKeyId");
  request = get_object();
  request.headers.set("x-amz-content-sha256", "nonsense");
  EXPECT_EQ(code_of(request), "InvalidArgument");
}

}  // namespace
}  // namespace tarn::http
