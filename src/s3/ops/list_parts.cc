#include <charconv>

#include "http/date.h"
#include "s3/conditions.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {
namespace {

/// "x-amz-checksum-crc32" -> "ChecksumCRC32", as S3's XML has it.
std::string checksum_tag(std::string_view header) {
  std::string tag = "Checksum";
  for (char c : header.substr(std::string_view("x-amz-checksum-").size())) {
    tag += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return tag;
}

}  // namespace

Answer list_parts(Call& call) {
  auto count = count_of(call, "max-parts", 1000);
  if (!count) return count.error();
  const std::string_view marker_text = call.parameter("part-number-marker");
  uint32_t marker = 0;
  const auto [end, error] =
      std::from_chars(marker_text.data(), marker_text.data() + marker_text.size(), marker);
  if (!marker_text.empty() &&
      (error != std::errc{} || end != marker_text.data() + marker_text.size())) {
    return Answer(400, "InvalidArgument", "part-number-marker is no number");
  }
  TARN_ASSIGN(const auto parts, call.uploads.parts(call.caller, upload_name_of(call)));
  XmlWriter xml;
  xml.open_root("ListPartsResult");
  xml.leaf("Bucket", call.bucket);
  xml.leaf("Key", listed(call, call.key));
  xml.leaf("UploadId", call.parameter("uploadId"));
  xml.leaf("PartNumberMarker", uint64_t{marker});
  xml.leaf("MaxParts", *count);
  xml.leaf("StorageClass", "STANDARD");
  size_t given = 0;
  uint32_t last = marker;
  bool is_truncated = false;
  for (const fs::Uploads::Part& part : parts) {
    if (part.number <= marker) continue;
    is_truncated = given == *count;
    if (is_truncated) break;
    ++given;
    last = part.number;
    xml.open("Part");
    xml.leaf("PartNumber", uint64_t{part.number});
    xml.leaf("LastModified", http::format_iso_date(part.modified));
    xml.leaf("ETag", quoted(part.etag));
    xml.leaf("Size", part.size);
    for (const auto& [header, value] : part.checksums) xml.leaf(checksum_tag(header), value);
    xml.close();
  }
  xml.leaf("NextPartNumberMarker", uint64_t{last});
  xml.leaf("IsTruncated", is_truncated);
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
