// Logging: one line an event, with a level, an event name and key=value fields.
//
//   log_info("mount.ready", "dir={} mode={}", dir, mode);
//
// Lines go to standard error and, after `log_to_file`, to a file as well. A request id set with
// RequestScope is added to every line that its thread logs. Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/status.h"

namespace tarn {

enum class LogLevel : int { kDebug, kInfo, kWarn, kError };

void log_set_level(LogLevel level);
bool log_is_on(LogLevel level);
/// Adds a file that the log is appended to.
Status log_to_file(const std::string& path);
void log_write(LogLevel level, std::string_view event, std::string_view text);

template <class... Args>
void log_line(LogLevel level, std::string_view event, fmt::format_string<Args...> format,
              Args&&... args) {
  if (log_is_on(level)) log_write(level, event, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_debug(std::string_view event, fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kDebug, event, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_info(std::string_view event, fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kInfo, event, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warn(std::string_view event, fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kWarn, event, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_error(std::string_view event, fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kError, event, format, std::forward<Args>(args)...);
}

/// While it lives, lines of this thread carry `request=ID`.
class RequestScope {
 public:
  explicit RequestScope(std::string request_id);
  ~RequestScope();
  RequestScope(const RequestScope&) = delete;
  RequestScope& operator=(const RequestScope&) = delete;
  /// The id of the thread's innermost scope; empty outside of any.
  static std::string_view current();

 private:
  std::string saved_;
};

}  // namespace tarn
