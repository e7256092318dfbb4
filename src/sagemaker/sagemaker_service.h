// SageMakerService: CreateTrainingJob, DescribeTrainingJob, ListTrainingJobs, StopTrainingJob,
// AddTags, ListTags.
//
// Thin: a request becomes a job of the runner, a record becomes an answer. Jobs are seen by every
// key; only the key's own user, or root, stops one. Thread-safe.
#pragma once

#include "job/runner.h"
#include "sagemaker/describe.h"

namespace tarn::sagemaker {

class SageMakerService final : public JsonService {
 public:
  /// `runner` outlives it.
  SageMakerService(job::Runner& runner, Place place);

 private:
  Answer create_training_job(const Json& request, const http::Identity& caller);
  Answer describe_training_job(const Json& request);
  Answer list_training_jobs(const Json& request);
  Answer stop_training_job(const Json& request, const http::Identity& caller);
  Answer add_tags(const Json& request, const http::Identity& caller);
  Answer list_tags(const Json& request);

  job::Runner& runner_;
  const Place place_;
};

}  // namespace tarn::sagemaker
