// The server over real sockets: keep-alive, bodies, limits, ends.
#include "http/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "http/body.h"
#include "http/router.h"

namespace tarn::http {
namespace {

class Echo final : public Handler {
 public:
  void handle(Request& request, Response& response) override {
    if (request.path == "/ignore") {
      response.body = "ignored";
      return;
    }
    auto text = read_all(*request.body, 64 << 20);
    if (!text.is_ok()) {
      response.status = request.body->fault() ? request.body->fault()->http : 500;
      return;
    }
    response.headers.add("X-Bad", "a\r\nb");
    response.body = request.method + " " + request.path + " " + std::to_string(text->size());
    if (text->size() < 100) response.body += " " + *text;
  }
};

class Client {
 public:
  explicit Client(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    set_timeouts(socket_.get(), 10);
  }
  void send(std::string_view text) { (void)write_all(socket_.get(), as_bytes(text)).is_ok(); }
  /// Until `end` has been received, or the peer closed.
  std::string receive_until(std::string_view end) {
    std::string text;
    while (!text.ends_with(end)) {
      char c = 0;
      if (::recv(socket_.get(), &c, 1, 0) != 1) break;
      text += c;
    }
    return text;
  }
  bool is_closed() {
    char c = 0;
    return ::recv(socket_.get(), &c, 1, 0) <= 0;
  }

 private:
  UniqueFd socket_;
};

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.addresses = {{}};
    options.threads = 4;
    options.head_timeout_s = 1;
    auto server = Server::start(std::move(options), echo_);
    ASSERT_TRUE(server.is_ok()) << server.status().to_string();
    server_ = std::move(*server);
  }
  Echo echo_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, KeepsConnections) {
  Client client(server_->port(0));
  for (int i = 0; i < 3; ++i) {
    client.send(fmt::format("PUT /a{} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", i));
    const std::string answer = client.receive_until(fmt::format("PUT /a{} 2 hi", i));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_NE(answer.find("x-amz-request-id: "), std::string::npos);
    EXPECT_EQ(answer.find("X-Bad"), std::string::npos) << "a header with a line break";
  }
  // Two at once, and after a pause in which the connection went back to epoll.
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\nGET /y HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_NE(client.receive_until("GET /x 0 ").size(), 0u);
  EXPECT_TRUE(client.receive_until("GET /y 0 ").ends_with("GET /y 0 "));
}

TEST_F(ServerTest, ContinuesOnlyWhenTheBodyIsWanted) {
  Client client(server_->port(0));
  client.send("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("hi");
  EXPECT_TRUE(client.receive_until("PUT /a 2 hi").ends_with("hi"));
  client.send("PUT /e HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n") << "empty body";
  client.receive_until("PUT /e 0 ");
  client.send(
      "PUT /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  const std::string answer = client.receive_until("ignored");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200"));
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
}

TEST_F(ServerTest, ChunkedAndLargeBodies) {
  Client client(server_->port(0));
  client.send(
      "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
  EXPECT_TRUE(client.receive_until("PUT /c 5 hello").ends_with("hello"));
  client.send("PUT /l HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n");
  client.send(std::string(5'000'000, 'x'));
  EXPECT_TRUE(client.receive_until("PUT /l 5000000").ends_with("5000000"));
  // What a service leaves of a short body is read away.
  client.send("PUT /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345");
  EXPECT_TRUE(client.receive_until("ignored").ends_with("ignored"));
  client.send("GET /z HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(client.receive_until("GET /z 0 ").ends_with("GET /z 0 "));
}

TEST_F(ServerTest, RefusesNonsenseAndSlowHeads) {
  Client nonsense(server_->port(0));
  nonsense.send("hello there\r\n\r\n");
  EXPECT_TRUE(nonsense.receive_until("\n\n").starts_with("HTTP/1.1 400 "));
  Client slow(server_->port(0));
  slow.send("GET / HT");
  EXPECT_TRUE(slow.receive_until("\n\n").starts_with("HTTP/1.1 408 "));
}

TEST_F(ServerTest, AddressInUseAndStop) {
  ServerOptions options;
  options.addresses = {{.host = "127.0.0.1", .port = server_->port(0), .tls = nullptr}};
  auto second = Server::start(std::move(options), echo_);
  ASSERT_FALSE(second.is_ok());
  EXPECT_TRUE(second.is(Code::kBusy)) << second.status().to_string();
  Client idle(server_->port(0));
  idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  idle.receive_until("GET / 0 ");
  server_->stop();
  EXPECT_TRUE(idle.is_closed());
}

class NoKeys final : public KeyStore {
 public:
  std::optional<Key> find(std::string_view) override { return std::nullopt; }
};

TEST(Router, AdminNeedsNoSignatureAndServicesDo) {
  class Plain final : public Service {
   public:
    std::string_view name() const override { return "s3"; }
    void handle(Request&, Response& response) override { response.body = "served"; }
    void refuse(const Request&, const Fault& fault, Response& response) override {
      response.status = fault.http;
      response.body = fault.code;
    }
  } service;
  NoKeys keys;
  Router router(keys, Clock::system());
  router.add(service);
  auto answer = [&](std::string path, std::string authorization) {
    Request request;
    request.method = "GET";
    request.path = request.raw_path = std::move(path);
    if (!authorization.empty()) request.headers.add("Authorization", authorization);
    TextBody body("");
    request.body = &body;
    Response response;
    router.handle(request, response);
    return std::to_string(response.status) + " " + response.body;
  };
  EXPECT_EQ(answer("/_tarn/health", ""), "200 ok\n");
  EXPECT_EQ(answer("/b", ""), "403 AccessDenied");
  const std::string scope = "AWS4-HMAC-SHA256 Credential=K/20130524/us-east-1/";
  EXPECT_EQ(answer("/", scope + "lambda/aws4_request,SignedHeaders=host,Signature=0"),
            "501 NotImplemented");
  EXPECT_EQ(answer("/", scope + "s3/aws4_request,SignedHeaders=host,Signature=0"),
            "403 InvalidAccessKeyId");
  EXPECT_NE(answer("/_tarn/metrics", "")
                .find("tarn_http_requests_total{service=\"s3\",status=\"4xx\"} 2"),
            std::string::npos);
}

}  // namespace
}  // namespace tarn::http
