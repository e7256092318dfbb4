#include "http/connection.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include <fmt/format.h>

#include "base/log.h"
#include "http/date.h"
#include "http/hash.h"
#include "http/parser.h"

namespace tarn::http {
namespace {

constexpr size_t kBufferBytes = 16 * 1024;
// A source of at most this many bytes goes out in one packet with its head.
constexpr uint64_t kTogetherBytes = 64 * 1024;
constexpr size_t kSendBytes = 256 * 1024;
// What a service left of a body is read, up to this, so that the connection can be kept.
constexpr uint64_t kDrainBytesMax = 1 << 20;
constexpr int kLingerMs = 20;
constexpr int kCloseWaitMs = 2000;

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 416:
      return "Range Not Satisfiable";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 507:
      return "Insufficient Storage";
    default:
      return status < 400 ? "Done" : "Error";
  }
}

}  // namespace

/// The body as it stands on the wire, of known length or in HTTP's own chunks.
class RawBody final : public Body {
 public:
  RawBody(Connection& connection, RequestParser& parser)
      : connection_(connection),
        parser_(parser),
        length_(parser.body_length()),
        left_(length_.value_or(0)),
        is_done_(length_ == 0),
        wants_continue_(parser.expects_continue()) {}

  std::optional<uint64_t> size() const override { return length_; }
  bool is_done() const { return is_done_; }
  bool is_awaiting_continue() const { return wants_continue_; }

  Result<size_t> read(std::span<std::byte> out) override {
    if (fault_) return Status(Code::kBadFormat, fault_->message);
    // Also for an empty body: botocore, which asks then too, takes the next answer on the
    // connection for a part of this one when it has not seen the 100.
    if (wants_continue_) {
      wants_continue_ = false;
      TARN_TRY(connection_.transport_->send(as_bytes("HTTP/1.1 100 Continue\r\n\r\n"), false));
    }
    if (is_done_ || out.empty()) return size_t{0};
    return length_ ? read_plain(out) : read_chunked(out);
  }

 private:
  Result<size_t> lost(const Status& status) {
    if (status.is(Code::kTimedOut)) {
      return fail(400, "RequestTimeout", "the body did not arrive in time");
    }
    return fail(400, "IncompleteBody", "the connection ended inside the body");
  }

  Result<size_t> read_plain(std::span<std::byte> out) {
    out = out.first(std::min<uint64_t>(out.size(), left_));
    size_t n = 0;
    if (connection_.begin_ < connection_.end_) {
      n = std::min(out.size(), connection_.end_ - connection_.begin_);
      std::memcpy(out.data(), connection_.buffer_.data() + connection_.begin_, n);
      connection_.begin_ += n;
    } else {
      auto got = connection_.transport_->receive(out);
      if (!got.is_ok() || *got == 0) return lost(got.status());
      n = *got;
    }
    left_ -= n;
    is_done_ = left_ == 0;
    return n;
  }

  Result<size_t> read_chunked(std::span<std::byte> out) {
    while (!is_done_) {
      if (connection_.begin_ == connection_.end_) {
        if (Status filled = connection_.fill(); !filled.is_ok()) return lost(filled);
      }
      const auto bytes = std::span<const std::byte>(connection_.buffer_)
                             .subspan(connection_.begin_, connection_.end_ - connection_.begin_);
      auto progress = parser_.feed_body(bytes, out);
      if (!progress) {
        return fail(progress.error().http, progress.error().code, progress.error().message);
      }
      connection_.begin_ += progress->taken;
      is_done_ = progress->is_done;
      if (progress->decoded > 0) return progress->decoded;
      if (progress->taken == 0 && !is_done_) {
        // The parser wants a longer piece: keep what there is and add to it.
        if (Status filled = connection_.fill(); !filled.is_ok()) return lost(filled);
      }
    }
    return size_t{0};
  }

