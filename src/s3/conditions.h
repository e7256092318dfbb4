// The If-* headers of reads and of copies (RFC 9110, section 13).
//
// Plain functions; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "fs/objects.h"
#include "http/message.h"

namespace tarn::s3 {

enum class Verdict { kGoOn, kNotModified, kFailed };
/// `prefix` is "" or "x-amz-copy-source-": the headers' names begin with it.
Verdict judge_conditions(const http::Headers& headers, std::string_view prefix,
                         std::string_view etag, TimeNs modified);
/// If-Match and If-None-Match of a PUT.
fs::PutCondition put_condition(const http::Headers& headers);
/// "\"abc\"" -> "abc".
std::string unquoted(std::string_view etag);
std::string quoted(std::string_view etag);

}  // namespace tarn::s3
