#include <set>
#include <tuple>

#include "http/date.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {

Answer list_multipart_uploads(Call& call) {
  auto count = count_of(call, "max-uploads", 1000);
  if (!count) return count.error();
  const std::string prefix(call.parameter("prefix")), delimiter(call.parameter("delimiter"));
  const std::string key_marker(call.parameter("key-marker"));
  const std::string id_marker(call.parameter("upload-id-marker"));
  TARN_ASSIGN(const auto uploads, call.uploads.list(call.caller, call.bucket, prefix));
  XmlWriter xml;
  xml.open_root("ListMultipartUploadsResult");
  xml.leaf("Bucket", call.bucket);
  xml.leaf("KeyMarker", listed(call, key_marker));
  xml.leaf("UploadIdMarker", id_marker);
  xml.leaf("Prefix", listed(call, prefix));
  if (!delimiter.empty()) xml.leaf("Delimiter", listed(call, delimiter));
  xml.leaf("MaxUploads", *count);
  std::set<std::string> common;
  size_t given = 0;
  bool is_truncated = false;
  const fs::Uploads::Name* last = nullptr;
  for (const fs::Uploads::Upload& upload : uploads) {
    const fs::Uploads::Name& name = upload.name;
    const bool is_before = id_marker.empty()
                               ? name.key <= key_marker
                               : std::tie(name.key, name.id) <= std::tie(key_marker, id_marker);
    if (is_before) continue;
    const size_t at =
        delimiter.empty() ? std::string::npos : name.key.find(delimiter, prefix.size());
    const std::string shared =
        at == std::string::npos ? "" : name.key.substr(0, at + delimiter.size());
    if (!shared.empty() && common.contains(shared)) continue;
    is_truncated = given == *count;
    if (is_truncated) break;
    ++given;
    last = &name;
    if (!shared.empty()) {
      common.insert(shared);
      continue;
    }
    xml.open("Upload");
    xml.leaf("Key", listed(call, name.key));
    xml.leaf("UploadId", name.id);
    xml.open("Initiator");
    xml.leaf("ID", uint64_t{upload.uid});
    xml.close();
    xml.leaf("StorageClass", "STANDARD");
    xml.leaf("Initiated", http::format_iso_date(upload.initiated));
    xml.close();
  }
  for (const std::string& shared : common) {
    xml.open("CommonPrefixes");
    xml.leaf("Prefix", listed(call, shared));
    xml.close();
  }
  if (is_truncated && last != nullptr) {
    xml.leaf("NextKeyMarker", listed(call, last->key));
    xml.leaf("NextUploadIdMarker", last->id);
  }
  xml.leaf("IsTruncated", is_truncated);
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
