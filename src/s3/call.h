// Call: one S3 request on its way through an operation, and the operation's answer.
//
// An operation reads the Call, fills `response` and returns Ok, or returns a Status or a Fault that
// the service turns into S3's XML. Thread rules: one thread a call.
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "fs/objects.h"
#include "fs/uploads.h"
#include "http/message.h"

namespace tarn::s3 {

struct Call {
  http::Request& request;
  http::Response& response;
  fs::FileSystem& file_system;
  fs::Objects& objects;
  fs::Uploads& uploads;
  fs::Caller caller;
  std::string bucket, key;  // empty where the path has none

  std::string_view header(std::string_view name) const { return request.headers.get(name); }
  /// Of the query; empty when it is not there.
  std::string_view parameter(std::string_view name) const {
    return request.parameter(name).value_or("");
  }
};

class [[nodiscard]] Answer {
 public:
  Answer() = default;
  Answer(Status status) : state_(std::move(status)) {}
  Answer(http::Fault fault) : state_(std::move(fault)) {}
  Answer(int http, std::string code, std::string message)
      : state_(http::Fault{http, std::move(code), std::move(message)}) {}
  bool is_ok() const {
    const auto* status = std::get_if<Status>(&state_);
    return status != nullptr && status->is_ok();
  }
  /// Only of an answer that is not Ok.
  const std::variant<Status, http::Fault>& failure() const { return state_; }

 private:
  std::variant<Status, http::Fault> state_;
};

/// Reads the request's body to its end into new content; the Incoming is kept until the content
/// has an owner. On failure the body's own fault, where it has one, is the answer's.
struct Received {
  std::unique_ptr<content::Incoming> incoming;
  content::Incoming::Done content;
};
Result<Received> receive(Call& call, bool may_inline);
/// What a failed read of the body means to the client.
Answer body_failure(const Call& call, Status status);
/// The body of an XML request, at most 2 MiB.
Result<std::string> receive_text(Call& call);

}  // namespace tarn::s3
