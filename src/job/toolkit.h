// The training toolkit's part, played for a host profile: files below /opt/ml/input/config,
// environment and command of the program.
//
// For a Python profile it is what AWS's training toolkit does in a container: SM_* variables,
// hyper-parameters as sorted "--name value" arguments, sagemaker_program run by the profile's
// interpreter in /opt/ml/code. For other profiles the program follows the container contract and
// gets what the platform gives. Plain functions; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "registry/image_profile.h"
#include "registry/training_job.h"

namespace tarn::job {

inline constexpr const char* kHost = "algo-1";

/// What the program of a job gets beside what its request says.
struct Surroundings {
  std::string endpoint_url;  // empty: none
  std::string region = "us-east-1";
  std::string access_key, secret_key;
  std::string account = "000000000000";
};

struct Program {
  std::vector<std::string> argv, environment;  // "NAME=value"
  std::string working_directory;
};

/// A hyper-parameter's value as the toolkit reads it: JSON text decoded, anything else as it is.
std::string plain_value(const std::string& value);
/// The script that a Python profile runs, and the URI of its archive (empty: none was given).
/// kInvalidArgument when the job names neither a script nor an entry point.
struct Script {
  std::string program, archive_uri;
};
Result<Script> script_of(const registry::TrainingJob& job);

/// True when the job runs a script by the toolkit's rules: a Python profile and no entry point.
bool is_script_job(const registry::TrainingJob& job, const registry::ImageProfile& profile);
/// The program of the job. kInvalidArgument as script_of.
Result<Program> plan_program(const registry::TrainingJob& job,
                             const registry::ImageProfile& profile,
                             const Surroundings& surroundings);

/// Writes hyperparameters.json, inputdataconfig.json, resourceconfig.json and the rest into
/// `directory`.
Status write_config(const registry::TrainingJob& job, const std::string& directory);

}  // namespace tarn::job
