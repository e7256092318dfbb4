// RequestParser: HTTP/1.1 requests out of a stream of bytes, by Boost.Beast's parser.
//
// Feed it what was received; it says how much of that it took. After the head is complete a body of
// known length is the caller's to read, a chunked one goes on through feed_body. Beast is included
// by parser.cc alone. Limits: 64 KiB of head. Thread rules: one thread a parser.
#pragma once

#include <memory>
#include <span>

#include "http/message.h"

namespace tarn::http {

class RequestParser {
 public:
  RequestParser();
  ~RequestParser();
  RequestParser(RequestParser&&) noexcept;

  /// Takes bytes of the head; returns how many. A Fault when they are no HTTP.
  Outcome<size_t> feed(std::span<const std::byte> bytes);
  bool is_head_done() const;
  /// Method, target, path, query and headers of the finished head. A Fault for a target that cannot
  /// be decoded.
  Outcome<Request> take_request();
  /// Content-Length; 0 when there is no body; nothing when it is chunked.
  std::optional<uint64_t> body_length() const;
  bool keeps_alive() const;
  bool expects_continue() const;

  struct Progress {
    size_t taken = 0;    // of `bytes`
    size_t decoded = 0;  // put into `out`
    bool is_done = false;
  };
  /// A chunked body.
  Outcome<Progress> feed_body(std::span<const std::byte> bytes, std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tarn::http
