#include "app/serve.h"

#include <sys/stat.h>

#include <cstdio>
#include <fstream>

#include <fmt/format.h>

#include "app/control_protocol.h"
#include "app/keeper.h"
#include "app/worker.h"
#include "base/limits.h"
#include "base/log.h"
#include "mount/session.h"

namespace tarn::app {
namespace {

// One older log beside the current one: at most twice this much of the disk.
constexpr off_t kLogBytesMax = static_cast<off_t>(64 * limits::kMiB);

LogLevel log_level(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "warn") return LogLevel::kWarn;
  return name == "error" ? LogLevel::kError : LogLevel::kInfo;
}

/// When memory runs out the kernel shall end the worker, which can be started again, and not the
/// keeper, which is the mount. Lowering the score needs root; without it the chances stay even.
void prefer_to_lose(const char* score) {
  std::ofstream("/proc/self/oom_score_adj") << score;
}

KeeperOptions keeper_options(const std::string& root, const Settings& settings) {
  KeeperOptions options;
  if (!settings.mount_directory.empty()) {
    mount::MountOptions mount;
    mount.directory = settings.mount_directory;
    mount.source = root;
    mount.allow_other = settings.allow_other;
    options.mount = mount;
  }
  options.init.has_passthrough = settings.passthrough;
  options.queues = settings.mount_threads != 0 ? settings.mount_threads : mount::default_queues();
  options.worker_arguments = {"worker", root, encode_settings(settings)};
  return options;
}

}  // namespace

int serve(const std::string& root, const Settings& settings) {
  prefer_to_lose("-500");
  return run_keeper(keeper_options(root, settings));
}

Status serve_as_worker(const std::string& root, const std::string& encoded_settings,
                       const std::string& inheritance) {
  prefer_to_lose("0");
  WorkerOptions options;
  options.root = root;
  TARN_ASSIGN(options.settings, decode_settings(encoded_settings));
  TARN_ASSIGN(options.inheritance, WorkerInheritance::adopt(inheritance));
  TARN_TRY(start_log(root, options.settings, false));
  return run_worker(std::move(options));
}

std::string encode_settings(const Settings& settings) {
  const Settings built_in;
  Json json = Json::object();
  for (const Setting& setting : setting_table()) {
    const std::string value = setting_value(setting, settings);
    if (value != setting_value(setting, built_in)) json[std::string(setting.key)] = to_wire(value);
  }
  return to_line(json);
}

Result<Settings> decode_settings(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object())
    return Status(Code::kInvalidArgument, fmt::format("'{}' is no set of settings", text));
  SettingOverrides overrides;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string())
      return Status(Code::kInvalidArgument, fmt::format("'{}' is no set of settings", text));
    TARN_ASSIGN(overrides.flags[key], from_wire(value.get<std::string>()));
  }
  TARN_ASSIGN(LoadedSettings loaded, parse_settings("", "", overrides));
  return std::move(loaded.values);
}

Status start_log(const std::string& root, const Settings& settings, bool may_move) {
  log_set_level(log_level(settings.log_level));
  if (!settings.log_to_file) return {};
  const std::string path = root + "/log/tarn.log";
  struct stat info{};
  if (may_move && stat(path.c_str(), &info) == 0 && info.st_size > kLogBytesMax &&
      rename(path.c_str(), (path + ".1").c_str()) != 0)
    return last_errno(fmt::format("rename '{}'", path));
  return log_to_file(path);
}

}  // namespace tarn::app
