#include "s3/range.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace tarn::s3 {
namespace {

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

constexpr std::string_view kUnit = "bytes=";

}  // namespace

Result<std::optional<Range>> parse_range(std::string_view header, uint64_t size) {
  if (!header.starts_with(kUnit)) return std::optional<Range>();
  const std::string_view text = header.substr(kUnit.size());
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::optional<Range>();
  const auto first = number(text.substr(0, dash));
  const auto last = number(text.substr(dash + 1));
  const bool is_open = text.size() == dash + 1;
  auto outside = [&] {
    return Status(Code::kInvalidRange,
                  fmt::format("'{}' is outside of the object's {} bytes", header, size));
  };
  if (dash == 0) {
    if (!last) return std::optional<Range>();
    if (*last == 0 || size == 0) return outside();
    const uint64_t length = std::min(*last, size);
    return std::optional(Range{size - length, length});
  }
  if (!first || (!last && !is_open)) return std::optional<Range>();
  if (last && *last < *first) return std::optional<Range>();
  if (*first >= size) return outside();
  const uint64_t end = last ? std::min(*last, size - 1) : size - 1;
  return std::optional(Range{*first, end - *first + 1});
}

Result<Range> parse_copy_range(std::string_view header, uint64_t size) {
  auto bad = [&] {
    return Status(Code::kInvalidArgument,
                  fmt::format("x-amz-copy-source-range '{}' must be bytes=FIRST-LAST within the "
                              "source's {} bytes",
                              header, size));
  };
  if (!header.starts_with(kUnit)) return bad();
  const std::string_view text = header.substr(kUnit.size());
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) return bad();
  const auto first = number(text.substr(0, dash));
  const auto last = number(text.substr(dash + 1));
  if (!first || !last || *last < *first || *last >= size) return bad();
  return Range{*first, *last - *first + 1};
}

}  // namespace tarn::s3
