#include "s3/metadata.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {

Answer create_multipart_upload(Call& call) {
  auto metadata = metadata_of(call.request.headers);
  if (!metadata) return metadata.error();
  TARN_ASSIGN(const std::string id,
              call.uploads.create(call.caller, call.bucket, call.key, *metadata));
  XmlWriter xml;
  xml.open_root("InitiateMultipartUploadResult");
  xml.leaf("Bucket", call.bucket);
  xml.leaf("Key", call.key);
  xml.leaf("UploadId", id);
  xml.close();
  if (const auto algorithm = call.request.headers.find("x-amz-checksum-algorithm")) {
    call.response.headers.add("x-amz-checksum-algorithm", std::string(*algorithm));
  }
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
