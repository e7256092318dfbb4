#include "sagemaker/json_service.h"

#include <fmt/format.h>

#include "base/log.h"

namespace tarn::sagemaker {
namespace {

constexpr const char* kContentType = "application/x-amz-json-1.1";

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::unexpected<http::Fault> fault(std::string code, std::string message) {
  return std::unexpected(http::Fault{400, std::move(code), std::move(message)});
}

std::unexpected<http::Fault> fault_of(const Status& status) {
  const std::string message(status.message());
  switch (status.code()) {
    case Code::kExists:
      return fault("ResourceInUse", message);
    case Code::kNotFound:
      return fault("ValidationException", "Requested resource not found: " + message);
    case Code::kPreconditionFailed:
    case Code::kInvalidArgument:
      return fault("ValidationException", message);
    case Code::kAgain:
      return fault("ResourceLimitExceeded", message);
    case Code::kAccessDenied:
    case Code::kNotPermitted:
      return fault("AccessDeniedException", message);
    case Code::kUnavailable:
      return std::unexpected(http::Fault{503, "ServiceUnavailable", message});
    default:
      break;
  }
  log_error("sagemaker.failed", "error={}", status.to_string());
  return std::unexpected(http::Fault{500, "InternalFailure", message});
}

double api_time(TimeNs time) {
  // Milliseconds are what clients show; more digits would not survive a double.
  return static_cast<double>(time / kMillisecondNs) / 1000.0;
}

Answer JsonService::answer(http::Request& request) {
  const std::string_view target = request.headers.get("x-amz-target");
  if (!target.starts_with(target_prefix_))
    return fault("UnknownOperationException",
                 fmt::format("X-Amz-Target '{}' names no operation of {}", target, name_));
  const std::string_view name = target.substr(target_prefix_.size());
  const auto operation = operations_.find(name);
  if (operation == operations_.end()) {
    log_info("sagemaker.unknown", "operation={} agent=\"{}\"", target,
             request.headers.get("user-agent"));
    return fault("UnknownOperationException",
                 fmt::format("Tarn does not have the operation {} of {}", name, name_));
  }
  std::string text;
  if (request.body != nullptr) {
    auto body = http::read_all(*request.body, kDocumentBytesMax);
    if (!body.is_ok()) {
      if (request.body->fault()) return std::unexpected(*request.body->fault());
      return fault_of(body.status());
    }
    text = std::move(body).value();
  }
  const Json document = text.empty() ? Json::object() : Json::parse(text, nullptr, false);
  if (!document.is_object()) return fault("SerializationException", "the body is no JSON object");
  return operation->second(document, request.caller);
}

void JsonService::handle(http::Request& request, http::Response& response) {
  const Answer result = answer(request);
  if (!result) return refuse(request, result.error(), response);
  response.status = 200;
  response.headers.set("Content-Type", kContentType);
  response.headers.set("x-amzn-RequestId", request.id);
  response.body = text_of(*result);
}

void JsonService::refuse(const http::Request& request, const http::Fault& fault,
                         http::Response& response) {
  response.status = fault.http;
  response.headers.set("Content-Type", kContentType);
  response.headers.set("x-amzn-RequestId", request.id);
  response.headers.set("x-amzn-ErrorType", fault.code);
  response.body = text_of({{"__type", fault.code}, {"Message", fault.message}});
}

}  // namespace tarn::sagemaker
