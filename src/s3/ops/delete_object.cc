#include "s3/ops.h"

namespace tarn::s3 {

Answer delete_object(Call& call) {
  // Deleting what is not there, or cannot be, succeeds.
  if (fs::check_key(call.key).is_ok()) {
    TARN_TRY(call.objects.remove(call.caller, call.bucket, call.key));
  } else {
    TARN_TRY(call.objects.head_bucket(call.caller, call.bucket));
  }
  call.response.status = 204;
  return {};
}

}  // namespace tarn::s3
