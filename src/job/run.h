// One training job from its record to its end. Internal to room job.
//
// Runs on the thread that calls it and returns when the job's record has ended and nothing of it
// runs any more.
#pragma once

#include "job/runner.h"

namespace tarn::job {

struct RunContext {
  fs::FileSystem& file_system;
  registry::Registry& registry;
  const RunnerOptions& options;
  const JobControl& control;
};

void run_job(const registry::TrainingJob& job, const RunContext& context);

}  // namespace tarn::job
