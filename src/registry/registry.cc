#include "registry/registry.h"

#include <algorithm>

#include <fmt/format.h>

namespace tarn::registry {
namespace {

constexpr std::string_view kJobKey = "Rtraining-job/";
constexpr std::string_view kProfileKey = "Rimage-profile/";

const std::vector<ImageProfile>& built_in_profiles() {
  static const std::vector<ImageProfile> profiles = {
      {"*pytorch-training*", ProfileKind::kPython, "/usr/bin/python3"}};
  return profiles;
}

std::string job_key(std::string_view name) {
  return fmt::format("{}{}", kJobKey, name);
}

std::string profile_key(std::string_view pattern) {
  return fmt::format("{}{}", kProfileKey, pattern);
}

Status no_such_job(std::string_view name) {
  return {Code::kNotFound, fmt::format("there is no training job '{}'", name)};
}

Status write(kv::Store& store, const std::function<Status(kv::Transaction&)>& body) {
  TARN_ASSIGN(const kv::Committed committed, kv::transact(store, body));
  return store.sync(committed.stamp);
}

}  // namespace

Status Registry::create(const TrainingJob& job) {
  return write(store_, [&](kv::Transaction& txn) -> Status {
    const std::string key = job_key(job.name);
    TARN_ASSIGN(const auto row, txn.get_tracked(key));
    if (row) return {Code::kExists, fmt::format("training job '{}' already exists", job.name)};
    txn.put(key, encode(job));
    return {};
  });
}

Result<TrainingJob> Registry::training_job(std::string_view name) {
  const auto txn = store_.begin();
  TARN_ASSIGN(const auto row, txn->get(job_key(name)));
  if (!row) return no_such_job(name);
  return decode_training_job(*row);
}

Result<std::vector<TrainingJob>> Registry::training_jobs() {
  const auto txn = store_.begin();
  std::vector<TrainingJob> jobs;
  Status decoded;
  TARN_TRY(txn->scan(kv::Range::prefix(kJobKey), [&](std::string_view, std::string_view value) {
    auto job = decode_training_job(value);
    if (!job.is_ok()) {
      decoded = job.status();
      return false;
    }
    jobs.push_back(std::move(job).value());
    return true;
  }));
  TARN_TRY(decoded);
  return jobs;
}

Result<TrainingJob> Registry::update(std::string_view name,
                                     const std::function<Status(TrainingJob&)>& change) {
  TrainingJob updated;
  TARN_TRY(write(store_, [&](kv::Transaction& txn) -> Status {
    const std::string key = job_key(name);
    TARN_ASSIGN(const auto row, txn.get_tracked(key));
    if (!row) return no_such_job(name);
    TARN_ASSIGN(updated, decode_training_job(*row));
    TARN_TRY(change(updated));
    txn.put(key, encode(updated));
    return {};
  }));
  return updated;
}

Status Registry::put_profile(const ImageProfile& profile) {
  TARN_TRY(check_profile(profile));
  return write(store_, [&](kv::Transaction& txn) -> Status {
    txn.put(profile_key(profile.pattern), encode(profile));
    return {};
  });
}

Status Registry::remove_profile(std::string_view pattern) {
  return write(store_, [&](kv::Transaction& txn) -> Status {
    const std::string key = profile_key(pattern);
    TARN_ASSIGN(const auto row, txn.get_tracked(key));
    if (!row)
      return {Code::kNotFound, fmt::format("no image is mapped by the pattern '{}'", pattern)};
    txn.erase(key);
    return {};
  });
}

Result<std::vector<ImageProfile>> Registry::profiles() {
  const auto txn = store_.begin();
  std::vector<ImageProfile> profiles;
  Status decoded;
  TARN_TRY(txn->scan(kv::Range::prefix(kProfileKey), [&](std::string_view, std::string_view value) {
    auto profile = decode_image_profile(value);
    if (!profile.is_ok()) {
      decoded = profile.status();
      return false;
    }
    profiles.push_back(std::move(profile).value());
    return true;
  }));
  TARN_TRY(decoded);
  for (const ImageProfile& profile : built_in_profiles()) {
    const auto is_same = [&](const ImageProfile& put) { return put.pattern == profile.pattern; };
    if (std::none_of(profiles.begin(), profiles.end(), is_same)) profiles.push_back(profile);
  }
  return profiles;
}

}  // namespace tarn::registry
