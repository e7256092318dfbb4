#include "http/date.h"
#include "s3/conditions.h"
#include "s3/ops.h"
#include "s3/range.h"
#include "s3/xml.h"

namespace tarn::s3 {

Answer upload_part_copy(Call& call) {
  const auto number = part_number_of(call);
  if (!number) return number.error();
  const fs::Uploads::Name name = upload_name_of(call);
  TARN_TRY(call.uploads.find(call.caller, name));
  auto source = open_copy_source(call);
  if (!source) return source.error();
  Range range{0, source->object.info.attributes.size};
  if (const auto header = call.request.headers.find("x-amz-copy-source-range")) {
    TARN_ASSIGN(range, parse_copy_range(*header, range.length));
  }
  TARN_ASSIGN(const Received received,
              copy_bytes(call, source->object, range.offset, range.length, false));
  TARN_ASSIGN(const fs::Uploads::Part part,
              call.uploads.put_part(call.caller, name, *number, received.content, {}));
  XmlWriter xml;
  xml.open_root("CopyPartResult");
  xml.leaf("ETag", quoted(part.etag));
  xml.leaf("LastModified", http::format_iso_date(part.modified));
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
