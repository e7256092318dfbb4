#include "s3/ops.h"

namespace tarn::s3 {

Answer abort_multipart_upload(Call& call) {
  TARN_TRY(call.uploads.abort(call.caller, upload_name_of(call)));
  call.response.status = 204;
  return {};
}

}  // namespace tarn::s3
