// XML of S3: a writer for answers, a reader for the few requests that have a body of it.
//
// The writer escapes what XML would misread; control characters become numeric references, as S3
// writes them. The reader (pugixml) ignores namespaces. Plain values; one thread each.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tarn::s3 {

inline constexpr std::string_view kNamespace = "http://s3.amazonaws.com/doc/2006-03-01/";

class XmlWriter {
 public:
  XmlWriter();
  void open(std::string_view tag);
  /// The document's root, in S3's namespace.
  void open_root(std::string_view tag);
  void close();
  void leaf(std::string_view tag, std::string_view text);
  void leaf(std::string_view tag, uint64_t number);
  void leaf(std::string_view tag, bool value);
  void leaf(std::string_view tag, const char* text) { leaf(tag, std::string_view(text)); }
  /// The finished document; every tag is closed.
  std::string take();

 private:
  void append(std::string_view text);
  std::string out_;
  std::vector<std::string> tags_;
};

struct DeleteRequest {
  bool is_quiet = false;
  std::vector<std::string> keys;
};
/// <Delete>; kBadFormat for anything else, and for more than 1,000 keys.
Result<DeleteRequest> parse_delete(std::string_view text);

struct CompletedPart {
  uint32_t number = 0;
  std::string etag;  // without quotes
};
/// <CompleteMultipartUpload>, parts in the order given; kBadFormat.
Result<std::vector<CompletedPart>> parse_complete(std::string_view text);
/// <CreateBucketConfiguration>'s region, empty for an empty body; kBadFormat.
Result<std::string> parse_create_bucket(std::string_view text);

}  // namespace tarn::s3
