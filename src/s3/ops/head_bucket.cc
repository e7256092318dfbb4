#include "s3/ops.h"

namespace tarn::s3 {

Answer head_bucket(Call& call) {
  TARN_TRY(call.objects.head_bucket(call.caller, call.bucket));
  call.response.headers.add("x-amz-bucket-region", "us-west-2");
  call.response.headers.add("Content-Type", "application/xml");
  return {};
}

}  // namespace tarn::s3
