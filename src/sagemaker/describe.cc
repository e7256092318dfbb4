#include "sagemaker/describe.h"

#include <algorithm>

#include <fmt/format.h>

namespace tarn::sagemaker {
namespace {

using registry::TrainingJob;

constexpr std::string_view kArnKind = ":training-job/";

// Members of the request that the answer shows as they came.
constexpr const char* kEchoed[] = {"AlgorithmSpecification",
                                   "CheckpointConfig",
                                   "DebugHookConfig",
                                   "DebugRuleConfigurations",
                                   "EnableInterContainerTrafficEncryption",
                                   "EnableManagedSpotTraining",
                                   "EnableNetworkIsolation",
                                   "Environment",
                                   "ExperimentConfig",
                                   "HyperParameters",
                                   "InputDataConfig",
                                   "OutputDataConfig",
                                   "ProfilerConfig",
                                   "ProfilerRuleConfigurations",
                                   "ResourceConfig",
                                   "RetryStrategy",
                                   "RoleArn",
                                   "StoppingCondition",
                                   "TensorBoardOutputConfig",
                                   "VpcConfig"};

/// Clients read these without asking whether they are there.
void add_defaults(const TrainingJob& job, Json& answer) {
  if (answer["OutputDataConfig"].value("KmsKeyId", Json()).is_null())
    answer["OutputDataConfig"]["KmsKeyId"] = "";
  Json& resources = answer["ResourceConfig"];
  if (!resources.is_object()) resources = Json::object();
  if (!resources.contains("InstanceType")) resources["InstanceType"] = job.instance_type;
  if (!resources.contains("InstanceCount")) resources["InstanceCount"] = 1;
  if (!resources.contains("VolumeSizeInGB")) resources["VolumeSizeInGB"] = 1;
  Json& stopping = answer["StoppingCondition"];
  if (!stopping.is_object()) stopping = Json::object();
  if (!stopping.contains("MaxRuntimeInSeconds"))
    stopping["MaxRuntimeInSeconds"] = job.runtime_seconds_max;
  for (const char* name : {"EnableNetworkIsolation", "EnableInterContainerTrafficEncryption",
                           "EnableManagedSpotTraining"})
    if (!answer.contains(name)) answer[name] = false;
}

Json transitions(const TrainingJob& job) {
  Json list = Json::array();
  for (const registry::Transition& transition : job.transitions) {
    Json item = {{"Status", phase_name(transition.phase)},
                 {"StartTime", api_time(transition.start)},
                 {"StatusMessage", transition.message}};
    if (transition.end != 0) item["EndTime"] = api_time(transition.end);
    list.push_back(std::move(item));
  }
  return list;
}

/// Whole seconds, at least one: clients divide by them.
int64_t seconds_of(const TrainingJob& job) {
  const TimeNs end = job.training_ended != 0 ? job.training_ended : Clock::system().now();
  return std::max<int64_t>(1, (end - job.training_started + kSecondNs - 1) / kSecondNs);
}

}  // namespace

std::string training_job_arn(const Place& place, const std::string& name) {
  return fmt::format("arn:aws:sagemaker:{}:{}{}{}", place.region, place.account, kArnKind, name);
}

std::string name_of_arn(const std::string& arn) {
  const size_t at = arn.find(kArnKind);
  return at == std::string::npos ? "" : arn.substr(at + kArnKind.size());
}

Json describe(const TrainingJob& job, const Place& place) {
  const Json request = Json::parse(job.request, nullptr, false);
  Json answer = {{"TrainingJobName", job.name},
                 {"TrainingJobArn", training_job_arn(place, job.name)},
                 {"TrainingJobStatus", state_name(job.state)},
                 {"SecondaryStatus", phase_name(job.phase)},
                 {"SecondaryStatusTransitions", transitions(job)},
                 {"CreationTime", api_time(job.created)},
                 {"LastModifiedTime", api_time(job.modified)},
                 {"ModelArtifacts", {{"S3ModelArtifacts", job.model_uri}}}};
  if (request.is_object())
    for (const char* name : kEchoed)
      if (const auto found = request.find(name); found != request.end() && !found->is_null())
        answer[name] = *found;
  add_defaults(job, answer);
  if (!job.failure_reason.empty()) answer["FailureReason"] = job.failure_reason;
  if (job.training_started != 0) {
    answer["TrainingStartTime"] = api_time(job.training_started);
    answer["TrainingTimeInSeconds"] = seconds_of(job);
    answer["BillableTimeInSeconds"] = seconds_of(job);
  }
  if (job.training_ended != 0) answer["TrainingEndTime"] = api_time(job.training_ended);
  return answer;
}

Json summarise(const TrainingJob& job, const Place& place) {
  Json item = {{"TrainingJobName", job.name},
               {"TrainingJobArn", training_job_arn(place, job.name)},
               {"CreationTime", api_time(job.created)},
               {"LastModifiedTime", api_time(job.modified)},
               {"TrainingJobStatus", state_name(job.state)},
               {"SecondaryStatus", phase_name(job.phase)}};
  if (job.training_ended != 0) item["TrainingEndTime"] = api_time(job.training_ended);
  return item;
}

}  // namespace tarn::sagemaker
