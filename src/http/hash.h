// HMAC-SHA256 and hexadecimal text, as request signing uses them.
//
// Plain functions; thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace tarn::http {

/// 32 bytes.
std::string hmac_sha256(std::string_view key, std::string_view data);
/// 20 bytes.
std::string hmac_sha1(std::string_view key, std::string_view data);
/// 64 lower-case digits.
std::string sha256_hex(std::string_view data);
std::string to_hex(std::string_view bytes);
/// Compares in time that does not depend on where the texts differ.
bool equals_in_constant_time(std::string_view a, std::string_view b);
/// `digits` random hexadecimal digits of the system's generator.
std::string random_hex(size_t digits);

}  // namespace tarn::http
