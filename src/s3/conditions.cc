#include "s3/conditions.h"

#include "http/date.h"

namespace tarn::s3 {
namespace {

/// One of a list of ETags, or "*".
bool matches(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    std::string_view item = list.substr(0, comma);
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    if (item.starts_with("W/")) item.remove_prefix(2);
    if (item == "*" || unquoted(item) == etag) return true;
  }
  return false;
}

}  // namespace

std::string unquoted(std::string_view etag) {
  if (etag.size() >= 2 && etag.starts_with('"') && etag.ends_with('"')) {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

std::string quoted(std::string_view etag) {
  return "\"" + std::string(etag) + "\"";
}

Verdict judge_conditions(const http::Headers& headers, std::string_view prefix,
                         std::string_view etag, TimeNs modified) {
  auto find = [&](std::string_view name) {
    return headers.find(std::string(prefix) + std::string(name));
  };
  // HTTP's dates have whole seconds.
  const TimeNs second = modified / kSecondNs;
  if (const auto match = find("if-match")) {
    if (!matches(*match, etag)) return Verdict::kFailed;
  } else if (const auto text = find("if-unmodified-since")) {
    const auto since = http::parse_http_date(*text);
    if (since && second > *since / kSecondNs) return Verdict::kFailed;
  }
  if (const auto none = find("if-none-match")) {
    if (matches(*none, etag)) return Verdict::kNotModified;
  } else if (const auto text = find("if-modified-since")) {
    const auto since = http::parse_http_date(*text);
    if (since && second <= *since / kSecondNs) return Verdict::kNotModified;
  }
  return Verdict::kGoOn;
}

fs::PutCondition put_condition(const http::Headers& headers) {
  fs::PutCondition condition;
  if (const auto match = headers.find("if-match")) condition.if_match = unquoted(*match);
  if (const auto none = headers.find("if-none-match")) condition.if_none_match = unquoted(*none);
  return condition;
}

}  // namespace tarn::s3
