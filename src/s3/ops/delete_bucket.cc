#include "s3/ops.h"

namespace tarn::s3 {

Answer delete_bucket(Call& call) {
  TARN_TRY(call.objects.delete_bucket(call.caller, call.bucket));
  call.response.status = 204;
  return {};
}

}  // namespace tarn::s3
