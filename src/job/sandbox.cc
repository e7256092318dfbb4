#include "job/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>

#include <fmt/format.h>

#include "base/file.h"

namespace tarn::job {
namespace {

constexpr const char* kMlDirectory = "/opt/ml";

std::string fd_path(const UniqueFd& fd) {
  return fmt::format("/proc/self/fd/{}", fd.get());
}

Status write_proc(const char* path, const std::string& text) {
  TARN_ASSIGN(const UniqueFd file, open_at(AT_FDCWD, path, O_WRONLY));
  return write_all(file.get(), as_bytes(text)).with_context(path);
}

/// A user namespace in which this process is `uid`:`gid` as before, and may mount.
Status enter_user_namespace() {
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  if (unshare(CLONE_NEWUSER) != 0)
    return last_errno("make a user namespace for the job (is user.max_user_namespaces 0?)");
  TARN_TRY(write_proc("/proc/self/uid_map", fmt::format("{} {} 1", uid, uid)));
  TARN_TRY(write_proc("/proc/self/setgroups", "deny"));
  return write_proc("/proc/self/gid_map", fmt::format("{} {} 1", gid, gid));
}

Status bind(const std::string& source, const std::string& target) {
  if (mount(source.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
    return last_errno(fmt::format("bind '{}' at {}", source, target));
  return {};
}

Status set_read_only(const std::string& path, bool is_read_only, unsigned flags) {
  mount_attr attributes{};
  (is_read_only ? attributes.attr_set : attributes.attr_clr) = MOUNT_ATTR_RDONLY;
  if (mount_setattr(AT_FDCWD, path.c_str(), flags, &attributes, sizeof attributes) != 0)
    return last_errno(
        fmt::format("make {} {}", path, is_read_only ? "read-only" : "writable for the job"));
  return {};
}

/// Makes a place for /opt/ml without touching the machine's own /opt: an empty one in memory that
/// shows the same entries.
Status make_ml_directory() {
  struct stat info{};
  if (stat(kMlDirectory, &info) == 0 && S_ISDIR(info.st_mode)) return {};
  auto opened = open_at(AT_FDCWD, "/opt", O_RDONLY | O_DIRECTORY);
  if (!opened.is_ok()) return opened.status().with_context("a job needs a directory /opt");
  const UniqueFd opt = std::move(opened).value();
  if (mount("tarn-job", "/opt", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") != 0)
    return last_errno("mount a private /opt");
  DIR* stream = fdopendir(dup(opt.get()));
  if (stream == nullptr) return last_errno("read /opt");
  const std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, closedir);
  while (const dirent* entry = readdir(stream)) {
    const std::string name = entry->d_name;
    struct stat item{};
    if (name == "." || name == ".." ||
        fstatat(opt.get(), name.c_str(), &item, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    const std::string source = fd_path(opt) + "/" + name, target = "/opt/" + name;
    if (S_ISDIR(item.st_mode)) {
      if (mkdir(target.c_str(), 0755) != 0) return last_errno("mkdir " + target);
      TARN_TRY(bind(source, target));
    } else if (S_ISLNK(item.st_mode)) {
      std::string link(PATH_MAX, '\0');
      const ssize_t length = readlinkat(opt.get(), name.c_str(), link.data(), link.size());
      if (length < 0) return last_errno("read the link " + target);
      link.resize(static_cast<size_t>(length));
      if (symlink(link.c_str(), target.c_str()) != 0) return last_errno("link " + target);
    } else if (S_ISREG(item.st_mode)) {
      TARN_TRY(open_at(AT_FDCWD, target, O_WRONLY | O_CREAT).status());
      TARN_TRY(bind(source, target));
    }
  }
  if (mkdir(kMlDirectory, 0755) != 0) return last_errno(fmt::format("mkdir {}", kMlDirectory));
  return {};
}

/// What a channel shows, opened without following a symbolic link out of the mount.
Result<UniqueFd> open_source(int mount_fd, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const char* name = path.empty() ? "." : path.c_str();
  const long fd = syscall(SYS_openat2, mount_fd, name, &how, sizeof how);
  if (fd < 0) return last_errno(fmt::format("open '{}' on Tarn's mount", path));
  return UniqueFd(static_cast<int>(fd));
}

Status mount_overlay(const UniqueFd& lower, const MountStep& step, bool is_root) {
  // Paths in the options are descriptors, so that no character in them has a meaning of its own.
  TARN_ASSIGN(const UniqueFd upper, open_at(AT_FDCWD, step.upper, O_PATH | O_DIRECTORY));
  TARN_ASSIGN(const UniqueFd work, open_at(AT_FDCWD, step.work, O_PATH | O_DIRECTORY));
  const std::string options =
      fmt::format("lowerdir={},upperdir={},workdir={},index=off,metacopy=off{}", fd_path(lower),
                  fd_path(upper), fd_path(work), is_root ? ",xino=off" : ",userxattr");
  if (mount("tarn-channel", step.target.c_str(), "overlay", MS_NOSUID | MS_NODEV,
            options.c_str()) != 0)
    return last_errno(fmt::format("lay a writable layer over the channel at {}", step.target));
  return {};
}

Status mount_channels(const LaunchPlan& plan, bool is_root) {
  if (plan.mounts.empty()) return {};
  TARN_ASSIGN(const UniqueFd top, open_at(AT_FDCWD, plan.mount_directory, O_PATH | O_DIRECTORY));
  for (const MountStep& step : plan.mounts) {
    TARN_ASSIGN(const UniqueFd source, open_source(top.get(), step.source));
    if (step.kind == MountKind::kOverlay) {
      TARN_TRY(mount_overlay(source, step, is_root));
    } else {
      TARN_TRY(bind(fd_path(source), step.target));
    }
  }
  return {};
}

/// Everything read-only but what a job may write.
Status protect_machine(const LaunchPlan& plan) {
  std::vector<std::string> writable = {kMlDirectory};
  for (const char* path : {"/tmp", "/var/tmp"}) {
    if (access(path, F_OK) != 0) continue;
    TARN_TRY(bind(path, path));
    writable.emplace_back(path);
  }
  for (const MountStep& step : plan.mounts)
    if (step.kind != MountKind::kBindReadOnly) writable.push_back(step.target);
  TARN_TRY(set_read_only("/", true, AT_RECURSIVE));
  for (const std::string& path : writable) TARN_TRY(set_read_only(path, false, 0));
  return set_read_only("/dev", false, AT_RECURSIVE);
}

}  // namespace

Status enter_sandbox(const LaunchPlan& plan) {
  const bool is_root = geteuid() == 0;
  if (!is_root) TARN_TRY(enter_user_namespace());
  if (unshare(CLONE_NEWNS | CLONE_NEWPID) != 0)
    return last_errno("make mount and PID namespaces for the job");
  // Nothing mounted here shows outside.
  if (mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return last_errno("make the job's mounts private");
  TARN_TRY(make_ml_directory());
  TARN_TRY(bind(plan.ml_directory, kMlDirectory));
  TARN_TRY(mount_channels(plan, is_root));
  if (access("/etc/hosts", F_OK) == 0) TARN_TRY(bind(plan.hosts_file, "/etc/hosts"));
  // /tmp is bound over itself in there, so ROOT is hidden afterwards, wherever it lies.
  TARN_TRY(protect_machine(plan));
  if (mount("tarn-hidden", plan.hidden_directory.c_str(), "tmpfs",
            MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0000,size=4k") != 0)
    return last_errno(fmt::format("hide '{}' from the job", plan.hidden_directory));
  return {};
}

void mount_proc() {
  // Refused where the machine's own /proc is partly covered (in a container); the job then sees
  // that one, which names no process that it could reach.
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    static_cast<void>(set_read_only("/proc", false, 0));
}

Status drop_privileges(const LaunchPlan& plan) {
  if (geteuid() == 0 && plan.uid == 0) {
    TARN_TRY(enter_user_namespace());
  } else if (geteuid() == 0) {
    const std::vector<gid_t> groups(plan.groups.begin(), plan.groups.end());
    if (setgroups(groups.size(), groups.data()) != 0) return last_errno("set the job's groups");
    if (setresgid(plan.gid, plan.gid, plan.gid) != 0) return last_errno("set the job's group");
    if (setresuid(plan.uid, plan.uid, plan.uid) != 0) return last_errno("set the job's user");
  } else if (geteuid() != plan.uid) {
    return {
        Code::kNotPermitted,
        fmt::format("a Tarn that runs as uid {} cannot run a job as uid {}", geteuid(), plan.uid)};
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return last_errno("set no_new_privs");
  umask(plan.umask);
  return {};
}

}  // namespace tarn::job
