#include "http/message.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace tarn::http {

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

void Headers::add(std::string name, std::string value) {
  fields_.emplace_back(std::move(name), std::move(value));
}

void Headers::set(std::string_view name, std::string value) {
  std::erase_if(fields_,
                [&](const auto& field) { return equals_ignoring_case(field.first, name); });
  fields_.emplace_back(std::string(name), std::move(value));
}

std::optional<std::string_view> Headers::find(std::string_view name) const {
  for (const auto& [field, value] : fields_) {
    if (equals_ignoring_case(field, name)) return value;
  }
  return std::nullopt;
}

std::optional<std::string_view> Request::parameter(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return std::nullopt;
}

Status Body::fail(int http, std::string code, std::string message) {
  Status status(Code::kBadFormat, message);
  fault_ = Fault{http, std::move(code), std::move(message)};
  return status;
}

Status Body::fail_as(const Body& inner, Status status) {
  fault_ = inner.fault();
  return status;
}

Result<std::string> read_all(Body& body, size_t bytes_max) {
  std::string text;
  std::array<std::byte, 16384> buffer;
  while (true) {
    TARN_ASSIGN(const size_t n, body.read(buffer));
    if (n == 0) return text;
    if (text.size() + n > bytes_max) {
      return Status(Code::kFileTooLarge, fmt::format("the body has more than {} bytes", bytes_max));
    }
    text.append(reinterpret_cast<const char*>(buffer.data()), n);
  }
}

}  // namespace tarn::http
