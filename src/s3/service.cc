#include "s3/service.h"

#include <array>
#include <vector>

#include <fmt/format.h>

#include "base/limits.h"
#include "http/hash.h"
#include "http/uri.h"
#include "s3/fault.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {
namespace {

constexpr size_t kXmlBytesMax = 2 * limits::kMiB;
constexpr size_t kListMax = 1000;

enum class Level { kService, kBucket, kObject };

struct Route {
  std::string_view method;
  Level level;
  std::string_view parameter;  // of the query that must be there; empty: none
  std::string_view header;     // that must be there; empty: none
  Answer (*run)(Call&);
};

// The first that fits is taken, so the special stand before the general.
constexpr std::array kRoutes = {
    Route{"GET", Level::kService, "", "", list_buckets},
    Route{"GET", Level::kBucket, "location", "", get_bucket_location},
    Route{"GET", Level::kBucket, "versioning", "", get_bucket_versioning},
    Route{"GET", Level::kBucket, "acl", "", get_acl},
    Route{"GET", Level::kBucket, "tagging", "", get_tagging},
    Route{"GET", Level::kBucket, "policyStatus", "", get_policy_status},
    Route{"GET", Level::kBucket, "uploads", "", list_multipart_uploads},
    Route{"GET", Level::kBucket, "list-type", "", list_objects_v2},
    Route{"GET", Level::kBucket, "", "", list_objects},
    Route{"PUT", Level::kBucket, "", "", create_bucket},
    Route{"HEAD", Level::kBucket, "", "", head_bucket},
    Route{"DELETE", Level::kBucket, "", "", delete_bucket},
    Route{"POST", Level::kBucket, "delete", "", delete_objects},
    Route{"GET", Level::kObject, "acl", "", get_acl},
    Route{"GET", Level::kObject, "tagging", "", get_tagging},
    Route{"GET", Level::kObject, "uploadId", "", list_parts},
    Route{"GET", Level::kObject, "", "", get_object},
    Route{"HEAD", Level::kObject, "", "", head_object},
    Route{"PUT", Level::kObject, "partNumber", "x-amz-copy-source", upload_part_copy},
    Route{"PUT", Level::kObject, "partNumber", "", upload_part},
    Route{"PUT", Level::kObject, "", "x-amz-copy-source", copy_object},
    Route{"PUT", Level::kObject, "", "", put_object},
    Route{"POST", Level::kObject, "uploads", "", create_multipart_upload},
    Route{"POST", Level::kObject, "uploadId", "", complete_multipart_upload},
    Route{"DELETE", Level::kObject, "uploadId", "", abort_multipart_upload},
    Route{"DELETE", Level::kObject, "", "", delete_object},
};

// Sub-resources: a request that names one that no route has is an operation that Tarn lacks.
constexpr std::array<std::string_view, 34> kSubresources = {"accelerate",
                                                            "acl",
                                                            "analytics",
                                                            "attributes",
                                                            "cors",
                                                            "encryption",
                                                            "intelligent-tiering",
                                                            "inventory",
                                                            "legal-hold",
                                                            "lifecycle",
                                                            "location",
                                                            "logging",
                                                            "metrics",
                                                            "notification",
                                                            "object-lock",
                                                            "ownershipControls",
                                                            "policy",
                                                            "policyStatus",
                                                            "publicAccessBlock",
                                                            "replication",
                                                            "requestPayment",
                                                            "restore",
                                                            "retention",
                                                            "select",
                                                            "session",
                                                            "tagging",
                                                            "torrent",
                                                            "versionId",
                                                            "versioning",
                                                            "versions",
                                                            "website",
                                                            "uploads",
                                                            "delete",
                                                            "append"};

const Route* find_route(const http::Request& request, Level level) {
  for (const Route& route : kRoutes) {
    if (route.method != request.method || route.level != level) continue;
    if (!route.parameter.empty() && !request.has_parameter(route.parameter)) continue;
    if (!route.header.empty() && !request.headers.find(route.header)) continue;
    if (!route.parameter.empty()) return &route;
    for (std::string_view name : kSubresources) {
      if (request.has_parameter(name) &&
          !(name == "versionId" && request.parameter(name) == "null")) {
        return nullptr;
      }
    }
    return &route;
  }
  return nullptr;
}

http::Fault not_implemented(const http::Request& request) {
  std::string name;
  for (std::string_view sub : kSubresources) {
    if (request.has_parameter(sub)) name = fmt::format("?{}", sub);
  }
  return {
      501, "NotImplemented",
      fmt::format("{} {}{} is an S3 operation that this Tarn does not have", request.method,
                  request.path.size() > 200 ? request.path.substr(0, 200) : request.path, name)};
}

/// A host name whose first label could be a bucket, before a name that is ours.
bool is_virtual_host_style(const http::Request& request) {
  std::string_view host = request.headers.get("host");
  host = host.substr(0, host.rfind(':'));
  return host.ends_with(".localhost") || host.ends_with(".amazonaws.com");
}

}  // namespace

