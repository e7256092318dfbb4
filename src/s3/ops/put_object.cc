#include "s3/conditions.h"
#include "s3/metadata.h"
#include "s3/ops.h"

namespace tarn::s3 {

Answer put_object(Call& call) {
  // What can be refused is refused before the body is read.
  TARN_TRY(fs::check_key(call.key));
  TARN_TRY(call.objects.head_bucket(call.caller, call.bucket));
  auto metadata = metadata_of(call.request.headers);
  if (!metadata) return metadata.error();
  if (!call.request.body->size()) {
    return Answer(411, "MissingContentLength", "a PUT needs Content-Length");
  }
  auto received = receive(call, true);
  if (!received.is_ok()) return body_failure(call, received.status());
  for (const auto& [name, value] : call.request.body->checksums()) {
    metadata->emplace_back(name, value);
    call.response.headers.add(name, value);
    call.response.headers.set("x-amz-checksum-type", "FULL_OBJECT");
  }
  fs::PutObject object;
  object.content = std::move(received->content);
  object.metadata = std::move(*metadata);
  object.condition = put_condition(call.request.headers);
  TARN_ASSIGN(const fs::ObjectInfo info,
              call.objects.put(call.caller, call.bucket, call.key, std::move(object)));
  call.response.headers.add("ETag", quoted(info.etag));
  return {};
}

}  // namespace tarn::s3
