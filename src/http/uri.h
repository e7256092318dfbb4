// Percent-encoding and query strings, by the rules of AWS request signing.
//
// Everything but the unreserved characters of RFC 3986 (letters, digits, '-', '.', '_', '~') is
// encoded, with capital digits; in paths '/' stays. Plain functions; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tarn::http {

enum class Slashes { kEncode, kKeep };
std::string percent_encode(std::string_view text, Slashes slashes);

enum class Plus { kLiteral, kSpace };
/// Nothing when a '%' is not followed by two hexadecimal digits.
std::optional<std::string> percent_decode(std::string_view text, Plus plus);

using Query = std::vector<std::pair<std::string, std::string>>;
/// "a=1&b" -> {{"a","1"},{"b",""}}, decoded; '+' is a space. Nothing for a bad '%'.
std::optional<Query> parse_query(std::string_view text);

}  // namespace tarn::http
