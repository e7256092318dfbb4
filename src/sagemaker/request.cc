#include "sagemaker/request.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "job/s3_uri.h"

namespace tarn::sagemaker {
namespace {

using registry::Channel;
using registry::ChannelKind;
using registry::InputMode;
using registry::TrainingJob;

// The API's own limits.
constexpr size_t kNameBytesMax = 63, kChannelsMax = 20, kParametersMax = 100;
constexpr uint64_t kRuntimeSecondsMax = 2'419'200;

std::unexpected<http::Fault> invalid(const std::string& message) {
  return fault("ValidationException", message);
}

std::unexpected<http::Fault> invalid_value(const std::string& value, const std::string& member,
                                           const std::string& rule) {
  return invalid(fmt::format(
      "1 validation error detected: Value '{}' at '{}' failed to satisfy constraint: {}", value,
      member, rule));
}

const Json& member(const Json& object, const char* name) {
  static const Json none;
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() ? *found : none;
}

std::string text(const Json& object, const char* name, const std::string& otherwise = "") {
  const Json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : otherwise;
}

uint64_t number(const Json& object, const char* name, uint64_t otherwise) {
  const Json& value = member(object, name);
  if (!value.is_number_integer()) return otherwise;
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  return static_cast<uint64_t>(std::max<int64_t>(0, value.get<int64_t>()));
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}
bool is_job_name(const std::string& name) {
  return !name.empty() && name.size() <= kNameBytesMax && is_name_character(name.front()) &&
         is_name_character(name.back()) && std::all_of(name.begin(), name.end(), [](char c) {
           return is_name_character(c) || c == '-';
         });
}

bool is_channel_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return is_name_character(c) || c == '-' || c == '_' || c == '.';
         });
}

http::Outcome<std::map<std::string, std::string>> read_map(const Json& request, const char* name) {
  std::map<std::string, std::string> map;
  const Json& object = member(request, name);
  if (object.is_null()) return map;
  if (!object.is_object()) return invalid(fmt::format("{} is no map", name));
  if (object.size() > kParametersMax)
    return invalid_value(std::to_string(object.size()) + " entries", name,
                         fmt::format("Map must have at most {} entries", kParametersMax));
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) return invalid(fmt::format("the value of {}.{} is no text", name, key));
    map[key] = value.get<std::string>();
  }
  return map;
}

std::vector<std::string> read_list(const Json& object, const char* name) {
  std::vector<std::string> list;
  if (const Json& items = member(object, name); items.is_array())
    for (const Json& item : items)
      if (item.is_string()) list.push_back(item.get<std::string>());
  return list;
}

http::Outcome<Channel> read_s3_source(const Json& source, Channel channel, const std::string& where,
                                      const std::string& mount_directory) {
  const auto uri = required_text(source, "S3Uri", where);
  if (!uri) return std::unexpected(uri.error());
  const std::string type = text(source, "S3DataType", "S3Prefix");
  if (type != "S3Prefix")
    return invalid(
        fmt::format("channel '{}': S3DataType {} is not there yet in Tarn; it has "
                    "S3Prefix",
                    channel.name, type));
  channel.distribution = text(source, "S3DataDistributionType", "FullyReplicated");
  if (channel.distribution != "FullyReplicated" && channel.distribution != "ShardedByS3Key")
    return invalid_value(channel.distribution, where + ".s3DataDistributionType",
                         "Member must satisfy enum value set: [ShardedByS3Key, FullyReplicated]");
  channel.uri = *uri;
  const std::string file_prefix = "file://" + mount_directory + "/";
  if (uri->starts_with("file://")) {
    if (mount_directory.empty() || !uri->starts_with(file_prefix))
      return invalid(fmt::format("channel '{}': {} is not under Tarn's mount{}{}", channel.name,
                                 *uri, mount_directory.empty() ? "" : " ", mount_directory));
    channel.kind = ChannelKind::kFileSystemReadOnly;
    channel.prefix = uri->substr(file_prefix.size() - 1);
    return channel;
  }
  const auto parts = job::parse_s3_uri(*uri);
  if (!parts.is_ok())
    return invalid_value(*uri, where + ".s3Uri",
                         "Member must satisfy regular expression pattern: "
                         "(https|s3)://([^/]+)/?(.*)");
  channel.bucket = parts->bucket;
  channel.prefix = parts->key;
  return channel;
}

