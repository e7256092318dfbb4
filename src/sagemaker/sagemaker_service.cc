#include "sagemaker/sagemaker_service.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "sagemaker/request.h"

namespace tarn::sagemaker {
namespace {

using registry::TrainingJob;

constexpr size_t kTagsMax = 50;

Answer require_owner(const TrainingJob& job, const http::Identity& caller) {
  if (caller.uid == job.owner.uid || caller.uid == 0) return Json();
  return fault("AccessDeniedException",
               fmt::format("training job '{}' is of uid {}, this key is of uid {}", job.name,
                           job.owner.uid, caller.uid));
}

Json tags_of(const TrainingJob& job) {
  Json tags = Json::array();
  for (const auto& [key, value] : job.tags) tags.push_back({{"Key", key}, {"Value", value}});
  return tags;
}

/// A time filter; absent members let everything through.
bool passes_time(const Json& request, const char* after, const char* before, TimeNs time) {
  const double at = api_time(time);
  if (request.contains(after) && request[after].is_number() && at <= request[after].get<double>())
    return false;
  return !(request.contains(before) && request[before].is_number() &&
           at >= request[before].get<double>());
}

bool passes(const Json& request, const TrainingJob& job) {
  const std::string contains = request.value("NameContains", "");
  const std::string status = request.value("StatusEquals", "");
  if (job.name.find(contains) == std::string::npos) return false;
  if (!status.empty() && status != state_name(job.state)) return false;
  return passes_time(request, "CreationTimeAfter", "CreationTimeBefore", job.created) &&
         passes_time(request, "LastModifiedTimeAfter", "LastModifiedTimeBefore", job.modified);
}

void sort_jobs(const Json& request, std::vector<TrainingJob>& jobs) {
  const std::string by = request.value("SortBy", "CreationTime");
  const auto is_before = [&by](const TrainingJob& a, const TrainingJob& b) {
    if (by == "Name") return a.name < b.name;
    if (by == "Status") return std::pair(a.state, a.name) < std::pair(b.state, b.name);
    return std::pair(a.created, a.name) < std::pair(b.created, b.name);
  };
  std::sort(jobs.begin(), jobs.end(), is_before);
  const std::string order =
      request.value("SortOrder", request.contains("SortBy") ? "Ascending" : "Descending");
  if (order != "Ascending") std::reverse(jobs.begin(), jobs.end());
}

}  // namespace

SageMakerService::SageMakerService(job::Runner& runner, Place place)
    : JsonService("sagemaker", "SageMaker."), runner_(runner), place_(std::move(place)) {
  add("CreateTrainingJob", [this](const Json& request, const http::Identity& caller) {
    return create_training_job(request, caller);
  });
  add("DescribeTrainingJob", [this](const Json& request, const http::Identity&) {
    return describe_training_job(request);
  });
  add("ListTrainingJobs",
      [this](const Json& request, const http::Identity&) { return list_training_jobs(request); });
  add("StopTrainingJob", [this](const Json& request, const http::Identity& caller) {
    return stop_training_job(request, caller);
  });
  add("AddTags", [this](const Json& request, const http::Identity& caller) {
    return add_tags(request, caller);
  });
  add("ListTags",
      [this](const Json& request, const http::Identity&) { return list_tags(request); });
}

Answer SageMakerService::create_training_job(const Json& request, const http::Identity& caller) {
  auto job = read_training_job(request, caller, runner_.options().mount_directory);
  if (!job) return std::unexpected(job.error());
  const std::string name = job->name;
  if (const Status status = runner_.submit(std::move(*job)); !status.is_ok())
    return fault_of(status);
  return Json{{"TrainingJobArn", training_job_arn(place_, name)}};
}

Answer SageMakerService::describe_training_job(const Json& request) {
  const auto name = required_text(request, "TrainingJobName");
  if (!name) return std::unexpected(name.error());
  const auto job = runner_.registry().training_job(*name);
  if (!job.is_ok()) return fault_of(job.status());
  return describe(*job, place_);
}

Answer SageMakerService::list_training_jobs(const Json& request) {
  const Json& wanted = request.value("MaxResults", Json(10));
  if (!wanted.is_number_integer() || wanted.get<int64_t>() < 1 || wanted.get<int64_t>() > 100)
    return fault("ValidationException", "MaxResults is not between 1 and 100");
  const size_t results_max = wanted.get<size_t>();
  const std::string token = request.value("NextToken", "");
  size_t begin = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), begin);
  if (!token.empty() && (error != std::errc() || end != token.data() + token.size()))
    return fault("ValidationException", "Invalid pagination token because \"{0}\".");
  auto jobs = runner_.registry().training_jobs();
  if (!jobs.is_ok()) return fault_of(jobs.status());
  std::erase_if(*jobs, [&](const TrainingJob& job) { return !passes(request, job); });
  sort_jobs(request, *jobs);
  Json summaries = Json::array();
  for (size_t i = begin; i < jobs->size() && summaries.size() < results_max; ++i)
    summaries.push_back(summarise((*jobs)[i], place_));
  Json answer = {{"TrainingJobSummaries", std::move(summaries)}};
  if (begin + results_max < jobs->size()) answer["NextToken"] = std::to_string(begin + results_max);
  return answer;
}

Answer SageMakerService::stop_training_job(const Json& request, const http::Identity& caller) {
  const auto name = required_text(request, "TrainingJobName");
  if (!name) return std::unexpected(name.error());
  const auto job = runner_.registry().training_job(*name);
  if (!job.is_ok()) return fault_of(job.status());
  if (auto owner = require_owner(*job, caller); !owner) return owner;
  const Status status = runner_.stop(*name);
  if (status.is(Code::kPreconditionFailed))
    return fault("ValidationException",
                 fmt::format("The request was rejected because {}.", status.message()));
  if (!status.is_ok()) return fault_of(status);
  return Json::object();
}

Answer SageMakerService::add_tags(const Json& request, const http::Identity& caller) {
  const auto arn = required_text(request, "ResourceArn");
  if (!arn) return std::unexpected(arn.error());
  const Json tags = request.value("Tags", Json::array());
  const auto job = runner_.registry().training_job(name_of_arn(*arn));
  if (!job.is_ok()) return fault_of(job.status());
  if (auto owner = require_owner(*job, caller); !owner) return owner;
  const auto updated = runner_.registry().update(job->name, [&](TrainingJob& record) -> Status {
    for (const Json& tag : tags) {
      const std::string key = tag.value("Key", "");
      std::erase_if(record.tags, [&](const auto& old) { return old.first == key; });
      record.tags.emplace_back(key, tag.value("Value", ""));
    }
    if (record.tags.size() > kTagsMax)
      return {Code::kInvalidArgument, fmt::format("a resource has at most {} tags", kTagsMax)};
    return {};
  });
  if (!updated.is_ok()) return fault_of(updated.status());
  return Json{{"Tags", tags_of(*updated)}};
}

Answer SageMakerService::list_tags(const Json& request) {
  const auto arn = required_text(request, "ResourceArn");
  if (!arn) return std::unexpected(arn.error());
  const auto job = runner_.registry().training_job(name_of_arn(*arn));
  if (!job.is_ok()) return fault_of(job.status());
  return Json{{"Tags", tags_of(*job)}};
}

}  // namespace tarn::sagemaker
