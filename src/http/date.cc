#include "http/date.h"

#include <array>
#include <ctime>

#include <fmt/format.h>

namespace tarn::http {
namespace {

constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

tm calendar(TimeNs time) {
  const time_t seconds = to_timespec(time).tv_sec;
  tm parts{};
  gmtime_r(&seconds, &parts);
  return parts;
}

std::optional<TimeNs> from_parts(const tm& parts) {
  tm copy = parts;
  const time_t seconds = timegm(&copy);
  // timegm puts wrong parts right (31 June); such a date is refused.
  if (copy.tm_mday != parts.tm_mday || copy.tm_hour != parts.tm_hour ||
      copy.tm_min != parts.tm_min || copy.tm_mon != parts.tm_mon) {
    return std::nullopt;
  }
  return static_cast<TimeNs>(seconds) * kSecondNs;
}

/// `digits` decimal digits at `at`; -1 when they are not.
int number_at(std::string_view text, size_t at, size_t digits) {
  int number = 0;
  for (size_t i = at; i < at + digits; ++i) {
    if (i >= text.size() || text[i] < '0' || text[i] > '9') return -1;
    number = number * 10 + (text[i] - '0');
  }
  return number;
}

}  // namespace

std::string format_http_date(TimeNs time) {
  const tm p = calendar(time);
  return fmt::format(
      "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[static_cast<size_t>(p.tm_wday)], p.tm_mday,
      kMonths[static_cast<size_t>(p.tm_mon)], p.tm_year + 1900, p.tm_hour, p.tm_min, p.tm_sec);
}

std::optional<TimeNs> parse_http_date(std::string_view text) {
  if (text.size() != 29 || !text.ends_with(" GMT")) return std::nullopt;
  tm parts{};
  parts.tm_mon = -1;
  for (size_t i = 0; i < kMonths.size(); ++i) {
    if (text.substr(8, 3) == kMonths[i]) parts.tm_mon = static_cast<int>(i);
  }
  parts.tm_mday = number_at(text, 5, 2);
  parts.tm_year = number_at(text, 12, 4) - 1900;
  parts.tm_hour = number_at(text, 17, 2);
  parts.tm_min = number_at(text, 20, 2);
  parts.tm_sec = number_at(text, 23, 2);
  if (parts.tm_mon < 0 || parts.tm_mday < 0 || parts.tm_year < 0 || parts.tm_hour < 0 ||
      parts.tm_min < 0 || parts.tm_sec < 0) {
    return std::nullopt;
  }
  return from_parts(parts);
}

std::string format_iso_date(TimeNs time) {
  const tm p = calendar(time);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", p.tm_year + 1900, p.tm_mon + 1,
                     p.tm_mday, p.tm_hour, p.tm_min, p.tm_sec,
                     to_timespec(time).tv_nsec / kMillisecondNs);
}

std::string format_amz_date(TimeNs time) {
  const tm p = calendar(time);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", p.tm_year + 1900, p.tm_mon + 1, p.tm_mday,
                     p.tm_hour, p.tm_min, p.tm_sec);
}

std::optional<TimeNs> parse_amz_date(std::string_view text) {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return std::nullopt;
  tm parts{};
  parts.tm_year = number_at(text, 0, 4) - 1900;
  parts.tm_mon = number_at(text, 4, 2) - 1;
  parts.tm_mday = number_at(text, 6, 2);
  parts.tm_hour = number_at(text, 9, 2);
  parts.tm_min = number_at(text, 11, 2);
  parts.tm_sec = number_at(text, 13, 2);
  if (parts.tm_year < 0 || parts.tm_mon < 0 || parts.tm_mday < 0 || parts.tm_hour < 0 ||
      parts.tm_min < 0 || parts.tm_sec < 0) {
    return std::nullopt;
  }
  return from_parts(parts);
}

}  // namespace tarn::http
