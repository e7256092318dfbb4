#include <algorithm>

#include <fmt/format.h>

#include "base/file.h"
#include "base/limits.h"
#include "digest/digest.h"
#include "s3/conditions.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {
namespace {

constexpr uint64_t kPartBytesMin = 5 * limits::kMiB;  // of every part but the last, as S3 has it

/// The parts that `wanted` names; a Fault names the first that is wrong.
http::Outcome<std::vector<fs::Uploads::Chosen>> choose(
    const std::vector<CompletedPart>& wanted, const std::vector<fs::Uploads::Part>& there) {
  std::vector<fs::Uploads::Chosen> chosen;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (i > 0 && wanted[i].number <= wanted[i - 1].number) {
      return std::unexpected(http::Fault{
          400, "InvalidPartOrder",
          fmt::format("part {} stands after part {}", wanted[i].number, wanted[i - 1].number)});
    }
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto part = std::ranges::find(there, wanted[i].number, &fs::Uploads::Part::number);
    if (part == there.end() || part->etag != wanted[i].etag) {
      return std::unexpected(http::Fault{400, "InvalidPart",
                                         fmt::format("part {} with ETag \"{}\" was not uploaded",
                                                     wanted[i].number, wanted[i].etag)});
    }
    if (i + 1 < wanted.size() && part->size < kPartBytesMin) {
      return std::unexpected(
          http::Fault{400, "EntityTooSmall",
                      fmt::format("part {} has {} bytes; all parts but the last need {}",
                                  part->number, part->size, kPartBytesMin)});
    }
    chosen.push_back({part->number, part->etag});
  }
  return chosen;
}

/// The MD5 of the parts' MD5s, and their number.
Result<std::string> etag_of(const std::vector<fs::Uploads::Chosen>& chosen) {
  std::string bytes;
  for (const auto& part : chosen) {
    TARN_ASSIGN(const auto md5, digest::Digest::from_hex(digest::Algorithm::kMd5, part.etag));
    bytes += as_text(md5.bytes());
  }
  return fmt::format("{}-{}", digest::md5(as_bytes(bytes)).hex(), chosen.size());
}

}  // namespace

Answer complete_multipart_upload(Call& call) {
  auto text = receive_text(call);
  if (!text.is_ok()) return body_failure(call, text.status());
  auto wanted = parse_complete(*text);
  if (!wanted.is_ok()) return Answer(400, "MalformedXML", std::string(wanted.status().message()));
  const fs::Uploads::Name name = upload_name_of(call);
  TARN_ASSIGN(const auto there, call.uploads.parts(call.caller, name));
  auto chosen = choose(*wanted, there);
  if (!chosen) return chosen.error();
  TARN_ASSIGN(std::string etag, etag_of(*chosen));
  TARN_ASSIGN(const fs::ObjectInfo info,
              call.uploads.complete(call.caller, name, *chosen, std::move(etag),
                                    put_condition(call.request.headers)));
  XmlWriter xml;
  xml.open_root("CompleteMultipartUploadResult");
  xml.leaf("Location", "/" + call.bucket + "/" + call.key);
  xml.leaf("Bucket", call.bucket);
  xml.leaf("Key", call.key);
  xml.leaf("ETag", quoted(info.etag));
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
