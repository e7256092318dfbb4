#include "base/log.h"

#include <memory>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace tarn {
namespace {

thread_local std::string request_id;

spdlog::logger& logger() {
  static const auto instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto made = std::make_shared<spdlog::logger>("tarn", sink);
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void log_set_level(LogLevel level) {
  logger().set_level(to_spdlog(level));
}

bool log_is_on(LogLevel level) {
  return logger().should_log(to_spdlog(level));
}

Status log_to_file(const std::string& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, false);
    sink->set_formatter(std::make_unique<spdlog::pattern_formatter>(
        "%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc));
    logger().sinks().push_back(sink);
    return {};
  } catch (const spdlog::spdlog_ex& error) {
    return Status(Code::kIo, fmt::format("cannot write the log '{}': {}", path, error.what()));
  }
}

void log_write(LogLevel level, std::string_view event, std::string_view text) {
  if (request_id.empty()) {
    logger().log(to_spdlog(level), "{} {}", event, text);
  } else {
    logger().log(to_spdlog(level), "{} {} request={}", event, text, request_id);
  }
}

RequestScope::RequestScope(std::string id) : saved_(std::exchange(request_id, std::move(id))) {}
RequestScope::~RequestScope() {
  request_id = std::move(saved_);
}
std::string_view RequestScope::current() {
  return request_id;
}

}  // namespace tarn
