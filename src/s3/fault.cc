#include "s3/fault.h"

#include <fmt/format.h>

#include "base/log.h"
#include "s3/xml.h"

namespace tarn::s3 {
namespace {

http::Fault of_status(Call& call, const Status& status) {
  http::Fault fault{code_http(status.code()), std::string(code_s3(status.code())),
                    std::string(status.message())};
  const bool is_missing = status.is(Code::kNotFound) || status.is(Code::kStale);
  if (is_missing && !call.bucket.empty()) {
    if (!call.objects.head_bucket(call.caller, call.bucket).is_ok()) {
      fault.code = "NoSuchBucket";
      fault.message = fmt::format("there is no bucket '{}'", call.bucket);
    } else if (call.request.has_parameter("uploadId")) {
      fault.code = "NoSuchUpload";
    }
  }
  if (!call.bucket.empty() && !fs::check_bucket_name(call.bucket).is_ok() &&
      (is_missing || status.is(Code::kInvalidArgument))) {
    fault = {400, "InvalidBucketName", std::string(fs::check_bucket_name(call.bucket).message())};
  }
  // What stands in the way of a key is named; a client must not take it for a race.
  if (status.is(Code::kConflict) && call.request.method != "POST") fault.code = "KeyConflict";
  if (code_is_data_at_risk(status.code()) || fault.http >= 500) {
    log_error("s3.failed", "bucket={} key=\"{}\" {}", call.bucket, call.key, status.to_string());
  }
  return fault;
}

}  // namespace

http::Fault fault_of(Call& call, const Answer& answer) {
  if (const auto* fault = std::get_if<http::Fault>(&answer.failure())) return *fault;
  return of_status(call, std::get<Status>(answer.failure()));
}

std::string error_xml(const http::Fault& fault, std::string_view resource,
                      std::string_view request_id) {
  XmlWriter xml;
  xml.open("Error");
  xml.leaf("Code", fault.code);
  xml.leaf("Message", fault.message);
  xml.leaf("Resource", resource);
  xml.leaf("RequestId", request_id);
  xml.leaf("HostId", request_id);
  xml.close();
  return xml.take();
}

}  // namespace tarn::s3
