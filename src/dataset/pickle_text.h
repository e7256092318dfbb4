// The text forms of numbers and strings in protocol 0. Internal to the room.
//
// Plain functions from one line of a pickle to a value; BadFormat for what Python would not write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace tarn::dataset {

/// A decimal integer of 64 bits, with the L that LONG puts behind it.
Result<int64_t> parse_integer_line(std::string_view line);
Result<double> parse_float_line(std::string_view line);
/// STRING: a Python 2 literal in quotes, with its escapes.
Result<std::string> parse_string_line(std::string_view line);
/// UNICODE: raw-unicode-escape (latin-1 with \uXXXX and \UXXXXXXXX), as UTF-8.
Result<std::string> parse_unicode_line(std::string_view line);
/// A little-endian two's complement number of at most 8 bytes (LONG1, LONG4).
Result<int64_t> parse_long_bytes(std::string_view bytes);

}  // namespace tarn::dataset
