#include "s3/metadata.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "http/date.h"
#include "s3/conditions.h"

namespace tarn::s3 {
namespace {

constexpr size_t kUserMetadataBytesMax = 2048;  // as S3 has it
constexpr std::array<std::string_view, 6> kKept = {"cache-control",    "content-disposition",
                                                   "content-encoding", "content-language",
                                                   "content-type",     "expires"};
constexpr std::array<std::string_view, 4> kRefused = {
    "x-amz-server-side-encryption-customer-algorithm", "x-amz-tagging", "x-amz-object-lock-mode",
    "x-amz-website-redirect-location"};
constexpr std::string_view kUser = "x-amz-meta-", kChecksum = "x-amz-checksum-";

/// "gzip,aws-chunked" -> "gzip": the chunks are of the transfer, not of the object.
std::string without_aws_chunked(std::string_view value) {
  std::string kept;
  while (!value.empty()) {
    const size_t comma = value.find(',');
    std::string_view item = value.substr(0, comma);
    value = comma == std::string_view::npos ? std::string_view() : value.substr(comma + 1);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    if (item.empty() || http::equals_ignoring_case(item, "aws-chunked")) continue;
    if (!kept.empty()) kept += ",";
    kept += item;
  }
  return kept;
}

}  // namespace

http::Outcome<Metadata> metadata_of(const http::Headers& headers) {
  for (std::string_view name : kRefused) {
    if (const auto value = headers.find(name); value && !value->empty()) {
      return std::unexpected(
          http::Fault{501, "NotImplemented",
                      fmt::format("the header {} is not implemented: leave it out", name)});
    }
  }
  Metadata metadata;
  size_t user_bytes = 0;
  for (const auto& [field, value] : headers.all()) {
    const std::string name = http::to_lower(field);
    if (name.starts_with(kUser)) {
      user_bytes += name.size() - kUser.size() + value.size();
      if (user_bytes > kUserMetadataBytesMax) {
        return std::unexpected(http::Fault{
            400, "MetadataTooLarge",
            fmt::format("x-amz-meta-* headers have more than {} bytes", kUserMetadataBytesMax)});
      }
    } else if (std::ranges::find(kKept, name) == kKept.end()) {
      continue;
    }
    std::string kept = name == "content-encoding" ? without_aws_chunked(value) : value;
    if (kept.empty()) continue;
    const auto same = std::ranges::find(metadata, name, &Metadata::value_type::first);
    if (same != metadata.end()) {
      same->second += "," + kept;
    } else {
      metadata.emplace_back(name, std::move(kept));
    }
  }
  return metadata;
}

void describe(const Call& call, const fs::ObjectInfo& info, bool with_checksums) {
  http::Headers& headers = call.response.headers;
  headers.add("ETag", quoted(info.etag));
  headers.add("Last-Modified", http::format_http_date(info.attributes.mtime));
  headers.add("Accept-Ranges", "bytes");
  headers.add("Content-Type", "binary/octet-stream");
  const bool wants_checksums =
      with_checksums && http::equals_ignoring_case(call.header("x-amz-checksum-mode"), "ENABLED");
  for (const auto& [name, value] : info.metadata) {
    if (!name.starts_with(kChecksum)) {
      headers.set(name, value);
    } else if (wants_checksums && info.is_as_put) {
      headers.set(name, value);
      headers.set("x-amz-checksum-type", "FULL_OBJECT");
    }
  }
  for (std::string_view name : kKept) {
    if (const auto value = call.request.parameter("response-" + std::string(name))) {
      headers.set(name, std::string(*value));
    }
  }
}

}  // namespace tarn::s3
