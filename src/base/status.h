// Status and Result<T>: how every function of Tarn reports failure.
//
// A Status carries a code out of status_codes.def and, when it is not Ok, a message that names the
// value, the limit and what the caller can do. Result<T> is a T or a Status that is not Ok. Both
// are [[nodiscard]]. Context is added while unwinding with `with_context`; the top logs once. No
// exception crosses a room's boundary. Thread rules: plain values, no sharing.
#pragma once

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace tarn {

enum class Code : unsigned char {
#define X(name, err, http, s3, retry, risk) k##name,
#include "base/status_codes.def"
#undef X
};

/// The code's name as in the catalogue, such as "NotFound".
std::string_view code_name(Code code);
/// The errno that the mount answers with; 0 for Ok.
int code_errno(Code code);
/// The HTTP status and S3 error code that the endpoint answers with.
int code_http(Code code);
std::string_view code_s3(Code code);
bool code_is_retryable(Code code);
bool code_is_data_at_risk(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message)
      : code_(code), message_(std::make_shared<const std::string>(std::move(message))) {}

  static Status ok() { return {}; }

  bool is_ok() const { return code_ == Code::kOk; }
  explicit operator bool() const { return is_ok(); }
  Code code() const { return code_; }
  bool is(Code code) const { return code_ == code; }
  int to_errno() const { return code_errno(code_); }
  std::string_view message() const {
    return message_ ? std::string_view(*message_) : std::string_view();
  }
  /// "NotFound: no entry 'a' in directory 12", or "Ok".
  std::string to_string() const;
  /// The same code with "context: " in front of the message.
  Status with_context(std::string_view context) const;

 private:
  Code code_ = Code::kOk;
  std::shared_ptr<const std::string> message_;
};

/// A Status made from an errno value, with `what` naming the failed call and its subject.
Status errno_status(int error, std::string_view what);
/// The same from the current errno.
inline Status last_errno(std::string_view what) {
  return errno_status(errno, what);
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {
    CHECK(!std::get<1>(state_).is_ok(), "a Result was made from an Ok status");
  }
  Result(Code code, std::string message) : Result(Status(code, std::move(message))) {}

  bool is_ok() const { return state_.index() == 0; }
  explicit operator bool() const { return is_ok(); }
  Status status() const { return is_ok() ? Status() : std::get<1>(state_); }
  Code code() const { return is_ok() ? Code::kOk : std::get<1>(state_).code(); }
  bool is(Code c) const { return code() == c; }

  T& value() & {
    CHECK(is_ok(), std::get<1>(state_).to_string());
    return std::get<0>(state_);
  }
  const T& value() const& {
    CHECK(is_ok(), std::get<1>(state_).to_string());
    return std::get<0>(state_);
  }
  T&& value() && {
    CHECK(is_ok(), std::get<1>(state_).to_string());
    return std::move(std::get<0>(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace tarn

#define TARN_CONCAT_INNER(a, b) a##b
#define TARN_CONCAT(a, b) TARN_CONCAT_INNER(a, b)

/// Returns the status of `expr` from the enclosing function when it is not Ok.
#define TARN_TRY(expr) TARN_TRY_INNER(TARN_CONCAT(tarn_status_, __LINE__), expr)
#define TARN_TRY_INNER(tmp, expr)                                                 \
  do {                                                                            \
    if (auto&& tmp = (expr); !tmp.is_ok()) return ::tarn::detail::as_status(tmp); \
  } while (false)

/// TARN_ASSIGN(auto x, f()): x is f()'s value, or its status is returned from the enclosing
/// function.
#define TARN_ASSIGN(lhs, expr) TARN_ASSIGN_INNER(TARN_CONCAT(tarn_result_, __LINE__), lhs, expr)
#define TARN_ASSIGN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                      \
  if (!tmp.is_ok()) return tmp.status();  \
  lhs = std::move(tmp).value()

namespace tarn::detail {
inline Status as_status(const Status& s) {
  return s;
}
template <class T>
Status as_status(const Result<T>& r) {
  return r.status();
}
}  // namespace tarn::detail
