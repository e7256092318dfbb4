#include "base/status.h"

#include <array>
#include <cstring>

#include <fmt/format.h>

namespace tarn {
namespace {

struct CodeRow {
  std::string_view name;
  int error;
  int http;
  std::string_view s3;
  bool is_retryable;
  bool is_data_at_risk;
};

constexpr CodeRow kRows[] = {
#define X(name, err, http, s3, retry, risk) {#name, err, http, s3, retry, risk},
#include "base/status_codes.def"
#undef X
};

const CodeRow& row(Code code) {
  return kRows[static_cast<size_t>(code)];
}

}  // namespace

std::string_view code_name(Code code) {
  return row(code).name;
}
int code_errno(Code code) {
  return row(code).error;
}
int code_http(Code code) {
  return row(code).http;
}
std::string_view code_s3(Code code) {
  return row(code).s3;
}
bool code_is_retryable(Code code) {
  return row(code).is_retryable;
}
bool code_is_data_at_risk(Code code) {
  return row(code).is_data_at_risk;
}

std::string Status::to_string() const {
  if (is_ok()) return "Ok";
  return fmt::format("{}: {}", code_name(code_), message());
}

Status Status::with_context(std::string_view context) const {
  if (is_ok()) return *this;
  return Status(code_, fmt::format("{}: {}", context, message()));
}

Status errno_status(int error, std::string_view what) {
  Code code = Code::kIo;
  for (size_t i = 1; i < std::size(kRows); ++i) {
    // The first code of an errno in the catalogue is its general meaning.
    if (kRows[i].error == error) {
      code = static_cast<Code>(i);
      break;
    }
  }
  if (error == EIO) code = Code::kIo;
  return Status(code, fmt::format("{}: {}", what, std::strerror(error)));
}

}  // namespace tarn