http::Outcome<Channel> read_file_system_source(const Json& source, Channel channel,
                                               const std::string& where) {
  const auto path = required_text(source, "DirectoryPath", where);
  if (!path) return std::unexpected(path.error());
  const std::string mode = text(source, "FileSystemAccessMode", "ro");
  if (mode != "ro" && mode != "rw")
    return invalid_value(mode, where + ".fileSystemAccessMode",
                         "Member must satisfy enum value set: [rw, ro]");
  if (!path->starts_with('/'))
    return invalid_value(*path, where + ".directoryPath", "begins with /");
  channel.kind =
      mode == "rw" ? ChannelKind::kFileSystemReadWrite : ChannelKind::kFileSystemReadOnly;
  channel.prefix = channel.uri = *path;
  return channel;
}

http::Outcome<Channel> read_channel(const Json& input, const std::string& default_mode,
                                    const std::string& mount_directory) {
  const auto name = required_text(input, "ChannelName", "inputDataConfig");
  if (!name) return std::unexpected(name.error());
  if (!is_channel_name(*name))
    return invalid_value(*name, "inputDataConfig.channelName",
                         "Member must satisfy regular expression pattern: [A-Za-z0-9\\.\\-_]+ and "
                         "be neither . nor ..");
  Channel channel;
  channel.name = *name;
  channel.content_type = text(input, "ContentType");
  channel.record_wrapper = text(input, "RecordWrapperType", "None");
  const std::string mode = text(input, "InputMode", default_mode);
  if (mode == "Pipe")
    return invalid(
        fmt::format("channel '{}': input mode Pipe is not there yet in Tarn; it has File "
                    "and FastFile, which read in place",
                    *name));
  if (mode != "File" && mode != "FastFile")
    return invalid_value(mode, "inputDataConfig.inputMode",
                         "Member must satisfy enum value set: [Pipe, File, FastFile]");
  channel.mode = mode == "File" ? InputMode::kFile : InputMode::kFastFile;
  const Json& source = member(input, "DataSource");
  if (const Json& s3 = member(source, "S3DataSource"); s3.is_object())
    return read_s3_source(s3, channel, "inputDataConfig.dataSource.s3DataSource", mount_directory);
  if (const Json& files = member(source, "FileSystemDataSource"); files.is_object())
    return read_file_system_source(files, channel,
                                   "inputDataConfig.dataSource.fileSystemDataSource");
  return invalid(
      fmt::format("channel '{}' has no DataSource.S3DataSource or "
                  "FileSystemDataSource",
                  *name));
}

std::optional<http::Fault> read_channels(const Json& request, const std::string& default_mode,
                                         const std::string& mount_directory, TrainingJob& job) {
  const Json& inputs = member(request, "InputDataConfig");
  if (inputs.is_null()) return std::nullopt;
  if (!inputs.is_array() || inputs.size() > kChannelsMax)
    return invalid(fmt::format("InputDataConfig holds at most {} channels", kChannelsMax)).error();
  std::set<std::string> names;
  for (const Json& input : inputs) {
    auto channel = read_channel(input, default_mode, mount_directory);
    if (!channel) return channel.error();
    if (!names.insert(channel->name).second)
      return invalid(fmt::format("two channels are named '{}'", channel->name)).error();
    job.channels.push_back(std::move(*channel));
  }
  return std::nullopt;
}

std::optional<http::Fault> read_algorithm(const Json& algorithm, TrainingJob& job) {
  job.image = text(algorithm, "TrainingImage");
  if (job.image.empty()) {
    if (!text(algorithm, "AlgorithmName").empty())
      return invalid(
                 "AlgorithmSpecification.AlgorithmName is not there yet in Tarn; name a "
                 "TrainingImage")
          .error();
    return invalid("AlgorithmSpecification.TrainingImage is required").error();
  }
  if (job.image.size() > 255)
    return invalid_value(job.image, "algorithmSpecification.trainingImage",
                         "Member must have length less than or equal to 255")
        .error();
  job.entrypoint = read_list(algorithm, "ContainerEntrypoint");
  job.arguments = read_list(algorithm, "ContainerArguments");
  return std::nullopt;
}