void S3Service::handle(http::Request& request, http::Response& response) {
  const std::string_view path = std::string_view(request.path).substr(1);
  const size_t slash = path.find('/');
  Call call{.request = request,
            .response = response,
            .file_system = file_system_,
            .objects = objects_,
            .uploads = uploads_,
            .caller = {},
            .bucket = std::string(path.substr(0, slash)),
            .key = slash == std::string_view::npos ? "" : std::string(path.substr(slash + 1))};
  call.caller.uid = request.caller.uid;
  call.caller.gid = request.caller.gid;
  call.caller.groups = request.caller.groups;
  call.caller.umask = request.caller.umask;
  const Level level = call.bucket.empty() ? Level::kService
                      : call.key.empty()  ? Level::kBucket
                                          : Level::kObject;
  if (is_virtual_host_style(request)) {
    return refuse(request,
                  {400, "InvalidRequest",
                   "the bucket stands in the host name: Tarn serves path style only; set "
                   "addressing_style = path (s3 section of ~/.aws/config)"},
                  response);
  }
  const Route* route = find_route(request, level);
  if (route == nullptr) return refuse(request, not_implemented(request), response);
  if (Answer answer = route->run(call); !answer.is_ok()) {
    const http::Fault fault = fault_of(call, answer);
    response = http::Response();
    refuse(request, fault, response);
  }
}

void S3Service::refuse(const http::Request& request, const http::Fault& fault,
                       http::Response& response) {
  response.status = fault.http;
  if (fault.http == 304) return;
  response.headers.set("Content-Type", "application/xml");
  response.body = error_xml(fault, request.path, request.id);
}

Answer body_failure(const Call& call, Status status) {
  if (call.request.body->fault()) return *call.request.body->fault();
  return status;
}

Result<std::string> receive_text(Call& call) {
  return http::read_all(*call.request.body, kXmlBytesMax);
}

http::Outcome<uint32_t> part_number_of(const Call& call) {
  const std::string text(call.parameter("partNumber"));
  const bool is_number = !text.empty() && text.size() <= 5 &&
                         text.find_first_not_of("0123456789") == std::string::npos;
  const unsigned long number = is_number ? std::stoul(text) : 0;
  if (number < 1 || number > 10'000) {
    return std::unexpected(http::Fault{400, "InvalidArgument",
                                       fmt::format("partNumber '{}' must be 1 to 10000", text)});
  }
  return static_cast<uint32_t>(number);
}

fs::Uploads::Name upload_name_of(const Call& call) {
  return {call.bucket, call.key, std::string(call.parameter("uploadId"))};
}

void answer_xml(Call& call, std::string xml) {
  call.response.headers.set("Content-Type", "application/xml");
  call.response.body = std::move(xml);
}

http::Outcome<size_t> count_of(const Call& call, std::string_view name, size_t fallback) {
  const auto text = call.request.parameter(name);
  if (!text || text->empty()) return fallback;
  const bool is_number =
      text->size() <= 10 && text->find_first_not_of("0123456789") == std::string_view::npos;
  if (!is_number) {
    return std::unexpected(
        http::Fault{400, "InvalidArgument", fmt::format("{} '{}' is no count", name, *text)});
  }
  return std::min<size_t>(std::stoul(std::string(*text)), kListMax);
}

std::string listed(const Call& call, std::string_view key) {
  if (http::to_lower(call.parameter("encoding-type")) != "url") return std::string(key);
  return http::percent_encode(key, http::Slashes::kKeep);
}

}  // namespace tarn::s3
