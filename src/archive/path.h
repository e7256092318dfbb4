// Names inside archives: made relative and clean, or refused.
//
// Works on bytes; no locale, no Unicode. Thread-safe, no state.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace tarn::archive {

/// Longest member name, in bytes: eight times PATH_MAX, so that no real archive meets it.
inline constexpr size_t kPathBytesMax = 32 * 1024;

enum class LeadingSlash { kRefuse, kStrip };

/// `name` without empty and "." segments and without '/' at its ends; "" for the directory itself.
/// InvalidArgument: absolute (unless stripped), a ".." segment, a NUL byte. NameTooLong: a segment
/// over 255 bytes, or the whole over kPathBytesMax.
Result<std::string> normalise_path(std::string_view name, LeadingSlash leading_slash);

/// `name` for a message: bytes outside printable ASCII as \xNN, cut after 200 bytes.
std::string printable(std::string_view name);

/// The part before the last '/', or "".
std::string_view parent_path(std::string_view path);

}  // namespace tarn::archive
