// ListObjects, versions 1 and 2.
#include <fmt/format.h>

#include "http/date.h"
#include "http/hash.h"
#include "s3/conditions.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {
namespace {

void write_entries(Call& call, XmlWriter& xml, const fs::Listing& listing, bool with_owner) {
  for (const fs::ListedKey& item : listing.keys) {
    xml.open("Contents");
    xml.leaf("Key", listed(call, item.key));
    xml.leaf("LastModified", http::format_iso_date(item.info.attributes.mtime));
    xml.leaf("ETag", quoted(item.info.etag));
    xml.leaf("Size", item.info.attributes.size);
    xml.leaf("StorageClass", "STANDARD");
    if (with_owner) {
      xml.open("Owner");
      xml.leaf("ID", uint64_t{item.info.attributes.uid});
      xml.close();
    }
    xml.close();
  }
  for (const std::string& prefix : listing.common_prefixes) {
    xml.open("CommonPrefixes");
    xml.leaf("Prefix", listed(call, prefix));
    xml.close();
  }
}

void write_request(Call& call, XmlWriter& xml, const fs::ListRequest& request, bool is_truncated) {
  xml.leaf("Name", call.bucket);
  xml.leaf("Prefix", listed(call, request.prefix));
  if (!request.delimiter.empty()) xml.leaf("Delimiter", listed(call, request.delimiter));
  xml.leaf("MaxKeys", request.keys_max);
  if (!call.parameter("encoding-type").empty()) {
    xml.leaf("EncodingType", call.parameter("encoding-type"));
  }
  xml.leaf("IsTruncated", is_truncated);
}

http::Outcome<fs::ListRequest> read_request(const Call& call) {
  fs::ListRequest request;
  request.prefix = call.parameter("prefix");
  request.delimiter = call.parameter("delimiter");
  auto count = count_of(call, "max-keys", 1000);
  if (!count) return std::unexpected(std::move(count).error());
  request.keys_max = *count;
  const std::string encoding = http::to_lower(call.parameter("encoding-type"));
  if (!encoding.empty() && encoding != "url") {
    return std::unexpected(http::Fault{400, "InvalidArgument", "encoding-type must be 'url'"});
  }
  return request;
}

/// A continuation token is the last key in hexadecimal: it needs no state here.
std::optional<std::string> from_token(std::string_view token) {
  if (token.empty() || token.size() % 2 != 0) return std::nullopt;
  std::string key;
  for (size_t i = 0; i < token.size(); i += 2) {
    unsigned byte = 0;
    for (char c : token.substr(i, 2)) {
      const size_t digit = std::string_view("0123456789abcdef").find(c);
      if (digit == std::string_view::npos) return std::nullopt;
      byte = byte * 16 + static_cast<unsigned>(digit);
    }
    key += static_cast<char>(byte);
  }
  return key;
}

}  // namespace

Answer list_objects(Call& call) {
  auto request = read_request(call);
  if (!request) return request.error();
  request->start_after = call.parameter("marker");
  TARN_ASSIGN(const fs::Listing listing, call.objects.list(call.caller, call.bucket, *request));
  XmlWriter xml;
  xml.open_root("ListBucketResult");
  write_request(call, xml, *request, listing.is_truncated);
  xml.leaf("Marker", listed(call, request->start_after));
  if (listing.is_truncated) xml.leaf("NextMarker", listed(call, listing.last));
  write_entries(call, xml, listing, true);
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

Answer list_objects_v2(Call& call) {
  if (call.parameter("list-type") != "2") {
    return Answer(400, "InvalidArgument", "list-type must be 2, or absent for version 1");
  }
  auto request = read_request(call);
  if (!request) return request.error();
  const std::string start_after(call.parameter("start-after"));
  const auto token = call.request.parameter("continuation-token");
  request->start_after = start_after;
  if (token) {
    auto last = from_token(*token);
    if (!last) {
      return Answer(400, "InvalidArgument",
                    "the continuation token is not one that a listing of this Tarn gave");
    }
    request->start_after = std::move(*last);
  }
  TARN_ASSIGN(const fs::Listing listing, call.objects.list(call.caller, call.bucket, *request));
  XmlWriter xml;
  xml.open_root("ListBucketResult");
  write_request(call, xml, *request, listing.is_truncated);
  xml.leaf("KeyCount", listing.keys.size() + listing.common_prefixes.size());
  if (token) xml.leaf("ContinuationToken", *token);
  if (listing.is_truncated) xml.leaf("NextContinuationToken", http::to_hex(listing.last));
  if (!start_after.empty()) xml.leaf("StartAfter", listed(call, start_after));
  write_entries(call, xml, listing, call.parameter("fetch-owner") == "true");
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
