// LogsService: the calls of CloudWatch Logs that follow a training job.
//
// One group, /aws/sagemaker/TrainingJobs, with one stream a job that has begun to run. No answer
// has a nextToken when all that was asked for is in it: clients ask for ever otherwise. Tokens of
// GetLogEvents are offsets, "f/N" and "b/N". Thread-safe.
#pragma once

#include "job/runner.h"
#include "sagemaker/describe.h"

namespace tarn::sagemaker {

class LogsService final : public JsonService {
 public:
  /// `runner` outlives it.
  LogsService(job::Runner& runner, Place place);

 private:
  Answer describe_log_groups(const Json& request);
  Answer describe_log_streams(const Json& request);
  Answer get_log_events(const Json& request);
  Answer filter_log_events(const Json& request);

  job::Runner& runner_;
  const Place place_;
};

}  // namespace tarn::sagemaker
