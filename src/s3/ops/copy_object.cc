#include <fmt/format.h>

#include "base/limits.h"
#include "http/date.h"
#include "http/uri.h"
#include "s3/conditions.h"
#include "s3/metadata.h"
#include "s3/ops.h"
#include "s3/xml.h"

namespace tarn::s3 {
namespace {

constexpr size_t kCopyBytes = limits::kMiB;

}  // namespace

http::Outcome<CopySource> open_copy_source(Call& call) {
  std::string_view text = call.header("x-amz-copy-source");
  if (const size_t question = text.find("?versionId="); question != std::string_view::npos) {
    if (text.substr(question) != "?versionId=null") {
      return std::unexpected(
          http::Fault{501, "NotImplemented", "versions of objects are not implemented"});
    }
    text = text.substr(0, question);
  }
  auto source = http::percent_decode(text, http::Plus::kLiteral);
  if (source && source->starts_with('/')) source->erase(0, 1);
  const size_t slash = source ? source->find('/') : std::string::npos;
  if (slash == std::string::npos || slash + 1 == source->size()) {
    return std::unexpected(http::Fault{
        400, "InvalidArgument",
        fmt::format("x-amz-copy-source '{}' must be BUCKET/KEY, percent-encoded", text)});
  }
  const std::string bucket = source->substr(0, slash), key = source->substr(slash + 1);
  auto opened = call.objects.open(call.caller, bucket, key);
  if (!opened.is_ok()) {
    const bool has_bucket = call.objects.head_bucket(call.caller, bucket).is_ok();
    const Status status = opened.status();
    if (status.is(Code::kNotFound)) {
      return std::unexpected(
          http::Fault{404, has_bucket ? "NoSuchKey" : "NoSuchBucket",
                      fmt::format("the source of the copy, '{}/{}', is not there", bucket, key)});
    }
    return std::unexpected(http::Fault{code_http(status.code()),
                                       std::string(code_s3(status.code())),
                                       std::string(status.message())});
  }
  const Verdict verdict = judge_conditions(call.request.headers, "x-amz-copy-source-",
                                           opened->info.etag, opened->info.attributes.mtime);
  if (verdict != Verdict::kGoOn) {
    return std::unexpected(http::Fault{
        412, "PreconditionFailed",
        fmt::format("the source's ETag is \"{}\": an x-amz-copy-source-if- condition is not met",
                    opened->info.etag)});
  }
  return CopySource{std::move(*opened)};
}

Result<Received> copy_bytes(Call& call, const fs::OpenObject& source, uint64_t offset,
                            uint64_t length, bool may_inline) {
  Received received;
  TARN_ASSIGN(received.incoming, call.file_system.content().begin_incoming(length));
  if (may_inline) received.incoming->allow_inline();
  std::vector<std::byte> buffer(std::min<uint64_t>(length, kCopyBytes));
  for (uint64_t done = 0; done < length && source.file;) {
    const auto part = std::span(buffer).first(std::min<uint64_t>(length - done, buffer.size()));
    TARN_ASSIGN(const size_t n, source.file->read(offset + done, part));
    if (n == 0) return Status(Code::kAgain, "the source became shorter while it was copied");
    TARN_TRY(received.incoming->append(part.first(n)));
    done += n;
  }
  TARN_ASSIGN(received.content, received.incoming->finish());
  return received;
}

Answer copy_object(Call& call) {
  TARN_TRY(fs::check_key(call.key));
  TARN_TRY(call.objects.head_bucket(call.caller, call.bucket));
  auto source = open_copy_source(call);
  if (!source) return source.error();
  const fs::ObjectInfo& from = source->object.info;
  const bool replaces = call.header("x-amz-metadata-directive") == "REPLACE";
  fs::PutObject object;
  if (replaces) {
    auto metadata = metadata_of(call.request.headers);
    if (!metadata) return metadata.error();
    object.metadata = std::move(*metadata);
  } else {
    const std::string source_path =
        *http::percent_decode(call.header("x-amz-copy-source"), http::Plus::kLiteral);
    if (source_path == call.bucket + "/" + call.key ||
        source_path == "/" + call.bucket + "/" + call.key) {
      return Answer(400, "InvalidRequest",
                    "a copy of an object to itself must change its metadata: set "
                    "x-amz-metadata-directive to REPLACE");
    }
    object.metadata = from.metadata;
    if (!from.is_as_put) {
      // Checksums of bytes that are gone must not become the copy's.
      std::erase_if(object.metadata,
                    [](const auto& item) { return item.first.starts_with("x-amz-checksum-"); });
    }
  }
  TARN_ASSIGN(Received received, copy_bytes(call, source->object, 0, from.attributes.size, true));
  object.content = std::move(received.content);
  object.condition = put_condition(call.request.headers);
  TARN_ASSIGN(const fs::ObjectInfo info,
              call.objects.put(call.caller, call.bucket, call.key, std::move(object)));
  XmlWriter xml;
  xml.open_root("CopyObjectResult");
  xml.leaf("ETag", quoted(info.etag));
  xml.leaf("LastModified", http::format_iso_date(info.attributes.mtime));
  xml.close();
  answer_xml(call, xml.take());
  return {};
}

}  // namespace tarn::s3
