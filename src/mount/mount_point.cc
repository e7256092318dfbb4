#include "mount/mount_point.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/log.h"

namespace tarn::mount {
namespace {

constexpr const char* kType = "fuse.tarn";
constexpr const char* kFuseConfiguration = "/etc/fuse.conf";
constexpr int kProbeMs = 2000;

/// As fusermount3 wants a value: a comma ends an option unless a backslash stands before it.
std::string escape_commas(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == ',') out += '\\';
    out += c;
  }
  return out;
}

std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      int code = 0;
      for (size_t k = 1; k <= 3; ++k) code = code * 8 + (text[i + k] - '0');
      out.push_back(static_cast<char>(code));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

Result<std::optional<MountEntry>> mount_at(const std::string& directory) {
  TARN_ASSIGN(std::string text, read_file("/proc/self/mountinfo", 64 * limits::kMiB));
  return find_mount(text, directory);
}

/// errno of stat(2) of `directory`, asked by a child so that a daemon that hangs cannot hang us;
/// ETIMEDOUT when there is no answer.
Result<int> probe(const std::string& directory) {
  pid_t child = fork();
  if (child < 0) return last_errno("fork to look at the mount point");
  if (child == 0) {
    struct stat info;
    _exit(stat(directory.c_str(), &info) == 0 ? 0 : errno & 0xff);
  }
  for (int waited = 0; waited < kProbeMs; waited += 5) {
    int status = 0;
    pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
    if (ended < 0) return last_errno("waiting for the look at the mount point");
    usleep(5000);
  }
  // It may be beyond signals until the daemon answers; nothing waits for it.
  kill(child, SIGKILL);
  return ETIMEDOUT;
}

