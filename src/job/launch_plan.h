// LaunchPlan: everything the launcher of a job needs to know, as it travels to it.
//
// Made by the runner, encoded into an unnamed file, read by the launcher, which is a process of its
// own. Plain value.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tarn::job {

enum class MountKind : uint8_t {
  kBindReadOnly,
  kBindReadWrite,
  kOverlay,  // `source` below, a scratch directory above
};

struct MountStep {
  MountKind kind = MountKind::kBindReadOnly;
  std::string source;       // path below the plan's mount directory, without leading '/'
  std::string target;       // absolute, below /opt/ml
  std::string upper, work;  // kOverlay: absolute
  bool operator==(const MountStep&) const = default;
};

struct LaunchPlan {
  pid_t parent = 0;
  std::string mount_directory;   // of Tarn; empty: none
  std::string ml_directory;      // what is seen as /opt/ml
  std::string hidden_directory;  // what the job must not see: ROOT
  std::string hosts_file;        // what is seen as /etc/hosts
  std::vector<MountStep> mounts;
  std::vector<std::string> argv, environment;  // "NAME=value"
  std::string working_directory;
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  uint32_t umask = 022;
  bool operator==(const LaunchPlan&) const = default;
};

std::string encode(const LaunchPlan& plan);
/// kCorrupt.
Result<LaunchPlan> decode_launch_plan(std::string_view text);

}  // namespace tarn::job
