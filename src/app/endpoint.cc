#include "app/endpoint.h"

#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "app/control_client.h"
#include "app/credentials.h"
#include "base/file.h"

namespace tarn::app {
namespace {

constexpr size_t kFileBytesMax = 4096;
// Any region would do; one that SageMaker's tables of images know saves users a setting.
constexpr const char* kRegion = "us-west-2";

// What the SageMaker SDK (2.x) reads from SAGEMAKER_USER_CONFIG_OVERRIDE, schema 1.0. A role in
// full needs no IAM, a default bucket no STS, and without telemetry no host outside is asked.
constexpr const char* kSageMakerConfig =
    "# Written by `tarn env`: settings of the SageMaker Python SDK for this Tarn.\n"
    "SchemaVersion: '1.0'\n"
    "SageMaker:\n"
    "  PythonSDK:\n"
    "    Modules:\n"
    "      TelemetryOptOut: true\n"
    "      Session:\n"
    "        DefaultS3Bucket: 'sagemaker'\n"
    "  TrainingJob:\n"
    "    RoleArn: '{0}'\n"
    "  ProcessingJob:\n"
    "    RoleArn: '{0}'\n"
    "  Model:\n"
    "    ExecutionRoleArn: '{0}'\n"
    "  Pipeline:\n"
    "    RoleArn: '{0}'\n"
    "  CompilationJob:\n"
    "    RoleArn: '{0}'\n"
    "  AutoMLJob:\n"
    "    RoleArn: '{0}'\n"
    "  FeatureGroup:\n"
    "    RoleArn: '{0}'\n";
constexpr const char* kRoleArn = "arn:aws:iam::000000000000:role/tarn";

std::string endpoint_path(const std::string& root) {
  return root + "/endpoint";
}

}  // namespace

Status write_endpoint(const std::string& root, const std::string& url) {
  return replace_file(endpoint_path(root), url + "\n", 0644);
}

void remove_endpoint(const std::string& root) {
  ::unlink(endpoint_path(root).c_str());
}

Result<ClientEnvironment> client_environment(const std::string& root, const std::string& key) {
  TARN_ASSIGN(const auto keys, read_credentials(root));
  const auto chosen = key.empty() ? keys.begin() : std::ranges::find(keys, key, &AccessKey::name);
  if (chosen == keys.end()) {
    return Status(Code::kNotFound, fmt::format("no key '{}' in {}/credentials", key, root));
  }
  // A program that was killed leaves the file behind, so it is asked whether it is there.
  TARN_TRY(ControlClient::connect(root));
  auto url = read_file(endpoint_path(root), kFileBytesMax);
  if (!url.is_ok()) {
    return Status(Code::kUnavailable,
                  fmt::format("the Tarn in {} does not listen: start it with --listen "
                              "127.0.0.1:8333, or set http.listen in {}/tarn.toml",
                              root, root));
  }
  if (url->ends_with('\n')) url->pop_back();
  const std::string config = root + "/sagemaker.yaml";
  std::string text = kSageMakerConfig;
  for (size_t at; (at = text.find("{0}")) != std::string::npos;) text.replace(at, 3, kRoleArn);
  if (const auto old = read_file(config, 2 * kFileBytesMax); !old.is_ok() || *old != text) {
    TARN_TRY(replace_file(config, text, 0600));
  }
  ClientEnvironment environment = {{"AWS_PROFILE", std::nullopt},
                                   {"AWS_SESSION_TOKEN", std::nullopt},
                                   {"AWS_ENDPOINT_URL", *url},
                                   {"AWS_ACCESS_KEY_ID", chosen->id},
                                   {"AWS_SECRET_ACCESS_KEY", chosen->secret},
                                   {"AWS_DEFAULT_REGION", kRegion},
                                   {"AWS_REGION", kRegion},
                                   {"AWS_EC2_METADATA_DISABLED", "true"},
                                   {"SAGEMAKER_USER_CONFIG_OVERRIDE", config},
                                   {"TARN_ROOT", root},
                                   // A remote of rclone's, so that `rclone ls tarn:` works.
                                   {"RCLONE_CONFIG_TARN_TYPE", "s3"},
                                   {"RCLONE_CONFIG_TARN_PROVIDER", "Other"},
                                   {"RCLONE_CONFIG_TARN_ENV_AUTH", "true"},
                                   {"RCLONE_CONFIG_TARN_ENDPOINT", *url}};
  if (url->starts_with("https:")) environment.emplace_back("AWS_CA_BUNDLE", root + "/tls/cert.pem");
  return environment;
}

}  // namespace tarn::app
