#include "http/date.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {

Answer list_buckets(Call& call) {
  TARN_ASSIGN(const auto buckets, call.objects.list_buckets(call.caller));
  const std::string_view prefix = call.parameter("prefix");
  XmlWriter xml;
  xml.open_root("ListAllMyBucketsResult");
  xml.open("Owner");
  xml.leaf("ID", uint64_t{call.caller.uid});
  xml.close();
  xml.open("Buckets");
  for (const fs::BucketInfo& bucket : buckets) {
    if (!bucket.name.starts_with(prefix)) continue;
    xml.open("Bucket");
    xml.leaf("Name", bucket.name);
    xml.leaf("CreationDate", http::format_iso_date(bucket.created));
    xml.close();
  }
  xml.close();
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
