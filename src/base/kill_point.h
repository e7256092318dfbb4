// Named points at which the crash tests kill the process.
//
//   TARN_KILL_POINT("content.settle.after_sync");
//
// With TARN_KILL_POINT=NAME[:N] in the environment the N-th pass (from 1) over that point ends the
// process by SIGKILL. Without the variable a point costs one load of a bool. Thread-safe.
#pragma once

#include <string_view>

namespace tarn::detail {
extern const bool kill_points_on;
void kill_point_passed(std::string_view name);
}  // namespace tarn::detail

#define TARN_KILL_POINT(name) \
  (::tarn::detail::kill_points_on ? ::tarn::detail::kill_point_passed(name) : void())
