#include "app/commands/talk.h"

#include <ctime>

namespace tarn::app {

Result<ControlClient> connect_to_root(const std::optional<std::string>& root_argument) {
  TARN_ASSIGN(const Surroundings surroundings, Surroundings::system(root_argument));
  TARN_ASSIGN(const std::string root, find_root(surroundings));
  return ControlClient::connect(root);
}

Result<Json> call_root(const std::optional<std::string>& root_argument, const std::string& command,
                       Json arguments) {
  TARN_ASSIGN(ControlClient client, connect_to_root(root_argument));
  return client.call(command, std::move(arguments));
}

std::string utc_time(int64_t time_ns) {
  const auto seconds = static_cast<time_t>(time_ns / 1'000'000'000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text, length};
}

}  // namespace tarn::app
