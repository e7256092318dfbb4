// Parsers and writers of S3, and the service over a real file system on a memory store.
#include <stdlib.h>

#include <filesystem>

#include <gtest/gtest.h>

#include "http/body.h"
#include "http/uri.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "s3/conditions.h"
#include "s3/range.h"
#include "s3/service.h"
#include "s3/xml.h"

namespace tarn::s3 {
namespace {

TEST(Range, Forms) {
  auto range = [](std::string_view text, uint64_t size) -> std::optional<Range> {
    auto parsed = parse_range(text, size);
    EXPECT_TRUE(parsed.is_ok()) << parsed.status().to_string();
    return parsed.is_ok() ? *parsed : std::nullopt;
  };
  EXPECT_EQ(range("bytes=0-9", 100), (Range{0, 10}));
  EXPECT_EQ(range("bytes=90-200", 100), (Range{90, 10}));
  EXPECT_EQ(range("bytes=5-", 100), (Range{5, 95}));
  EXPECT_EQ(range("bytes=-7", 100), (Range{93, 7}));
  EXPECT_EQ(range("bytes=-700", 100), (Range{0, 100}));
  for (std::string_view ignored :
       {"bytes=a-b", "lines=0-9", "bytes=9-2", "bytes=0-1,4-5", "bytes=-"}) {
    EXPECT_EQ(range(ignored, 100), std::nullopt) << ignored;
  }
  EXPECT_TRUE(parse_range("bytes=100-", 100).is(Code::kInvalidRange));
  EXPECT_TRUE(parse_range("bytes=-0", 100).is(Code::kInvalidRange));
  EXPECT_TRUE(parse_range("bytes=0-", 0).is(Code::kInvalidRange));
  EXPECT_EQ(*parse_copy_range("bytes=0-9", 10), (Range{0, 10}));
  EXPECT_TRUE(parse_copy_range("bytes=0-10", 10).is(Code::kInvalidArgument));
  EXPECT_TRUE(parse_copy_range("bytes=-3", 10).is(Code::kInvalidArgument));
}

TEST(Xml, WritesWhatXmlWouldMisread) {
  XmlWriter xml;
  xml.open("A");
  xml.leaf("B", "<&\">\x01");
  xml.leaf("C", uint64_t{7});
  xml.close();
  EXPECT_EQ(xml.take(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<A><B>&lt;&amp;&quot;&gt;&#x1;</B><C>7</C></A>");
}

TEST(Xml, ReadsRequests) {
  auto request = parse_delete(
      "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a b&amp;</Key>"
      "</Object><Object><Key> x </Key><VersionId>null</VersionId></Object><Quiet>true</Quiet>"
      "</Delete>");
  ASSERT_TRUE(request.is_ok()) << request.status().to_string();
  EXPECT_TRUE(request->is_quiet);
  EXPECT_EQ(request->keys, (std::vector<std::string>{"a b&", " x "}));
  EXPECT_TRUE(parse_delete("<Delete>").is(Code::kBadFormat));
  EXPECT_TRUE(parse_delete("<Other/>").is(Code::kBadFormat));
  EXPECT_TRUE(parse_delete("").is(Code::kBadFormat));
  EXPECT_TRUE(parse_delete("<Delete/>").is(Code::kBadFormat));
  std::string many = "<Delete>";
  for (int i = 0; i < 1001; ++i) many += "<Object><Key>k</Key></Object>";
  EXPECT_TRUE(parse_delete(many + "</Delete>").is(Code::kBadFormat));
  auto parts = parse_complete(
      "<CompleteMultipartUpload><Part><ETag>\"ab\"</ETag><PartNumber>2</PartNumber></Part>"
      "</CompleteMultipartUpload>");
  ASSERT_TRUE(parts.is_ok());
  EXPECT_EQ((*parts)[0].number, 2u);
  EXPECT_EQ((*parts)[0].etag, "ab");
  EXPECT_TRUE(parse_complete("<CompleteMultipartUpload/>").is(Code::kBadFormat));
  EXPECT_EQ(*parse_create_bucket(""), "");
  EXPECT_EQ(*parse_create_bucket("<CreateBucketConfiguration><LocationConstraint>eu-west-1"
                                 "</LocationConstraint></CreateBucketConfiguration>"),
            "eu-west-1");
}

TEST(Conditions, FollowRfc9110) {
  auto judge = [](std::vector<std::pair<std::string, std::string>> fields) {
    http::Headers headers;
    for (auto& [name, value] : fields) headers.add(name, value);
    return judge_conditions(headers, "", "abc", 1369353600 * kSecondNs + 5);
  };
  EXPECT_EQ(judge({}), Verdict::kGoOn);
  EXPECT_EQ(judge({{"If-Match", "\"abc\""}}), Verdict::kGoOn);
  EXPECT_EQ(judge({{"If-Match", "\"x\", \"abc\""}}), Verdict::kGoOn);
  EXPECT_EQ(judge({{"If-Match", "\"x\""}}), Verdict::kFailed);
  EXPECT_EQ(judge({{"If-None-Match", "*"}}), Verdict::kNotModified);
  EXPECT_EQ(judge({{"If-None-Match", "\"x\""}}), Verdict::kGoOn);
  EXPECT_EQ(judge({{"If-Modified-Since", "Fri, 24 May 2013 00:00:00 GMT"}}), Verdict::kNotModified);
  EXPECT_EQ(judge({{"If-Unmodified-Since", "Thu, 23 May 2013 00:00:00 GMT"}}), Verdict::kFailed);
  // If-Match that holds makes If-Unmodified-Since be ignored.
  EXPECT_EQ(judge({{"If-Match", "*"}, {"If-Unmodified-Since", "Thu, 23 May 2013 00:00:00 GMT"}}),
            Verdict::kGoOn);
}

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tarn-s3-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    content::RootOptions options;
    options.ballast_bytes = 1 << 20;
    ASSERT_TRUE(content::Root::create(directory_ + "/root", options).is_ok());
    store_ = kv::open_memory(meta::merge_function());
    open();
  }
  void TearDown() override {
    close();
    std::filesystem::remove_all(directory_);
  }
  void open() {
    auto root = content::Root::open(directory_ + "/root");
    ASSERT_TRUE(root.is_ok()) << root.status().to_string();
    root_ = std::move(*root);
    auto made = fs::FileSystem::open(*root_, *store_, {});
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    fs_ = std::move(*made);
    service_ = std::make_unique<S3Service>(*fs_);
  }
  void close() {
    service_.reset();
    EXPECT_TRUE(fs_->close().is_ok());
    fs_.reset();
    root_.reset();
  }
  void reopen() {
    close();
    open();
  }

  using Fields = std::vector<std::pair<std::string, std::string>>;
  http::Response call(std::string method, std::string target, std::string body = "",
                      const Fields& headers = {}) {
    http::Request request;
    request.method = std::move(method);
    const size_t question = target.find('?');
    request.raw_path = target.substr(0, question);
    request.path = *http::percent_decode(request.raw_path, http::Plus::kLiteral);
    if (question != std::string::npos)
      request.query = *http::parse_query(target.substr(question + 1));
    for (const auto& [field, value] : headers) request.headers.add(field, value);
    request.caller.uid = uid_;
    request.caller.gid = uid_;
    http::TextBody text(std::move(body));
    request.body = &text;
    http::Response response;
    service_->handle(request, response);
    return response;
  }
  /// Status and, for a refusal, its code.
  std::string outcome(std::string method, std::string target, std::string body = "",
                      const Fields& headers = {}) {
    const http::Response response =
        call(std::move(method), std::move(target), std::move(body), headers);
    return std::to_string(response.status) +
           (response.status >= 400 ? " " + between(response.body, "<Code>", "</Code>") : "");
  }
  std::string get(std::string target, const Fields& headers = {}) {
    const http::Response response = call("GET", std::move(target), "", headers);
    if (!response.source) return response.body;
    std::string text(response.source_length, '\0');
    auto n = response.source->read(response.source_offset, std::as_writable_bytes(std::span(text)));
    return n.is_ok() && *n == text.size() ? text : "short";
  }
  static std::string between(std::string_view text, std::string_view a, std::string_view b) {
    const size_t begin = text.find(a);
    if (begin == std::string_view::npos) return "";
    const size_t end = text.find(b, begin + a.size());
    return std::string(text.substr(begin + a.size(), end - begin - a.size()));
  }

  uint32_t uid_ = 0;
  std::string directory_;
  std::unique_ptr<content::Root> root_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<fs::FileSystem> fs_;
  std::unique_ptr<S3Service> service_;
};

TEST_F(ServiceTest, ObjectsComeBack) {
  EXPECT_EQ(outcome("PUT", "/b"), "400 InvalidBucketName");
  EXPECT_EQ(outcome("PUT", "/bucket"), "200");
  EXPECT_EQ(outcome("PUT", "/bucket"), "409 BucketAlreadyOwnedByYou");
  for (size_t size : {size_t{0}, size_t{5}, size_t{20'000}, size_t{300'000}}) {
    const std::string text(size, 'x');
    const auto put =
        call("PUT", "/bucket/d/key", text, {{"Content-Type", "text/plain"}, {"x-amz-meta-A", "1"}});
    EXPECT_EQ(put.status, 200) << put.body;
    EXPECT_EQ(get("/bucket/d/key"), text);
    const auto head = call("HEAD", "/bucket/d/key");
    EXPECT_EQ(head.headers.get("etag"), put.headers.get("etag"));
    EXPECT_EQ(head.headers.get("content-type"), "text/plain");
    EXPECT_EQ(head.headers.get("x-amz-meta-a"), "1");
    EXPECT_EQ(head.stated_length, size);
  }
  EXPECT_EQ(get("/bucket/d/key", {{"Range", "bytes=-3"}}), "xxx");
  EXPECT_EQ(outcome("GET", "/bucket/d/key", "", {{"Range", "bytes=300000-"}}), "416 InvalidRange");
  EXPECT_EQ(outcome("GET", "/bucket/none"), "404 NoSuchKey");
  EXPECT_EQ(outcome("GET", "/nobucket/none"), "404 NoSuchBucket");
  EXPECT_EQ(outcome("DELETE", "/bucket"), "409 BucketNotEmpty");
  EXPECT_EQ(outcome("DELETE", "/bucket/d/key"), "204");
  EXPECT_EQ(outcome("DELETE", "/bucket/d/key"), "204");
  EXPECT_EQ(outcome("DELETE", "/bucket"), "204") << "the implied directory went with its last key";
}

TEST_F(ServiceTest, RefusedKeysAndLackingOperations) {
  EXPECT_EQ(outcome("PUT", "/bucket"), "200");
  for (std::string key : {"a//b", "a/../b", "./a", "a/."}) {
    EXPECT_EQ(outcome("PUT", "/bucket/" + key, "x"), "400 InvalidArgument") << key;
  }
  EXPECT_EQ(outcome("PUT", "/bucket/" + std::string(256, 'a'), "x"), "400 InvalidArgument");
  EXPECT_EQ(outcome("PUT", "/bucket/d/", "x"), "400 InvalidArgument");
  EXPECT_EQ(outcome("PUT", "/bucket/k?tagging", "x"), "501 NotImplemented");
  EXPECT_EQ(outcome("PUT", "/bucket?lifecycle"), "501 NotImplemented");
  EXPECT_EQ(outcome("GET", "/bucket?versions"), "501 NotImplemented");
  EXPECT_EQ(outcome("GET", "/bucket/k", "", {{"Host", "bucket.localhost:80"}}),
            "400 InvalidRequest");
  EXPECT_EQ(outcome("POST", "/bucket?delete", "<nonsense"), "400 MalformedXML");
  EXPECT_EQ(outcome("PUT", "/bucket/k", "x", {{"If-None-Match", "*"}}), "200");
  EXPECT_EQ(outcome("PUT", "/bucket/k", "y", {{"If-None-Match", "*"}}), "412 PreconditionFailed");
  EXPECT_EQ(outcome("PUT", "/bucket/k", "y", {{"If-Match", "\"00\""}}), "412 PreconditionFailed");
  EXPECT_EQ(get("/bucket/k"), "x");
}

TEST_F(ServiceTest, ListsInPages) {
  call("PUT", "/bucket");
  for (std::string key : {"a", "b/1", "b/2", "b/3", "c+d e", "d/x/y"})
    call("PUT", "/bucket/" + http::percent_encode(key, http::Slashes::kKeep), "1");
  const std::string all = call("GET", "/bucket?list-type=2").body;
  EXPECT_EQ(between(all, "<KeyCount>", "</KeyCount>"), "6");
  const std::string grouped = call("GET", "/bucket?list-type=2&delimiter=/&max-keys=2").body;
  EXPECT_NE(grouped.find("<CommonPrefixes><Prefix>b/</Prefix>"), std::string::npos);
  EXPECT_EQ(between(grouped, "<IsTruncated>", "</IsTruncated>"), "true");
  const std::string token = between(grouped, "<NextContinuationToken>", "</NextContinuationToken>");
  const std::string rest =
      call("GET", "/bucket?list-type=2&delimiter=/&encoding-type=url&continuation-token=" + token)
          .body;
  EXPECT_NE(rest.find("<Key>c%2Bd%20e</Key>"), std::string::npos) << rest;
  EXPECT_NE(rest.find("<Prefix>d/</Prefix>"), std::string::npos);
  EXPECT_EQ(rest.find("<Prefix>b/</Prefix>"), std::string::npos);
  EXPECT_EQ(outcome("GET", "/bucket?list-type=2&continuation-token=xyz"), "400 InvalidArgument");
  EXPECT_EQ(outcome("GET", "/bucket?max-keys=none"), "400 InvalidArgument");
  EXPECT_EQ(between(call("GET", "/bucket?marker=b/2&max-keys=1").body, "<Key>", "</Key>"), "b/3");
}

TEST_F(ServiceTest, UploadsSurviveARestartAndJoinWithoutCopy) {
  call("PUT", "/bucket");
  const std::string id =
      between(call("POST", "/bucket/big?uploads", "", {{"x-amz-meta-k", "v"}}).body, "<UploadId>",
              "</UploadId>");
  ASSERT_FALSE(id.empty());
  const std::string first(5 << 20, 'a'), second = "tail";
  const std::string at = "/bucket/big?uploadId=" + id;
  const std::string e1(call("PUT", at + "&partNumber=1", first).headers.get("etag"));
  call("PUT", at + "&partNumber=2", "to be replaced");
  const std::string e2(call("PUT", at + "&partNumber=2", second).headers.get("etag"));
  call("PUT", at + "&partNumber=7", "not chosen");
  reopen();
  EXPECT_NE(call("GET", "/bucket?uploads").body.find(id), std::string::npos);
  const std::string parts = call("GET", at).body;
  EXPECT_NE(parts.find("<PartNumber>7</PartNumber>"), std::string::npos) << parts;
  EXPECT_EQ(outcome("POST", at,
                    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"0\"</ETag></"
                    "Part></CompleteMultipartUpload>"),
            "400 InvalidPart");
  const std::string order = "<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>" + e2 +
                            "</ETag></Part><Part><PartNumber>1</PartNumber><ETag>" + e1 +
                            "</ETag></Part></CompleteMultipartUpload>";
  EXPECT_EQ(outcome("POST", at, order), "400 InvalidPartOrder");
  const std::string good = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + e1 +
                           "</ETag></Part><Part><PartNumber>2</PartNumber><ETag>" + e2 +
                           "</ETag></Part></CompleteMultipartUpload>";
  const auto done = call("POST", at, good);
  EXPECT_EQ(done.status, 200) << done.body;
  EXPECT_NE(done.body.find("-2&quot;</ETag>"), std::string::npos) << done.body;
  EXPECT_EQ(get("/bucket/big"), first + second);
  EXPECT_EQ(call("HEAD", "/bucket/big").headers.get("x-amz-meta-k"), "v");
  EXPECT_EQ(outcome("POST", at, good), "404 NoSuchUpload");
  EXPECT_EQ(outcome("GET", at), "404 NoSuchUpload");
  ASSERT_TRUE(fs_->sync().is_ok());
  reopen();
  EXPECT_EQ(get("/bucket/big"), first + second);
  auto findings = meta::check(*store_);
  ASSERT_TRUE(findings.is_ok());
  for (const auto& finding : *findings) ADD_FAILURE() << finding.ino.value << " " << finding.what;
}

// docs/FORMAT.md, "Uploads in progress".
TEST_F(ServiceTest, UploadsInProgressHaveTheirGoldenRows) {
  call("PUT", "/bucket");
  const std::string id = between(
      call("POST", "/bucket/d/big?uploads", "", {{"x-amz-meta-k", "v"}, {"Content-Type", "t/t"}})
          .body,
      "<UploadId>", "</UploadId>");
  ASSERT_EQ(id.size(), 16u);
  const uint64_t number = std::stoull(id, nullptr, 16);
  call("PUT", "/bucket/d/big?partNumber=7&uploadId=" + id, "part");
  const auto rows = [&](const std::string& prefix) {
    std::vector<std::pair<std::string, std::string>> found;
    const auto txn = store_->begin();
    EXPECT_TRUE(txn->scan(kv::Range::prefix(prefix),
                          [&](std::string_view key, std::string_view value) {
                            found.emplace_back(key.substr(prefix.size()), value);
                            return true;
                          })
                    .is_ok());
    return found;
  };
  const auto number_bytes = [](uint64_t value) {
    std::string bytes;
    for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
    return bytes;
  };
  using Rows = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(rows("x" + number_bytes(number)), (Rows{{"upload.bucket",
                                                     "\x01"
                                                     "bucket"},
                                                    {"upload.key",
                                                     "\x01"
                                                     "d/big"},
                                                    {"upload.uid",
                                                     "\x01"
                                                     "0"},
                                                    {"user.s3.content-type", "\x01t/t"},
                                                    {"user.s3.x-amz-meta-k", "\x01v"}}));
  const auto names = rows("e" + number_bytes(2));
  ASSERT_EQ(names.size(), 1u);
  EXPECT_EQ(names[0].first, std::to_string(number) + "/");
  const auto parts = rows("e" + number_bytes(number));
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].first, "00007");
}

