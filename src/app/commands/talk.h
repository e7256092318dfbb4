// What commands that talk to a running program share.
//
// Belongs to one thread.
#pragma once

#include <optional>
#include <string>

#include "app/control_client.h"
#include "app/locate.h"

namespace tarn::app {

/// Connects to the Tarn that `root_argument`, TARN_ROOT or the current directory leads to.
Result<ControlClient> connect_to_root(const std::optional<std::string>& root_argument);

/// Runs one command that needs no path; its result.
Result<Json> call_root(const std::optional<std::string>& root_argument, const std::string& command,
                       Json arguments = Json::object());

/// "2026-01-31T12:00:00Z" of nanoseconds since the epoch.
std::string utc_time(int64_t time_ns);

}  // namespace tarn::app
