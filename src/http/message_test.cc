#include "http/message.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "http/date.h"
#include "http/parser.h"
#include "http/uri.h"

namespace tarn::http {
namespace {

TEST(Uri, EncodesByTheRulesOfSigning) {
  EXPECT_EQ(percent_encode("a b/c+d%~", Slashes::kKeep), "a%20b/c%2Bd%25~");
  EXPECT_EQ(percent_encode("a/b", Slashes::kEncode), "a%2Fb");
  EXPECT_EQ(percent_encode("\xc3\xa9", Slashes::kKeep), "%C3%A9");
  EXPECT_EQ(percent_decode("a%20b%2Bc+d", Plus::kLiteral), "a b+c+d");
  EXPECT_EQ(percent_decode("a+b", Plus::kSpace), "a b");
  EXPECT_EQ(percent_decode("a%2", Plus::kLiteral), std::nullopt);
  EXPECT_EQ(percent_decode("%zz", Plus::kLiteral), std::nullopt);
}

TEST(Uri, ParsesQueries) {
  const Query expected = {{"a", "1"}, {"b c", ""}, {"d", "=&"}};
  EXPECT_EQ(parse_query("a=1&b%20c&&d=%3D%26"), expected);
  EXPECT_EQ(parse_query("a=%"), std::nullopt);
}

TEST(Date, HttpAndAmazonForms) {
  const TimeNs time = 1369353600 * kSecondNs;  // 24 May 2013, 00:00
  EXPECT_EQ(format_http_date(time), "Fri, 24 May 2013 00:00:00 GMT");
  EXPECT_EQ(parse_http_date("Fri, 24 May 2013 00:00:00 GMT"), time);
  EXPECT_EQ(parse_http_date("Fri, 31 Jun 2013 00:00:00 GMT"), std::nullopt);
  EXPECT_EQ(parse_http_date("yesterday"), std::nullopt);
  EXPECT_EQ(format_amz_date(time), "20130524T000000Z");
  EXPECT_EQ(parse_amz_date("20130524T000000Z"), time);
  EXPECT_EQ(parse_amz_date("20130524T00000Z"), std::nullopt);
  EXPECT_EQ(format_iso_date(time + 7 * kMillisecondNs), "2013-05-24T00:00:00.007Z");
}

TEST(Headers, NamesCompareWithoutCase) {
  Headers headers;
  headers.add("Content-Type", "a");
  headers.add("X-A", "1");
  headers.set("content-type", "b");
  EXPECT_EQ(headers.get("CONTENT-TYPE"), "b");
  EXPECT_EQ(headers.find("x-b"), std::nullopt);
  EXPECT_EQ(headers.all().size(), 2u);
}

TEST(Parser, TakesAHeadInAnyPieces) {
  const std::string text =
      "PUT /b/a%20b?x=1&y HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
      "hello";
  for (size_t step : {size_t{1}, size_t{7}, text.size()}) {
    RequestParser parser;
    size_t at = 0, available = 0;
    while (!parser.is_head_done()) {
      available = std::min(text.size(), available + step);
      auto taken = parser.feed(as_bytes(std::string_view(text).substr(at, available - at)));
      ASSERT_TRUE(taken) << taken.error().message;
      at += *taken;
    }
    EXPECT_EQ(text.substr(at), "hello");
    auto request = parser.take_request();
    ASSERT_TRUE(request);
    EXPECT_EQ(request->method, "PUT");
    EXPECT_EQ(request->path, "/b/a b");
    EXPECT_EQ(request->raw_path, "/b/a%20b");
    EXPECT_TRUE(request->has_parameter("y"));
    EXPECT_EQ(parser.body_length(), 5u);
    EXPECT_TRUE(parser.expects_continue());
    EXPECT_TRUE(parser.keeps_alive());
  }
}

TEST(Parser, RefusesWhatIsNoHttp) {
  RequestParser parser;
  EXPECT_FALSE(parser.feed(as_bytes("\x16\x03\x01 hello\r\n\r\n")));
  RequestParser large;
  std::string text = "GET / HTTP/1.1\r\nA: " + std::string(70'000, 'a') + "\r\n\r\n";
  auto taken = large.feed(as_bytes(text));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().http, 431);
}

TEST(Parser, DecodesChunks) {
  RequestParser parser;
  std::string text =
      "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n, w\r\n0\r\n\r\n";
  auto taken = parser.feed(as_bytes(text));
  ASSERT_TRUE(taken);
  EXPECT_EQ(parser.body_length(), std::nullopt);
  std::string_view rest = std::string_view(text).substr(*taken);
  std::string body;
  for (bool is_done = false; !is_done;) {
    std::byte out[3];
    auto progress = parser.feed_body(as_bytes(rest), out);
    ASSERT_TRUE(progress) << progress.error().message;
    ASSERT_TRUE(progress->taken > 0 || progress->decoded > 0 || progress->is_done);
    body.append(reinterpret_cast<char*>(out), progress->decoded);
    rest.remove_prefix(progress->taken);
    is_done = progress->is_done;
  }
  EXPECT_EQ(body, "hello, w");
}

}  // namespace
}  // namespace tarn::http
