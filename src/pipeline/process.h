// run_timed: one command, timed from its start to its end.
//
// The command gets no input; its output is kept up to a limit (the last part counts), its messages
// go into the same place. Time is the monotonic clock's, from just before the process is made to
// the moment its end is known. Thread rules: thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "pipeline/plan.h"
#include "pipeline/usage.h"

namespace tarn::pipeline {

struct TimedRun {
  TimeNs took = 0;
  TimeNs first_line = 0;   // until the first line end on standard output; `took` when none came
  TimeNs second_line = 0;  // the same of the second
  std::string output;      // standard output
  // The machine's at the beginning, at the two lines and at the end.
  Usage usage_began, usage_first_line, usage_second_line, usage_ended;
};

/// Runs `command` (looked up in PATH); Internal with the end of its messages when it fails, is
/// killed, or runs longer than `seconds_max`, in which case its process group is killed.
Result<TimedRun> run_timed(const Command& command, uint64_t seconds_max);

}  // namespace tarn::pipeline
