#include "app/doctor.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "app/config.h"
#include "app/control_client.h"
#include "app/credentials.h"
#include "app/machine.h"
#include "app/root_setup.h"
#include "base/file.h"
#include "base/limits.h"
#include "mount/mount_point.h"

namespace tarn::app {
namespace {

// Blobs in use, RocksDB's tables and cloned descriptors: below this, opens start to fail under
// load.
constexpr uint64_t kOpenFilesWanted = 16'384;

bool is_root() {
  return geteuid() == 0;
}

Check check_device() {
  Check check{.name = "/dev/fuse", .detail = "can be opened"};
  if (access("/dev/fuse", F_OK) != 0) {
    check.finding = Finding::kMissing;
    check.detail = "is not there: no mount; S3 and jobs work, channels are copied";
    check.mend = is_root() ? "modprobe fuse || mknod -m 666 /dev/fuse c 10 229"
                           : "as root: modprobe fuse || mknod -m 666 /dev/fuse c 10 229";
  } else if (access("/dev/fuse", R_OK | W_OK) != 0) {
    check.finding = Finding::kMissing;
    check.detail =
        "may not be opened by this user: no mount; S3 and jobs work, channels are copied";
    check.mend = "as root: chmod 666 /dev/fuse";
  }
  return check;
}

Check check_fusermount() {
  Check check{.name = "fusermount3"};
  const std::string path = find_program("fusermount3");
  if (!path.empty()) {
    struct stat info{};
    const bool is_set_uid = stat(path.c_str(), &info) == 0 && (info.st_mode & S_ISUID) != 0;
    check.detail = path;
    if (!is_set_uid && !is_root()) {
      check.finding = Finding::kMissing;
      check.detail += " is not set-uid root: no mount for this user";
      check.mend = fmt::format("as root: chmod u+s {}", path);
    }
    return check;
  }
  check.finding = is_root() ? Finding::kGood : Finding::kMissing;
  check.detail = is_root() ? "is not installed; root does not need it"
                           : "is not installed: no mount for an ordinary user";
  if (!is_root()) check.mend = "as root: apt-get install fuse3";
  return check;
}

Check check_allow_other() {
  Check check{.name = "user_allow_other"};
  if (is_root()) {
    check.detail = "not needed by root";
    return check;
  }
  const bool is_set = mount::may_share_mounts();
  check.detail = is_set ? "is set in /etc/fuse.conf"
                        : "is not set in /etc/fuse.conf: only this user can reach the mount";
  if (!is_set) {
    check.finding = Finding::kSlower;
    check.mend = "as root: echo user_allow_other >> /etc/fuse.conf";
  }
  return check;
}

Check check_passthrough() {
  Check check{.name = "passthrough"};
  const auto version = kernel_version();
  check.detail = fmt::format("Linux {}", kernel_release());
  if (version < std::pair{6, 9}) {
    check.finding = Finding::kSlower;
    check.detail += " has none: files are served at FUSE's speed";
    check.mend = "boot Linux 6.9 or later, built with CONFIG_FUSE_PASSTHROUGH";
  } else if (!may_administer()) {
    check.finding = Finding::kSlower;
    check.detail += " allows it to root only: files are served at FUSE's speed";
    check.mend = "run tarn serve as root";
  } else {
    check.detail += ", and this user may use it";
  }
  return check;
}

Check check_uring() {
  Check check{.name = "FUSE over io_uring"};
  const auto text = read_file("/sys/module/fuse/parameters/enable_uring", 16);
  check.detail = !text.is_ok()                   ? "the kernel has none; not used by this version"
                 : text.value().starts_with('Y') ? "switched on; not used by this version"
                                                 : "switched off; not used by this version";
  return check;
}

Check check_open_files() {
  Check check{.name = "open files"};
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  check.detail = fmt::format("hard limit {}", limit.rlim_max);
  if (limit.rlim_max < kOpenFilesWanted) {
    check.finding = Finding::kSlower;
    check.detail += fmt::format(": below {} many open files can fail", kOpenFilesWanted);
    check.mend = fmt::format("ulimit -Hn {} (as root, before tarn serve)", kOpenFilesWanted);
  }
  return check;
}

Check check_program(const char* program, const char* use, const char* package) {
  Check check{.name = program};
  const std::string path = find_program(program);
  check.detail = path;
  if (path.empty()) {
    check.finding = Finding::kSlower;
    check.detail = fmt::format("is not installed: {}", use);
    check.mend = fmt::format("{}apt-get install {}", is_root() ? "" : "as root: ", package);
  }
  return check;
}

Check check_docker() {
  const std::string path = find_program("docker");
  return {.name = "docker",
          .detail = (path.empty() ? "is not installed" : path) +
                    "; not used by this version, jobs run as processes"};
}

Check check_disk(const std::string& root) {
  Check check{.name = "disk"};
  const auto use = disk_use(root);
  if (!use.is_ok()) {
    check.finding = Finding::kMissing;
    check.detail = std::string(use.status().message());
    return check;
  }
  check.detail =
      fmt::format("{} free of {}", human_bytes(use->bytes_free), human_bytes(use->bytes_total));
  struct stat ballast{};
  const uint64_t kept_back = stat((root + "/ballast").c_str(), &ballast) == 0
                                 ? static_cast<uint64_t>(ballast.st_size)
                                 : limits::kBallastBytesMin;
  std::string warning = nearly_full_warning(*use, 2 * kept_back);
  if (warning.empty() && use->bytes_free < 2 * kept_back) warning = "full: new files are refused";
  if (!warning.empty()) {
    check.finding = Finding::kSlower;
    check.detail += ", " + warning;
    check.mend = "free space on that disk, or move ROOT to another";
  }
  return check;
}

Check check_settings(const std::string& root) {
  Check check{.name = "tarn.toml", .detail = "is right"};
  const auto loaded = load_settings(root, {.flags = {}, .environment = process_environment()});
  if (!loaded.is_ok()) {
    check.finding = Finding::kMissing;
    check.detail = std::string(loaded.status().message());
    check.mend = fmt::format("mend that line, then: tarn config check {}", root);
  }
  return check;
}

Check check_keys(const std::string& root) {
  Check check{.name = "credentials"};
  const auto keys = read_credentials(root);
  if (keys.is_ok()) {
    check.detail = fmt::format("{} keys", keys->size());
    return check;
  }
  check.finding = Finding::kMissing;
  check.detail = std::string(keys.status().message());
  check.mend = keys.is(Code::kNotFound) ? fmt::format("tarn serve {} makes a new key", root)
                                        : fmt::format("chmod 600 {}/credentials", root);
  return check;
}

Check check_running(const std::string& root) {
  Check check{.name = "program"};
  auto client = ControlClient::connect(root);
  const auto status =
      client.is_ok() ? client->call("status", Json::object()) : Result<Json>(client.status());
  if (status.is_ok()) {
    const std::string health = status->value("health", Json::object()).value("state", "");
    check.detail = fmt::format(
        "runs as pid {}, health {}",
        status->value("processes", Json::object()).value("worker_pid", uint64_t{0}), health);
    if (health != "good") {
      check.finding = Finding::kMissing;
      check.mend = fmt::format("tarn status {} tells what is damaged", root);
    }
  } else {
    check.detail = std::string(status.status().message());
    if (!status.is(Code::kUnavailable)) check.finding = Finding::kMissing;
  }
  return check;
}

void examine_root(const std::string& root, std::vector<Check>& checks) {
  Check check{.name = "root"};
  const auto state = inspect_root(root);
  if (!state.is_ok()) {
    check.finding = Finding::kMissing;
    check.detail = std::string(state.status().message());
  } else if (state.value() == RootState::kTarn) {
    check.detail = root;
  } else if (state.value() == RootState::kForeign) {
    check.finding = Finding::kMissing;
    check.detail = fmt::format("'{}' holds files that are not a Tarn's", root);
    check.mend = "choose a folder that is missing or empty";
  } else {
    check.detail = fmt::format("'{}' is not made yet", root);
    check.mend = fmt::format("tarn init {}", root);
  }
  const bool is_tarn = state.is_ok() && state.value() == RootState::kTarn;
  checks.push_back(std::move(check));
  if (!is_tarn) return;
  checks.push_back(check_disk(root));
  checks.push_back(check_settings(root));
  checks.push_back(check_keys(root));
  checks.push_back(check_running(root));
}

}  // namespace

std::string_view finding_name(Finding finding) {
  switch (finding) {
    case Finding::kGood:
      return "good";
    case Finding::kSlower:
      return "less";
    case Finding::kMissing:
      return "missing";
  }
  return "missing";
}

std::vector<Check> examine_machine(const std::optional<std::string>& root) {
  std::vector<Check> checks = {check_device(),
                               check_fusermount(),
                               check_allow_other(),
                               check_passthrough(),
                               check_uring(),
                               check_open_files(),
                               check_program("python3", "jobs in Python need it", "python3"),
                               check_docker()};
  if (root.has_value()) examine_root(*root, checks);
  return checks;
}

}  // namespace tarn::app
