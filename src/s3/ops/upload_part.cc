#include "s3/conditions.h"
#include "s3/ops.h"

namespace tarn::s3 {

Answer upload_part(Call& call) {
  const auto number = part_number_of(call);
  if (!number) return number.error();
  const fs::Uploads::Name name = upload_name_of(call);
  TARN_TRY(call.uploads.find(call.caller, name));
  if (!call.request.body->size()) {
    return Answer(411, "MissingContentLength", "a part needs Content-Length");
  }
  auto received = receive(call, false);
  if (!received.is_ok()) return body_failure(call, received.status());
  const auto& checksums = call.request.body->checksums();
  TARN_ASSIGN(const fs::Uploads::Part part,
              call.uploads.put_part(call.caller, name, *number, received->content, checksums));
  call.response.headers.add("ETag", quoted(part.etag));
  for (const auto& [header, value] : checksums) call.response.headers.add(header, value);
  return {};
}

}  // namespace tarn::s3
