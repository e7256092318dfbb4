#include <fmt/format.h>

#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {

Answer create_bucket(Call& call) {
  auto text = receive_text(call);
  if (!text.is_ok()) return body_failure(call, text.status());
  // The region is accepted whatever it is: this Tarn is where every region's buckets are.
  if (auto region = parse_create_bucket(*text); !region.is_ok()) {
    return Answer(400, "MalformedXML", std::string(region.status().message()));
  }
  const Status made = call.objects.create_bucket(call.caller, call.bucket);
  if (made.is(Code::kExists)) {
    return Answer(409, "BucketAlreadyOwnedByYou",
                  fmt::format("there is a bucket '{}' already", call.bucket));
  }
  TARN_TRY(made);
  call.response.headers.add("Location", "/" + call.bucket);
  return {};
}

}  // namespace tarn::s3
