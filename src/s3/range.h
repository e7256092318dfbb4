// Range headers: "bytes=A-B", "bytes=A-", "bytes=-N" (RFC 9110, section 14.1.2).
//
// Plain functions; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/status.h"

namespace tarn::s3 {

struct Range {
  uint64_t offset = 0, length = 0;
  bool operator==(const Range&) const = default;
};

/// The bytes of an object of `size` that `header` names. Nothing for a header that is to be ignored
/// (another unit, several ranges, nonsense), as S3 does; kInvalidRange when no byte of it exists.
Result<std::optional<Range>> parse_range(std::string_view header, uint64_t size);
/// "bytes=A-B" of a copy's source, both bounds given and within `size`; kInvalidArgument else.
Result<Range> parse_copy_range(std::string_view header, uint64_t size);

}  // namespace tarn::s3
