#include "job/toolkit.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace tarn::job {
namespace {

using Json = nlohmann::json;
using registry::TrainingJob;
using Environment = std::map<std::string, std::string>;

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

/// A hyper-parameter as JSON: decoded where it is JSON, else a string.
Json decoded(const std::string& value) {
  Json json = Json::parse(value, nullptr, false);
  return json.is_discarded() ? Json(value) : json;
}

bool is_reserved(const std::string& name) {
  return name.starts_with("sagemaker_");
}

int gpus() {
  int count = 0;
  struct stat info{};
  while (stat(fmt::format("/dev/nvidia{}", count).c_str(), &info) == 0) ++count;
  return count;
}

Json resource_config(const TrainingJob& job) {
  return {{"current_host", kHost},
          {"hosts", {kHost}},
          {"network_interface_name", "lo"},
          {"current_instance_type", job.instance_type},
          {"current_group_name", "homogeneousCluster"},
          {"instance_groups",
           {{{"instance_group_name", "homogeneousCluster"},
             {"instance_type", job.instance_type},
             {"hosts", {kHost}}}}}};
}

Json input_config(const TrainingJob& job) {
  Json config = Json::object();
  for (const registry::Channel& channel : job.channels) {
    Json item = {
        {"TrainingInputMode", channel.mode == registry::InputMode::kFile ? "File" : "FastFile"},
        {"S3DistributionType", channel.distribution},
        {"RecordWrapperType", channel.record_wrapper}};
    if (!channel.content_type.empty()) item["ContentType"] = channel.content_type;
    config[channel.name] = std::move(item);
  }
  return config;
}

Json user_hyperparameters(const TrainingJob& job) {
  Json all = Json::object();
  for (const auto& [name, value] : job.hyperparameters)
    if (!is_reserved(name)) all[name] = decoded(value);
  return all;
}

/// An argument's value as the toolkit writes it: strings bare, all else as Python prints it.
std::string argument_value(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_null()) return "None";
  return text_of(value);
}

std::vector<std::string> script_arguments(const TrainingJob& job) {
  std::vector<std::string> arguments;
  const Json parameters = user_hyperparameters(job);
  for (const auto& [name, value] : parameters.items()) {
    arguments.push_back((name.size() == 1 ? "-" : "--") + name);
    arguments.push_back(argument_value(value));
  }
  return arguments;
}

std::string home_of(uint32_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr)
    return found->pw_dir;
  return "/opt/ml/code";
}

Environment platform_environment(const TrainingJob& job, const Surroundings& around) {
  Environment environment = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"HOME", home_of(job.owner.uid)},
      {"LANG", "C.UTF-8"},
      {"TRAINING_JOB_NAME", job.name},
      {"TRAINING_JOB_ARN", fmt::format("arn:aws:sagemaker:{}:{}:training-job/{}", around.region,
                                       around.account, job.name)},
      {"AWS_REGION", around.region},
      {"AWS_DEFAULT_REGION", around.region},
      {"AWS_ACCESS_KEY_ID", around.access_key},
      {"AWS_SECRET_ACCESS_KEY", around.secret_key},
  };
  if (!around.endpoint_url.empty())
    for (const char* name : {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL"})
      environment[name] = around.endpoint_url;
  return environment;
}

/// The variables of the toolkit (table of its README: "environment variables").
void add_toolkit_variables(const TrainingJob& job, const Script& script,
                           const std::vector<std::string>& arguments, Environment& out) {
  const Json parameters = user_hyperparameters(job), resources = resource_config(job);
  Json channels = Json::array(), channel_directories = Json::object();
  for (const registry::Channel& channel : job.channels) {
    const std::string directory = "/opt/ml/input/data/" + channel.name;
    channels.push_back(channel.name);
    channel_directories[channel.name] = directory;
    out["SM_CHANNEL_" + upper(channel.name)] = directory;
  }
  std::sort(channels.begin(), channels.end());
  for (const auto& [name, value] : parameters.items())
    out["SM_HP_" + upper(name)] = value.is_string() ? value.get<std::string>() : text_of(value);
  const std::string module = script.program.substr(0, script.program.rfind('.'));
  const auto level = job.hyperparameters.find("sagemaker_container_log_level");
  const std::string cpus = std::to_string(std::max(1u, std::thread::hardware_concurrency()));
  const Environment fixed = {
      {"SM_MODEL_DIR", "/opt/ml/model"},
      {"SM_INPUT_DIR", "/opt/ml/input"},
      {"SM_INPUT_CONFIG_DIR", "/opt/ml/input/config"},
      {"SM_OUTPUT_DIR", "/opt/ml/output"},
      {"SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"},
      {"SM_OUTPUT_INTERMEDIATE_DIR", "/opt/ml/output/intermediate"},
      {"SM_CHANNELS", text_of(channels)},
      {"SM_HPS", text_of(parameters)},
      {"SM_HOSTS", text_of(resources["hosts"])},
      {"SM_CURRENT_HOST", kHost},
      {"SM_NETWORK_INTERFACE_NAME", "lo"},
      {"SM_CURRENT_INSTANCE_TYPE", job.instance_type},
      {"SM_CURRENT_INSTANCE_GROUP", "homogeneousCluster"},
      {"SM_CURRENT_INSTANCE_GROUP_HOSTS", text_of(resources["hosts"])},
      {"SM_INSTANCE_GROUPS", R"(["homogeneousCluster"])"},
      {"SM_NUM_GPUS", std::to_string(gpus())},
      {"SM_NUM_CPUS", cpus},
      {"SM_NUM_NEURONS", "0"},
      {"SM_LOG_LEVEL", level == job.hyperparameters.end() ? "20" : plain_value(level->second)},
      {"SM_RESOURCE_CONFIG", text_of(resources)},
      {"SM_INPUT_DATA_CONFIG", text_of(input_config(job))},
      {"SM_USER_ARGS", text_of(Json(arguments))},
      {"SM_USER_ENTRY_POINT", script.program},
      {"SM_MODULE_NAME", module},
      {"SM_MODULE_DIR", script.archive_uri.empty() ? "/opt/ml/code" : script.archive_uri},
      {"SM_FRAMEWORK_MODULE", ""},
      {"SM_FRAMEWORK_PARAMS", "{}"},
      {"PYTHONPATH", "/opt/ml/code"},
      {"PYTHONUNBUFFERED", "1"},
  };
  for (const auto& [name, value] : fixed) out[name] = value;
  const Json training = {{"channel_input_dirs", channel_directories},
                         {"current_host", kHost},
                         {"current_instance_type", job.instance_type},
                         {"hosts", {kHost}},
                         {"hyperparameters", parameters},
                         {"input_config_dir", "/opt/ml/input/config"},
                         {"input_data_config", input_config(job)},
                         {"input_dir", "/opt/ml/input"},
                         {"is_master", true},
                         {"job_name", job.name},
                         {"log_level", out["SM_LOG_LEVEL"]},
                         {"master_hostname", kHost},
                         {"model_dir", "/opt/ml/model"},
                         {"module_dir", out["SM_MODULE_DIR"]},
                         {"module_name", module},
                         {"network_interface_name", "lo"},
                         {"num_cpus", std::stoi(cpus)},
                         {"num_gpus", gpus()},
                         {"output_data_dir", "/opt/ml/output/data"},
                         {"output_dir", "/opt/ml/output"},
                         {"resource_config", resources},
                         {"user_entry_point", script.program}};
  out["SM_TRAINING_ENV"] = text_of(training);
}

}  // namespace

