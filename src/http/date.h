// Dates as HTTP and AWS write them. All are UTC; the smallest unit is a second unless said.
//
// Plain functions; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace tarn::http {

/// "Tue, 27 Mar 2007 19:36:42 GMT" (RFC 9110, IMF-fixdate).
std::string format_http_date(TimeNs time);
std::optional<TimeNs> parse_http_date(std::string_view text);
/// "2007-03-27T19:36:42.000Z", with milliseconds.
std::string format_iso_date(TimeNs time);
/// "20070327T193642Z".
std::string format_amz_date(TimeNs time);
std::optional<TimeNs> parse_amz_date(std::string_view text);

}  // namespace tarn::http
