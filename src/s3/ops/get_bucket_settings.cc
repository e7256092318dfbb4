// Sub-resources whose answer says no more than that Tarn's permissions are POSIX's and that nothing
// is versioned, tagged or public.
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {
namespace {

/// kNotFound when the bucket, or the key, is not there.
Status check_there(Call& call) {
  if (call.key.empty()) {
    return detail::as_status(call.objects.head_bucket(call.caller, call.bucket));
  }
  return detail::as_status(call.objects.head(call.caller, call.bucket, call.key));
}

}  // namespace

Answer get_bucket_location(Call& call) {
  TARN_TRY(check_there(call));
  XmlWriter xml;
  xml.open_root("LocationConstraint");
  xml.close();
  std::string text = xml.take();
  text.insert(text.rfind("</"), "us-west-2");
  answer_xml(call, std::move(text));
  return {};
}

Answer get_bucket_versioning(Call& call) {
  TARN_TRY(check_there(call));
  XmlWriter xml;
  xml.open_root("VersioningConfiguration");
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

Answer get_acl(Call& call) {
  TARN_TRY(check_there(call));
  XmlWriter xml;
  xml.open_root("AccessControlPolicy");
  xml.open("Owner");
  xml.leaf("ID", uint64_t{call.caller.uid});
  xml.close();
  xml.open("AccessControlList");
  xml.close();
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

Answer get_tagging(Call& call) {
  TARN_TRY(check_there(call));
  if (call.key.empty()) return Answer(404, "NoSuchTagSet", "buckets have no tags here");
  XmlWriter xml;
  xml.open_root("Tagging");
  xml.open("TagSet");
  xml.close();
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

Answer get_policy_status(Call& call) {
  TARN_TRY(check_there(call));
  XmlWriter xml;
  xml.open_root("PolicyStatus");
  xml.leaf("IsPublic", false);
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