  Connection& connection_;
  RequestParser& parser_;
  const std::optional<uint64_t> length_;
  uint64_t left_;
  bool is_done_;
  bool wants_continue_;
};

Connection::Connection(std::unique_ptr<Transport> transport, bool is_tls,
                       const ServerOptions& options, Handler& handler,
                       const std::atomic<bool>& is_stopping)
    : transport_(std::move(transport)),
      is_tls_(is_tls),
      options_(options),
      handler_(handler),
      is_stopping_(is_stopping),
      idle_since_(Clock::system().monotonic()) {}

Connection::~Connection() = default;

bool Connection::serve(bool may_linger) {
  if (!is_accepted_) {
    if (Status done = transport_->accept(); !done.is_ok()) {
      log_debug("http.handshake", "error={}", done.to_string());
      return false;
    }
    is_accepted_ = true;
  }
  while (true) {
    const Next next = serve_one(may_linger);
    is_in_request_.store(false);
    if (next == Next::kClose) return false;
    if (next == Next::kIdle) {
      if (begin_ == end_) buffer_ = {};
      return !is_stopping_.load();
    }
  }
}

bool Connection::wait_readable(int timeout_ms) {
  return begin_ < end_ || wait_for_more(timeout_ms);
}

bool Connection::wait_for_more(int timeout_ms) {
  if (transport_->has_pending()) return true;
  pollfd item{.fd = transport_->fd(), .events = POLLIN, .revents = 0};
  return ::poll(&item, 1, timeout_ms) > 0;
}

Status Connection::fill() {
  if (buffer_.empty()) buffer_.resize(kBufferBytes);
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == buffer_.size()) {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    } else {
      buffer_.resize(buffer_.size() * 2);
    }
  }
  TARN_ASSIGN(const size_t n, transport_->receive(std::span(buffer_).subspan(end_)));
  if (n == 0) return Status(Code::kUnavailable, "the peer has closed");
  end_ += n;
  return {};
}

Connection::Next Connection::serve_one(bool may_linger) {
  if (!wait_readable(0) && !(may_linger && wait_readable(kLingerMs))) return Next::kIdle;
  RequestParser parser;
  const TimeNs deadline = Clock::system().monotonic() + options_.head_timeout_s * kSecondNs;
  bool is_first = true;
  while (!parser.is_head_done()) {
    if (begin_ == end_ || !is_first) {
      const TimeNs left = deadline - Clock::system().monotonic();
      if (left <= 0 || !wait_for_more(static_cast<int>(left / kMillisecondNs) + 1)) {
        refuse({408, "RequestTimeout", "the head of the request did not arrive in time"});
        return Next::kClose;
      }
      if (!fill().is_ok()) return Next::kClose;
    }
    is_first = false;
    auto taken = parser.feed(std::span<const std::byte>(buffer_).subspan(begin_, end_ - begin_));
    if (!taken) {
      refuse(taken.error());
      return Next::kClose;
    }
    begin_ += *taken;
  }
  is_in_request_.store(true);
  auto request = parser.take_request();
  if (!request) {
    refuse(request.error());
    return Next::kClose;
  }
  request->is_tls = is_tls_;
  request->id = random_hex(16);
  for (char& c : request->id) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  RawBody body(*this, parser);
  request->body = &body;
  const RequestScope scope(request->id);
  Response response;
  handler_.handle(*request, response);

  bool keep_alive = parser.keeps_alive() && !is_stopping_.load();
  // A client that was not told to go on sends no body; whether it comes nevertheless is not known.
  if (body.is_awaiting_continue() || body.fault()) keep_alive = false;
  if (keep_alive && !body.is_done()) {
    std::array<std::byte, 16 * 1024> rest;
    uint64_t drained = 0;
    while (!body.is_done() && drained < kDrainBytesMax) {
      auto n = body.read(rest);
      if (!n.is_ok() || *n == 0) break;
      drained += *n;
    }
    keep_alive = body.is_done();
  }
  if (Status sent = write(*request, response, keep_alive); !sent.is_ok()) {
    log_debug("http.send", "error={}", sent.to_string());
    return Next::kClose;
  }
  if (keep_alive) return Next::kAnother;
  // The rest of the body is thrown away for a moment, so that a reset does not overtake the answer.
  transport_->finish();
  std::array<std::byte, 16 * 1024> rest;
  const TimeNs until = Clock::system().monotonic() + kCloseWaitMs * kMillisecondNs;
  while (!body.is_done() && Clock::system().monotonic() < until && wait_readable(100)) {
    auto n = transport_->receive(rest);
    if (!n.is_ok() || *n == 0) break;
  }
  return Next::kClose;
}

