#include "s3/fault.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {

Answer delete_objects(Call& call) {
  auto text = receive_text(call);
  if (!text.is_ok()) return body_failure(call, text.status());
  auto request = parse_delete(*text);
  if (!request.is_ok()) {
    return Answer(400, "MalformedXML", std::string(request.status().message()));
  }
  TARN_TRY(call.objects.head_bucket(call.caller, call.bucket));
  XmlWriter xml;
  xml.open_root("DeleteResult");
  for (const std::string& key : request->keys) {
    Status removed;
    if (fs::check_key(key).is_ok()) {
      removed = detail::as_status(call.objects.remove(call.caller, call.bucket, key));
    }
    if (removed.is_ok()) {
      if (request->is_quiet) continue;
      xml.open("Deleted");
      xml.leaf("Key", key);
      xml.close();
      continue;
    }
    const http::Fault fault = fault_of(call, removed);
    xml.open("Error");
    xml.leaf("Key", key);
    xml.leaf("Code", fault.code);
    xml.leaf("Message", fault.message);
    xml.close();
  }
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