std::string plain_value(const std::string& value) {
  const Json json = decoded(value);
  return json.is_string() ? json.get<std::string>() : value;
}

Result<Script> script_of(const TrainingJob& job) {
  const auto program = job.hyperparameters.find("sagemaker_program");
  if (program == job.hyperparameters.end())
    return Status(Code::kInvalidArgument,
                  "the job names no program: give the hyper-parameter sagemaker_program (as the "
                  "SDK's entry_point does) or AlgorithmSpecification.ContainerEntrypoint");
  Script script{plain_value(program->second), ""};
  if (const auto archive = job.hyperparameters.find("sagemaker_submit_directory");
      archive != job.hyperparameters.end())
    script.archive_uri = plain_value(archive->second);
  if (script.program.empty() || script.program.starts_with('/') ||
      script.program.find("..") != std::string::npos)
    return Status(
        Code::kInvalidArgument,
        fmt::format("sagemaker_program '{}' is no file of the source directory", script.program));
  return script;
}

bool is_script_job(const TrainingJob& job, const registry::ImageProfile& profile) {
  return profile.kind == registry::ProfileKind::kPython && job.entrypoint.empty();
}

Result<Program> plan_program(const TrainingJob& job, const registry::ImageProfile& profile,
                             const Surroundings& surroundings) {
  Program program;
  Environment environment = platform_environment(job, surroundings);
  if (is_script_job(job, profile)) {
    TARN_ASSIGN(const Script script, script_of(job));
    const std::vector<std::string> arguments = script_arguments(job);
    add_toolkit_variables(job, script, arguments, environment);
    const bool is_shell = script.program.ends_with(".sh");
    program.argv = {is_shell ? "/bin/sh" : profile.path, "/opt/ml/code/" + script.program};
    program.argv.insert(program.argv.end(), arguments.begin(), arguments.end());
  } else if (!job.entrypoint.empty()) {
    program.argv = job.entrypoint;
    program.argv.insert(program.argv.end(), job.arguments.begin(), job.arguments.end());
  } else {
    program.argv = {profile.path, "train"};
    if (!job.arguments.empty()) {
      program.argv.resize(1);
      program.argv.insert(program.argv.end(), job.arguments.begin(), job.arguments.end());
    }
  }
  if (!program.argv[0].starts_with('/'))
    return Status(
        Code::kInvalidArgument,
        fmt::format("'{}' is no absolute path of a program on this machine", program.argv[0]));
  program.working_directory = "/opt/ml/code";
  for (const auto& [name, value] : job.environment) environment[name] = value;
  for (const auto& [name, value] : environment) program.environment.push_back(name + "=" + value);
  return program;
}

Status write_config(const TrainingJob& job, const std::string& directory) {
  const std::map<std::string, Json> files = {
      {"hyperparameters.json", Json(job.hyperparameters)},
      {"inputdataconfig.json", input_config(job)},
      {"resourceconfig.json", resource_config(job)},
      {"checkpointconfig.json",
       job.checkpoint_uri.empty()
           ? Json::object()
           : Json{{"S3Uri", job.checkpoint_uri}, {"LocalPath", job.checkpoint_path}}},
      {"trainingjobconfig.json", Json::parse(job.request, nullptr, false)}};
  for (const auto& [name, json] : files) {
    const std::string text = json.is_discarded() ? "{}" : text_of(json);
    TARN_ASSIGN(const UniqueFd file,
                open_at(AT_FDCWD, directory + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    TARN_TRY(write_all(file.get(), as_bytes(text)).with_context(name));
  }
  return {};
}

}  // namespace tarn::job
