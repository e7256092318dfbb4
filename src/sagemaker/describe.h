// A training job as DescribeTrainingJob and ListTrainingJobs show it.
//
// Unset structures are left out: an empty object breaks clients that check types. Plain functions;
// thread-safe.
#pragma once

#include <string>

#include "registry/training_job.h"
#include "sagemaker/json_service.h"

namespace tarn::sagemaker {

struct Place {
  std::string region = "us-east-1";
  std::string account = "000000000000";
};

std::string training_job_arn(const Place& place, const std::string& name);
/// The name at the end of a training job's ARN; empty when it is none.
std::string name_of_arn(const std::string& arn);
Json describe(const registry::TrainingJob& job, const Place& place);
Json summarise(const registry::TrainingJob& job, const Place& place);

}  // namespace tarn::sagemaker
