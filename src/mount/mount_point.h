// Mounting and unmounting: where the kernel's tree and a descriptor of /dev/fuse meet.
//
// As root mount(2) is called directly; anybody else goes through fusermount3, which hands the
// descriptor back over a socket. A mount whose daemon died is detached before a new one is made.
// None of these functions opens or stats a path below the mount, so that they may be called by the
// process that must answer for it; the test for a dead mount, which must, runs in a child process.
// Thread rules: one thread at a time; `mount` forks, so call it before threads exist.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/file.h"

namespace tarn::mount {

struct MountOptions {
  std::string directory;        // exists; made absolute
  std::string source = "tarn";  // what mountinfo shows as the source: the path of ROOT
  bool allow_other = true;      // where may_share_mounts(); otherwise it is left out
  bool is_read_only = false;
  bool may_hold_devices = false;  // false: nosuid, nodev
  bool use_helper = false;        // fusermount3 even as root
};

class MountPoint {
 public:
  /// Mounts. kNotFound / kNotDirectory: the directory; kBusy: another live mount of ours is there;
  /// kAccessDenied, kNotPermitted, kUnavailable: with what would help.
  static Result<MountPoint> mount(const MountOptions& options);
  MountPoint(MountPoint&&) = default;
  MountPoint& operator=(MountPoint&&) = default;

  const std::string& directory() const { return directory_; }
  /// The descriptor of /dev/fuse; INIT waits on it.
  int fd() const { return fd_.get(); }
  UniqueFd& fd_owner() { return fd_; }

  /// Raises the mount's read-ahead (/sys/class/bdi). Needs root; kNotPermitted otherwise.
  Status set_read_ahead(uint32_t kib);

  enum class Unmounted : uint8_t {
    kClean,     // nobody used it
    kDetached,  // gone from the tree; those who stand in it keep it until they leave
    kNotThere,  // somebody else had unmounted it
  };
  /// Takes the mount out of the tree, also when somebody stands in it.
  Result<Unmounted> unmount();

 private:
  MountPoint(std::string directory, UniqueFd fd, bool uses_helper)
      : directory_(std::move(directory)), fd_(std::move(fd)), uses_helper_(uses_helper) {}
  std::string directory_;
  UniqueFd fd_;
  bool uses_helper_;
};

/// Whether fusermount3 lets this user open a mount to others: root, or user_allow_other stands in
/// /etc/fuse.conf.
bool may_share_mounts();

/// One line of /proc/self/mountinfo.
struct MountEntry {
  std::string directory, type, source;
  uint32_t major = 0, minor = 0;
};
/// The topmost mount exactly at `directory`, if any; `mountinfo` as the kernel writes it.
std::optional<MountEntry> find_mount(const std::string& mountinfo, const std::string& directory);

/// Detaches mounts of ours at `directory` (absolute) whose daemon is gone. True when there were
/// any. kBusy: one that is alive or does not answer within 2 s, or a dead mount that is not ours.
Result<bool> detach_dead_mounts(const std::string& directory);

/// Absolute path of a directory that may be a dead mount: only its parent is looked at.
Result<std::string> absolute_mount_path(const std::string& directory);

}  // namespace tarn::mount