std::optional<http::Fault> read_output(const Json& request, TrainingJob& job) {
  const Json& output = member(request, "OutputDataConfig");
  const auto uri = required_text(output, "S3OutputPath", "outputDataConfig");
  if (!uri) return uri.error();
  if (!job::parse_s3_uri(*uri).is_ok())
    return invalid_value(*uri, "outputDataConfig.s3OutputPath",
                         "Member must satisfy regular expression pattern: "
                         "(https|s3)://([^/]+)/?(.*)")
        .error();
  job.output_uri = *uri;
  while (job.output_uri.ends_with('/')) job.output_uri.pop_back();
  job.is_output_compressed = text(output, "CompressionType", "GZIP") != "NONE";
  return std::nullopt;
}

std::optional<http::Fault> read_resources(const Json& request, TrainingJob& job) {
  const Json& resources = member(request, "ResourceConfig");
  job.instance_type = text(resources, "InstanceType", "ml.m5.large");
  const uint64_t count = number(resources, "InstanceCount", 1);
  if (count != 1)
    return invalid(fmt::format("ResourceConfig.InstanceCount is {}; Tarn runs a job on one host, "
                               "this machine",
                               count))
        .error();
  const Json& stopping = member(request, "StoppingCondition");
  job.runtime_seconds_max = number(stopping, "MaxRuntimeInSeconds", 86'400);
  if (job.runtime_seconds_max < 1 || job.runtime_seconds_max > kRuntimeSecondsMax)
    return invalid_value(std::to_string(job.runtime_seconds_max),
                         "stoppingCondition.maxRuntimeInSeconds",
                         fmt::format("Member must be between 1 and {}", kRuntimeSecondsMax))
        .error();
  const Json& checkpoints = member(request, "CheckpointConfig");
  if (!checkpoints.is_object()) return std::nullopt;
  job.checkpoint_uri = text(checkpoints, "S3Uri");
  job.checkpoint_path = text(checkpoints, "LocalPath", "/opt/ml/checkpoints");
  if (!job::parse_s3_uri(job.checkpoint_uri).is_ok())
    return invalid_value(job.checkpoint_uri, "checkpointConfig.s3Uri", "is no s3://bucket/key")
        .error();
  if (!job.checkpoint_path.starts_with("/opt/ml/") ||
      job.checkpoint_path.find("..") != std::string::npos)
    return invalid_value(job.checkpoint_path, "checkpointConfig.localPath",
                         "lies below /opt/ml in Tarn")
        .error();
  return std::nullopt;
}

}  // namespace

http::Outcome<std::string> required_text(const Json& object, const char* name,
                                         const std::string& where) {
  const std::string full = where.empty() ? name : where + "." + name;
  const Json& value = member(object, name);
  if (value.is_null()) return invalid_value("null", full, "Member must not be null");
  if (!value.is_string()) return invalid(fmt::format("{} is no text", full));
  return value.get<std::string>();
}

http::Outcome<TrainingJob> read_training_job(const Json& request, const http::Identity& caller,
                                             const std::string& mount_directory) {
  TrainingJob job;
  const auto name = required_text(request, "TrainingJobName");
  if (!name) return std::unexpected(name.error());
  if (!is_job_name(*name))
    return invalid_value(*name, "trainingJobName",
                         "Member must satisfy regular expression pattern: "
                         "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}");
  job.name = *name;
  if (const auto role = required_text(request, "RoleArn"); !role)
    return std::unexpected(role.error());
  const Json& algorithm = member(request, "AlgorithmSpecification");
  if (!algorithm.is_object())
    return invalid_value("null", "algorithmSpecification", "Member must not be null");
  if (auto wrong = read_algorithm(algorithm, job)) return std::unexpected(*wrong);
  const std::string mode = text(algorithm, "TrainingInputMode", "File");
  if (auto wrong = read_channels(request, mode, mount_directory, job))
    return std::unexpected(*wrong);
  if (auto wrong = read_output(request, job)) return std::unexpected(*wrong);
  if (auto wrong = read_resources(request, job)) return std::unexpected(*wrong);
  auto parameters = read_map(request, "HyperParameters");
  if (!parameters) return std::unexpected(parameters.error());
  auto environment = read_map(request, "Environment");
  if (!environment) return std::unexpected(environment.error());
  job.hyperparameters = std::move(*parameters);
  job.environment = std::move(*environment);
  if (const Json& tags = member(request, "Tags"); tags.is_array())
    for (const Json& tag : tags) job.tags.emplace_back(text(tag, "Key"), text(tag, "Value"));
  job.owner = {caller.access_key, caller.uid, caller.gid, caller.groups, caller.umask};
  job.request = request.dump(-1, ' ', false, Json::error_handler_t::replace);
  return job;
}

}  // namespace tarn::sagemaker
