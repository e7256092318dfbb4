// GetObject and HeadObject.
#include <fmt/format.h>

#include "s3/conditions.h"
#include "s3/metadata.h"
#include "s3/ops.h"
#include "s3/range.h"

namespace tarn::s3 {
namespace {

class FileSource final : public http::ByteSource {
 public:
  explicit FileSource(content::FileRef file) : file_(std::move(file)) {}
  Result<size_t> read(uint64_t offset, std::span<std::byte> out) override {
    return file_->read(offset, out);
  }
  Extent extent(uint64_t offset, uint64_t length) override {
    const content::File::Extent found = file_->extent(offset, length);
    return {found.fd, found.offset, found.length};
  }

 private:
  content::FileRef file_;
};

/// What both operations say; the range that is sent, or Nothing when the answer has no body.
http::Outcome<std::optional<Range>> answer_head(Call& call, const fs::ObjectInfo& info) {
  const uint64_t size = info.attributes.size;
  switch (judge_conditions(call.request.headers, "", info.etag, info.attributes.mtime)) {
    case Verdict::kFailed:
      return std::unexpected(http::Fault{412, "PreconditionFailed",
                                         fmt::format("the object's ETag is \"{}\"", info.etag)});
    case Verdict::kNotModified:
      call.response.status = 304;
      call.response.headers.add("ETag", quoted(info.etag));
      return std::optional<Range>();
    case Verdict::kGoOn:
      break;
  }
  std::optional<Range> range;
  if (const auto header = call.request.headers.find("range")) {
    auto parsed = parse_range(*header, size);
    if (!parsed.is_ok()) {
      return std::unexpected(
          http::Fault{416, "InvalidRange", std::string(parsed.status().message())});
    }
    range = *parsed;
  }
  if (call.request.has_parameter("partNumber")) {
    auto number = part_number_of(call);
    if (!number) return std::unexpected(std::move(number).error());
    // What an object was put together from is not kept: it is one part.
    if (*number != 1) {
      return std::unexpected(http::Fault{416, "InvalidPartNumber",
                                         fmt::format("the object has 1 part, not {}", *number)});
    }
    if (!range && size > 0) range = Range{0, size};
  }
  describe(call, info, !range || range->length == size);
  if (range) {
    call.response.status = 206;
    call.response.headers.add(
        "Content-Range",
        fmt::format("bytes {}-{}/{}", range->offset, range->offset + range->length - 1, size));
    return range;
  }
  return std::optional(Range{0, size});
}

}  // namespace

Answer get_object(Call& call) {
  TARN_ASSIGN(fs::OpenObject object, call.objects.open(call.caller, call.bucket, call.key));
  auto range = answer_head(call, object.info);
  if (!range) return range.error();
  if (!*range || !object.file) return {};
  call.response.source = std::make_shared<FileSource>(std::move(object.file));
  call.response.source_offset = (*range)->offset;
  call.response.source_length = (*range)->length;
  return {};
}

Answer head_object(Call& call) {
  TARN_ASSIGN(const fs::ObjectInfo info, call.objects.head(call.caller, call.bucket, call.key));
  auto range = answer_head(call, info);
  if (!range) return range.error();
  if (*range) call.response.stated_length = (*range)->length;
  return {};
}

}  // namespace tarn::s3