void Connection::refuse(const Fault& fault) {
  Response response;
  response.status = fault.http;
  response.headers.add("Content-Type", "text/plain");
  response.body = fmt::format("{}: {}\n", fault.code, fault.message);
  Request none;
  none.id = "0";
  if (Status sent = write(none, response, false); !sent.is_ok()) {
    log_debug("http.send", "error={}", sent.to_string());
  }
  transport_->finish();
}

Status Connection::write(const Request& request, Response& response, bool keep_alive) {
  const bool has_body = request.method != "HEAD" && response.status != 304 &&
                        response.status != 204 && response.status >= 200;
  const uint64_t length = response.stated_length.value_or(response.source ? response.source_length
                                                                          : response.body.size());
  std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nServer: Tarn\r\nDate: {}\r\nx-amz-request-id: {}\r\n"
      "x-amz-id-2: {}\r\n",
      response.status, reason_of(response.status), format_http_date(Clock::system().now()),
      request.id, request.id);
  for (const auto& [name, value] : response.headers.all()) {
    // A line break in a value would begin a header of its own.
    const bool is_clean = name.find_first_of("\r\n:") == std::string::npos &&
                          value.find_first_of("\r\n") == std::string::npos;
    if (is_clean) head += fmt::format("{}: {}\r\n", name, value);
  }
  if (response.status != 204 && response.status != 304) {
    head += fmt::format("Content-Length: {}\r\n", length);
  }
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  if (!has_body || length == 0) return transport_->send(as_bytes(head), false);
  if (response.source) return write_source(response, std::move(head));
  head += response.body;
  return transport_->send(as_bytes(head), false);
}

Status Connection::write_source(Response& response, std::string head) {
  ByteSource& source = *response.source;
  uint64_t offset = response.source_offset, left = response.source_length;
  if (left <= kTogetherBytes) {
    const size_t head_bytes = head.size();
    head.resize(head_bytes + left);
    auto* data = reinterpret_cast<std::byte*>(head.data()) + head_bytes;
    for (uint64_t done = 0; done < left;) {
      TARN_ASSIGN(const size_t n, source.read(offset + done, {data + done, left - done}));
      if (n == 0) return Status(Code::kIo, "the file became shorter while it was sent");
      done += n;
    }
    return transport_->send(as_bytes(head), false);
  }
  TARN_TRY(transport_->send(as_bytes(head), true));
  std::vector<std::byte> buffer;
  while (left > 0) {
    const ByteSource::Extent extent = source.extent(offset, left);
    uint64_t n = std::min(extent.length, left);
    if (extent.fd >= 0 && n > 0) {
      TARN_TRY(transport_->send_file(extent.fd, extent.offset, n));
    } else {
      if (buffer.empty()) buffer.resize(kSendBytes);
      TARN_ASSIGN(
          n, source.read(offset, std::span(buffer).first(std::min<uint64_t>(left, buffer.size()))));
      if (n == 0) return Status(Code::kIo, "the file became shorter while it was sent");
      TARN_TRY(transport_->send(std::span(buffer).first(n), n < left));
    }
    offset += n;
    left -= n;
  }
  return {};
}

}  // namespace tarn::http
