// s3://bucket/key and its parts. Plain functions; thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace tarn::job {

struct S3Uri {
  std::string bucket, key;  // `key` may be empty, or end in '/'
};
/// kInvalidArgument names the URI when it is no s3://bucket[/key].
Result<S3Uri> parse_s3_uri(std::string_view uri);

/// `text` as valid UTF-8 of at most `bytes_max` bytes: bytes that are not become '?', and no
/// character is cut in half.
std::string clean_text(std::string_view text, size_t bytes_max);

}  // namespace tarn::job
