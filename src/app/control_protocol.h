// What travels over ROOT/control.sock: frames of JSON between a command and the running program.
//
//   frame      4 bytes length, big-endian | that many bytes of JSON, at most kFrameBytesMax
//   request    {"protocol":1, "id":"...", "command":"digest", "umask":18, "arguments":{...}}
//              its first byte may carry one open descriptor (SCM_RIGHTS)
//   answers    {"progress":{"done":N,"total":N}} and {"items":[...]}, any number, in any order,
//   then
//              {"result":{...}}  or  {"error":{"code":"NotFound","message":"..."}}
//
// JSON holds text, names on Linux hold bytes: names pass as `to_wire` writes them. Functions are
// thread-safe; one socket belongs to one thread at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/status.h"

namespace tarn::app {

using Json = nlohmann::json;

inline constexpr int kControlProtocol = 1;
// A frame holds a few hundred digests or ten thousand lines of a manifest; 16 MiB is beyond both.
inline constexpr size_t kFrameBytesMax = size_t{16} << 20;

struct Frame {
  Json body;
  UniqueFd descriptor;  // as sent along, or none
};

/// Sends one frame. kFileTooLarge above kFrameBytesMax, kUnavailable when the peer is gone.
Status send_frame(int socket, const Json& body, int descriptor = -1);
/// Receives one frame; nullopt when the peer ended between frames. kBadFormat for what is no frame,
/// kTimedOut after the socket's own receive time-out.
Result<std::optional<Frame>> receive_frame(int socket);

/// Bytes as valid UTF-8 text: '%' and bytes that are not UTF-8 become %XX.
std::string to_wire(std::string_view name);
/// The reverse; kBadFormat when a '%' is not followed by two hexadecimal digits.
Result<std::string> from_wire(std::string_view text);

/// {"code": ..., "message": ...} and back; a code that is not known becomes kInternal.
Json status_to_json(const Status& status);
Status status_from_json(const Json& json);

/// JSON as one line of text; bytes that are not UTF-8 become U+FFFD.
std::string to_line(const Json& json);

// Typed access to a request's arguments: kInvalidArgument names a missing or wrong one.
Result<std::string> text_argument(const Json& arguments, const char* name);
/// A name or path as to_wire wrote it.
Result<std::string> path_argument(const Json& arguments, const char* name);
/// False when absent.
Result<bool> flag_argument(const Json& arguments, const char* name);

}  // namespace tarn::app
