#include "http/parser.h"

#include <fmt/format.h>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "http/uri.h"

namespace tarn::http {
namespace {

namespace beast = boost::beast;

constexpr uint32_t kHeadBytesMax = 64 * 1024;

std::unexpected<Fault> bad(const beast::error_code& error) {
  if (error == beast::http::error::header_limit) {
    return std::unexpected(
        Fault{431, "RequestHeaderSectionTooLarge",
              fmt::format("the head of a request has at most {} bytes", kHeadBytesMax)});
  }
  return std::unexpected(
      Fault{400, "BadRequest", fmt::format("this is not HTTP/1.1: {}", error.message())});
}

std::string text_of(beast::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

struct RequestParser::State {
  beast::http::request_parser<beast::http::buffer_body> parser;
};

RequestParser::RequestParser() : state_(std::make_unique<State>()) {
  state_->parser.header_limit(kHeadBytesMax);
  state_->parser.body_limit(boost::none);
}
RequestParser::~RequestParser() = default;
RequestParser::RequestParser(RequestParser&&) noexcept = default;

Outcome<size_t> RequestParser::feed(std::span<const std::byte> bytes) {
  beast::error_code error;
  const size_t n = state_->parser.put(boost::asio::const_buffer(bytes.data(), bytes.size()), error);
  if (error && error != beast::http::error::need_more && error != beast::http::error::need_buffer) {
    return bad(error);
  }
  return n;
}

bool RequestParser::is_head_done() const {
  return state_->parser.is_header_done();
}

Outcome<Request> RequestParser::take_request() {
  const auto& message = state_->parser.get();
  Request request;
  request.method = text_of(message.method_string());
  request.target = text_of(message.target());
  std::string_view target = request.target;
  // The absolute form names the host once more.
  if (target.starts_with("http://") || target.starts_with("https://")) {
    const size_t slash = target.find('/', target.find("//") + 2);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  const size_t question = target.find('?');
  request.raw_path = target.substr(0, question);
  auto path = percent_decode(request.raw_path, Plus::kLiteral);
  auto query = parse_query(question == std::string_view::npos ? std::string_view()
                                                              : target.substr(question + 1));
  if (!path || !query || !request.raw_path.starts_with('/')) {
    return std::unexpected(
        Fault{400, "InvalidURI", fmt::format("the target '{}' cannot be decoded", request.target)});
  }
  request.path = std::move(*path);
  request.query = std::move(*query);
  for (const auto& field : message) {
    request.headers.add(text_of(field.name_string()), text_of(field.value()));
  }
  return request;
}

std::optional<uint64_t> RequestParser::body_length() const {
  if (state_->parser.chunked()) return std::nullopt;
  const auto length = state_->parser.content_length();
  return length ? *length : 0;
}

bool RequestParser::keeps_alive() const {
  return state_->parser.get().keep_alive();
}

bool RequestParser::expects_continue() const {
  const auto& message = state_->parser.get();
  return beast::iequals(message[beast::http::field::expect], "100-continue");
}

Outcome<RequestParser::Progress> RequestParser::feed_body(std::span<const std::byte> bytes,
                                                          std::span<std::byte> out) {
  auto& body = state_->parser.get().body();
  body.data = out.data();
  body.size = out.size();
  body.more = true;
  Progress progress;
  while (!state_->parser.is_done() && body.size > 0 && progress.taken < bytes.size()) {
    beast::error_code error;
    const auto rest = bytes.subspan(progress.taken);
    const size_t n = state_->parser.put(boost::asio::const_buffer(rest.data(), rest.size()), error);
    progress.taken += n;
    if (error == beast::http::error::need_more || error == beast::http::error::need_buffer) {
      if (n == 0) break;
      continue;
    }
    if (error) return bad(error);
  }
  progress.decoded = out.size() - body.size;
  progress.is_done = state_->parser.is_done();
  return progress;
}

}  // namespace tarn::http
