#include "http/transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

namespace tarn::http {
namespace {

// One sendfile call; the kernel may send less.
constexpr uint64_t kSendFileBytes = uint64_t{1} << 30;

Status socket_error(std::string_view what) {
  if (errno == EAGAIN || errno == EWOULDBLOCK) {
    return Status(Code::kTimedOut, fmt::format("{}: the peer made no progress", what));
  }
  return last_errno(what);
}

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(UniqueFd socket) : socket_(std::move(socket)) {}
  int fd() const override { return socket_.get(); }
  Status accept() override { return {}; }

  Result<size_t> receive(std::span<std::byte> out) override {
    while (true) {
      const ssize_t n = ::recv(fd(), out.data(), out.size(), 0);
      if (n >= 0) return static_cast<size_t>(n);
      if (errno != EINTR) return socket_error("receive");
    }
  }

  Status send(std::span<const std::byte> bytes, bool more) override {
    while (!bytes.empty()) {
      const ssize_t n =
          ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | (more ? MSG_MORE : 0));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return socket_error("send");
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return {};
  }

  Status send_file(int file, uint64_t offset, uint64_t length) override {
    auto at = static_cast<off_t>(offset);
    while (length > 0) {
      const ssize_t n = ::sendfile(fd(), file, &at, std::min(length, kSendFileBytes));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return socket_error("sendfile");
      if (n == 0) return Status(Code::kIo, "the file became shorter while it was sent");
      length -= static_cast<uint64_t>(n);
    }
    return {};
  }

  bool has_pending() const override { return false; }
  void finish() override { ::shutdown(fd(), SHUT_WR); }

 private:
  UniqueFd socket_;
};

std::string tls_errors() {
  std::string text;
  while (const unsigned long error = ERR_get_error()) {
    char line[256];
    ERR_error_string_n(error, line, sizeof line);
    if (!text.empty()) text += "; ";
    text += line;
  }
  return text.empty() ? "unknown" : text;
}

class TlsTransport final : public Transport {
 public:
  TlsTransport(UniqueFd socket, SSL* ssl) : socket_(std::move(socket)), ssl_(ssl, &SSL_free) {
    SSL_set_fd(ssl_.get(), socket_.get());
  }
  int fd() const override { return socket_.get(); }

  Status accept() override {
    const int done = SSL_accept(ssl_.get());
    return done == 1 ? Status() : failed("TLS handshake", done);
  }

  Result<size_t> receive(std::span<std::byte> out) override {
    size_t n = 0;
    const int done = SSL_read_ex(ssl_.get(), out.data(), out.size(), &n);
    if (done == 1) return n;
    if (SSL_get_error(ssl_.get(), done) == SSL_ERROR_ZERO_RETURN) return size_t{0};
    return failed("receive over TLS", done);
  }

  Status send(std::span<const std::byte> bytes, bool) override {
    while (!bytes.empty()) {
      size_t n = 0;
      const int done = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &n);
      if (done != 1) return failed("send over TLS", done);
      bytes = bytes.subspan(n);
    }
    return {};
  }

  Status send_file(int file, uint64_t offset, uint64_t length) override {
    std::vector<std::byte> buffer(256 * 1024);
    while (length > 0) {
      const auto part = std::span(buffer).first(std::min<uint64_t>(length, buffer.size()));
      TARN_TRY(read_exactly_at(file, offset, part));
      TARN_TRY(send(part, true));
      offset += part.size();
      length -= part.size();
    }
    return {};
  }

  bool has_pending() const override { return SSL_pending(ssl_.get()) > 0; }
  void finish() override {
    SSL_shutdown(ssl_.get());
    ::shutdown(fd(), SHUT_WR);
  }

 private:
  Status failed(std::string_view what, int done) {
    const int kind = SSL_get_error(ssl_.get(), done);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
      return Status(Code::kTimedOut, fmt::format("{}: the peer made no progress", what));
    }
    if (kind == SSL_ERROR_SYSCALL && errno != 0) return socket_error(what);
    return Status(Code::kIo, fmt::format("{}: {}", what, tls_errors()));
  }

  UniqueFd socket_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
};

class TlsContextImpl final : public TlsContext {
 public:
  explicit TlsContextImpl(SSL_CTX* context) : context_(context, &SSL_CTX_free) {}
  std::unique_ptr<Transport> wrap(UniqueFd socket) override {
    return std::make_unique<TlsTransport>(std::move(socket), SSL_new(context_.get()));
  }

 private:
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
};

}  // namespace

void Transport::shut_down() {
  ::shutdown(fd(), SHUT_RDWR);
}

void set_timeouts(int socket, int timeout_s) {
  const timeval wait{.tv_sec = timeout_s, .tv_usec = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

std::unique_ptr<Transport> make_plain_transport(UniqueFd socket) {
  return std::make_unique<PlainTransport>(std::move(socket));
}

Result<std::shared_ptr<TlsContext>> TlsContext::open(const std::string& certificate_file,
                                                     const std::string& key_file) {
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  if (context == nullptr) return Status(Code::kInternal, "TLS: " + tls_errors());
  auto made = std::make_shared<TlsContextImpl>(context);
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY);
  // Clients that close without saying so are an end like any other.
  SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  if (SSL_CTX_use_certificate_chain_file(context, certificate_file.c_str()) != 1) {
    return Status(Code::kInvalidArgument,
                  fmt::format("certificate '{}': {}", certificate_file, tls_errors()));
  }
  if (SSL_CTX_use_PrivateKey_file(context, key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Status(Code::kInvalidArgument, fmt::format("key '{}': {}", key_file, tls_errors()));
  }
  return std::shared_ptr<TlsContext>(std::move(made));
}

}  // namespace tarn::http