TEST_F(ServiceTest, CopiesAndDeletesMany) {
  call("PUT", "/bucket");
  call("PUT", "/bucket/a b", "text", {{"Content-Type", "t/t"}});
  EXPECT_EQ(outcome("PUT", "/bucket/c", "", {{"x-amz-copy-source", "bucket/a%20b"}}), "200");
  EXPECT_EQ(call("HEAD", "/bucket/c").headers.get("content-type"), "t/t");
  EXPECT_EQ(outcome("PUT", "/bucket/c", "", {{"x-amz-copy-source", "bucket/c"}}),
            "400 InvalidRequest");
  EXPECT_EQ(outcome("PUT", "/bucket/c", "", {{"x-amz-copy-source", "bucket/none"}}),
            "404 NoSuchKey");
  EXPECT_EQ(outcome("PUT", "/bucket/c", "",
                    {{"x-amz-copy-source", "/bucket/c"},
                     {"x-amz-metadata-directive", "REPLACE"},
                     {"Content-Type", "u/u"}}),
            "200");
  EXPECT_EQ(call("HEAD", "/bucket/c").headers.get("content-type"), "u/u");
  EXPECT_EQ(get("/bucket/c"), "text");
  const std::string deleted = call("POST", "/bucket?delete",
                                   "<Delete><Object><Key>a "
                                   "b</Key></Object><Object><Key>none</Key></Object><Object><Key>a/"
                                   "/b</Key></Object></Delete>")
                                  .body;
  EXPECT_NE(deleted.find("<Deleted><Key>none</Key></Deleted>"), std::string::npos) << deleted;
  EXPECT_EQ(deleted.find("<Error>"), std::string::npos) << deleted;
  EXPECT_EQ(outcome("GET", "/bucket/a%20b"), "404 NoSuchKey");
}

TEST_F(ServiceTest, PermissionsAreThoseOfTheKeysUser) {
  EXPECT_EQ(outcome("PUT", "/bucket"), "200");
  EXPECT_EQ(outcome("PUT", "/bucket/k", "x"), "200");
  uid_ = 1234;
  EXPECT_EQ(outcome("GET", "/bucket/k"), "200");
  EXPECT_EQ(outcome("PUT", "/bucket/k", "y"), "403 AccessDenied");
  EXPECT_EQ(outcome("PUT", "/bucket/new", "y"), "403 AccessDenied");
  EXPECT_EQ(outcome("DELETE", "/bucket/k"), "403 AccessDenied");
  EXPECT_EQ(outcome("PUT", "/bucket2"), "403 AccessDenied");
}

}  // namespace
}  // namespace tarn::s3
