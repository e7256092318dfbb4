// One request of the kernel's: its parts as typed values, and its one answer.
//
// Request is a cursor over the bytes of a request: `take<T>` and `take_name` consume it in order
// and report short or malformed ones as kInvalidArgument. Exchange adds the answer: exactly one of
// the `answer` functions or `fail` is called, from whichever thread works on it. An answer that the
// kernel did not take, because the caller was interrupted or died meanwhile, is kInterrupted, so
// that handlers can undo what would leak (an open handle). Thread rules: one thread at a time.
#pragma once

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "fs/types.h"
#include "mount/channel.h"
#include "mount/interrupts.h"

namespace tarn::mount {

class Request {
 public:
  /// `bytes` must stay valid. kBadFormat when they are shorter than the header says.
  static Result<Request> parse(std::span<const std::byte> bytes);

  const wire::InHeader& header() const { return header_; }
  wire::Opcode opcode() const { return static_cast<wire::Opcode>(header_.opcode); }
  Ino node() const { return Ino(header_.nodeid); }
  bool is_resent() const { return (header_.unique & wire::kUniqueResend) != 0; }
  /// Without the resend bit.
  uint64_t unique() const { return header_.unique & ~wire::kUniqueResend; }

  template <class T>
  Result<T> take() {
    T value;
    TARN_ASSIGN(auto bytes, take_bytes(sizeof value));
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  /// A name that ends in a NUL (not included).
  Result<std::string_view> take_name();
  Result<std::span<const std::byte>> take_bytes(size_t count);
  std::span<const std::byte> rest() const { return rest_; }

 private:
  wire::InHeader header_{};
  std::span<const std::byte> rest_;
};

class Exchange {
 public:
  /// `pending` is set for requests that may be interrupted; all must outlive this.
  Exchange(Request request, Queue& queue, std::span<std::byte> room, uint64_t connection,
           PendingRequest* pending = nullptr)
      : request_(request), queue_(queue), room_(room), connection_(connection), pending_(pending) {}

  Request& request() { return request_; }
  Ino node() const { return request_.node(); }
  /// Space in which the data of an answer can be made; empty in the pool.
  std::span<std::byte> room() const { return room_; }
  /// The process that asked; the kernel has checked its permissions.
  fs::Caller caller(uint32_t umask = 022) const;
  /// The caller has a signal; operations that can end early with part of the work should.
  bool is_interrupted() const { return pending_ != nullptr && pending_->is_interrupted(); }

  Status answer() { return send(0, {}); }
  template <class T>
  Status answer(const T& value) {
    std::array<iovec, 1> parts{part(value)};
    return send(0, parts);
  }
  template <class A, class B>
  Status answer(const A& first, const B& second) {
    std::array<iovec, 2> parts{part(first), part(second)};
    return send(0, parts);
  }
  Status answer_bytes(std::span<const std::byte> data);
  /// Answers with the errno of `status`; nothing when an answer was given or is not wanted.
  void fail(const Status& status);
  /// FORGET and its like have no answer.
  void needs_no_answer() { is_answered_ = true; }

  bool is_answered() const { return is_answered_; }
  uint32_t opcode_number() const { return request_.header().opcode; }
  int error() const { return error_; }

 private:
  template <class T>
  static iovec part(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return {const_cast<T*>(&value), sizeof value};
  }
  Status send(int error, std::span<const iovec> parts);

  Request request_;
  Queue& queue_;
  std::span<std::byte> room_;
  uint64_t connection_;
  PendingRequest* pending_;
  bool is_answered_ = false;
  int error_ = 0;
};

}  // namespace tarn::mount