/// Runs fusermount3; true when it ended with 0.
Result<bool> run_helper(const std::vector<std::string>& arguments, int socket) {
  std::vector<std::string> words{"fusermount3"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t child = fork();
  if (child < 0) return last_errno("fork for fusermount3");
  if (child == 0) {
    if (socket >= 0) {
      fcntl(socket, F_SETFD, 0);
      setenv("_FUSE_COMMFD", fmt::format("{}", socket).c_str(), 1);
    }
    execvp("fusermount3", argv.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return last_errno("waiting for fusermount3");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return Status(Code::kUnavailable,
                  "fusermount3 was not found: install package fuse3, or run as root");
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Result<UniqueFd> receive_fd(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  cmsghdr* header = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) {
    return Status(Code::kUnavailable, "fusermount3 sent no descriptor");
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

Result<UniqueFd> mount_by_helper(const MountOptions& options, const std::string& directory) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return last_errno("socketpair for fusermount3");
  }
  UniqueFd ours(pair[0]), theirs(pair[1]);
  const bool is_shared = options.allow_other && may_share_mounts();
  if (options.allow_other && !is_shared) {
    log_info("mount.private", "dir=\"{}\" reason=\"user_allow_other is not in {}\"", directory,
             kFuseConfiguration);
  }
  std::string words = fmt::format(
      "fsname={},subtype=tarn,default_permissions,max_read={}{}{}", escape_commas(options.source),
      limits::kRequestBytesMax, is_shared ? ",allow_other" : "", options.is_read_only ? ",ro" : "");
  TARN_ASSIGN(bool is_done, run_helper({"-o", words, "--", directory}, theirs.get()));
  if (!is_done) {
    return Status(Code::kAccessDenied,
                  fmt::format("fusermount3 did not mount '{}' (its message is above); an ordinary "
                              "user needs /dev/fuse with mode 0666 and a directory of their own",
                              directory));
  }
  theirs.reset();
  return receive_fd(ours.get());
}

Result<UniqueFd> mount_directly(const MountOptions& options, const std::string& directory) {
  auto device = open_at(AT_FDCWD, "/dev/fuse", O_RDWR);
  if (!device.is_ok()) {
    return Status(Code::kUnavailable,
                  fmt::format("{}; this machine offers no FUSE (container without --device "
                              "/dev/fuse, or a kernel without it)",
                              device.status().message()));
  }
  std::string data =
      fmt::format("fd={},rootmode=40000,user_id={},group_id={},default_permissions,max_read={}{}",
                  device->get(), getuid(), getgid(), limits::kRequestBytesMax,
                  options.allow_other ? ",allow_other" : "");
  unsigned long flags = 0;
  if (!options.may_hold_devices) flags |= MS_NOSUID | MS_NODEV;
  if (options.is_read_only) flags |= MS_RDONLY;
  if (::mount(options.source.c_str(), directory.c_str(), kType, flags, data.c_str()) != 0) {
    return last_errno(fmt::format("mounting on '{}'", directory));
  }
  return std::move(device).value();
}

}  // namespace

bool may_share_mounts() {
  if (geteuid() == 0) return true;
  const auto text = read_file(kFuseConfiguration, limits::kMiB);
  return text.is_ok() && ("\n" + *text).find("\nuser_allow_other") != std::string::npos;
}

std::optional<MountEntry> find_mount(const std::string& mountinfo, const std::string& directory) {
  // "36 35 98:0 /root /where opts [optional fields ...] - type source options"; later lines lie on
  // top of earlier ones.
  std::optional<MountEntry> found;
  for (size_t at = 0; at < mountinfo.size();) {
    size_t end = mountinfo.find('\n', at);
    if (end == std::string::npos) end = mountinfo.size();
    std::string_view line(mountinfo.data() + at, end - at);
    at = end + 1;
    std::vector<std::string_view> words;
    for (size_t i = 0; i < line.size();) {
      size_t space = std::min(line.find(' ', i), line.size());
      words.push_back(line.substr(i, space - i));
      i = space + 1;
    }
    if (words.size() < 5 || unescape(words[4]) != directory) continue;
    MountEntry entry;
    entry.directory = directory;
    std::string device(words[2]);
    char* rest = nullptr;
    entry.major = static_cast<uint32_t>(std::strtoul(device.c_str(), &rest, 10));
    if (*rest == ':') entry.minor = static_cast<uint32_t>(std::strtoul(rest + 1, nullptr, 10));
    for (size_t i = 5; i + 2 < words.size(); ++i) {
      if (words[i] != "-") continue;
      entry.type = unescape(words[i + 1]);
      entry.source = unescape(words[i + 2]);
      break;
    }
    found = entry;
  }
  return found;
}

Result<std::string> absolute_mount_path(const std::string& directory) {
  std::string path = directory;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  size_t slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") {
    return Status(
        Code::kInvalidArgument,
        fmt::format("'{}' cannot be a mount point: name the directory itself", directory));
  }
  std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  char* resolved = realpath(parent.c_str(), nullptr);
  if (resolved == nullptr) return last_errno(fmt::format("looking for '{}'", parent));
  std::string absolute = resolved;
  free(resolved);
  if (absolute.back() != '/') absolute += '/';
  return absolute + name;
}

Result<bool> detach_dead_mounts(const std::string& directory) {
  bool was_any = false;
  for (;;) {
    TARN_ASSIGN(auto entry, mount_at(directory));
    if (!entry || !entry->type.starts_with("fuse")) return was_any;
    TARN_ASSIGN(int error, probe(directory));
    bool is_dead = error == ENOTCONN || error == ECONNABORTED;
    if (!is_dead) {
      if (entry->type != kType) return was_any;
      return Status(
          Code::kBusy,
          fmt::format("'{}' is already a mount of Tarn's {}; stop that program first", directory,
                      error == ETIMEDOUT ? "that does not answer" : "that is served"));
    }
    if (entry->type != kType) {
      return Status(Code::kBusy, fmt::format("'{}' is a dead mount of type {}: fusermount3 -uz {}",
                                             directory, entry->type, directory));
    }
    if (umount2(directory.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
      Status refused = last_errno(fmt::format("detaching the dead mount on '{}'", directory));
      TARN_ASSIGN(bool is_done, run_helper({"-u", "-z", "-q", "--", directory}, -1));
      if (!is_done) return refused;
    }
    log_info("mount.dead_detached", "dir=\"{}\"", directory);
    was_any = true;
  }
}

Result<MountPoint> MountPoint::mount(const MountOptions& options) {
  TARN_ASSIGN(std::string directory, absolute_mount_path(options.directory));
  TARN_ASSIGN(bool was_dead, detach_dead_mounts(directory));
  static_cast<void>(was_dead);
  struct stat info{};
  if (stat(directory.c_str(), &info) != 0) {
    return last_errno(fmt::format("looking at the mount point '{}'", directory));
  }
  if (!S_ISDIR(info.st_mode)) {
    return Status(Code::kNotDirectory,
                  fmt::format("the mount point '{}' is not a directory", directory));
  }
  bool uses_helper = options.use_helper || geteuid() != 0;
  TARN_ASSIGN(UniqueFd fd, uses_helper ? mount_by_helper(options, directory)
                                       : mount_directly(options, directory));
  return MountPoint(std::move(directory), std::move(fd), uses_helper);
}

Status MountPoint::set_read_ahead(uint32_t kib) {
  TARN_ASSIGN(auto entry, mount_at(directory_));
  if (!entry) return Status(Code::kNotFound, fmt::format("nothing is mounted on '{}'", directory_));
  std::string path = fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", entry->major, entry->minor);
  TARN_ASSIGN(UniqueFd file, open_at(AT_FDCWD, path, O_WRONLY));
  return write_all(file.get(), as_bytes(fmt::format("{}\n", kib))).with_context(path);
}

Result<MountPoint::Unmounted> MountPoint::unmount() {
  TARN_ASSIGN(auto entry, mount_at(directory_));
  if (!entry || entry->type != kType) return Unmounted::kNotThere;
  if (uses_helper_ && geteuid() != 0) {
    TARN_ASSIGN(bool is_clean, run_helper({"-u", "-q", "--", directory_}, -1));
    if (is_clean) return Unmounted::kClean;
    TARN_ASSIGN(bool is_detached, run_helper({"-u", "-z", "--", directory_}, -1));
    if (is_detached) return Unmounted::kDetached;
    return Status(Code::kBusy, fmt::format("fusermount3 did not unmount '{}'", directory_));
  }
  if (umount2(directory_.c_str(), UMOUNT_NOFOLLOW) == 0) return Unmounted::kClean;
  if (errno == EINVAL) return Unmounted::kNotThere;
  if (umount2(directory_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return Unmounted::kDetached;
  return last_errno(fmt::format("unmounting '{}'", directory_));
}

}  // namespace tarn::mount
