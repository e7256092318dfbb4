// The mounts of this process as /proc/self/mountinfo tells them, and Tarn's among them.
//
// A mount of Tarn has the file system type "fuse.tarn" and the path of its ROOT as source, so that
// a path below it leads to the running program. Nothing here touches a mount itself, which may hang
// or be dead. Plain functions; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tarn::app {

struct MountEntry {
  std::string subtree;       // which directory of the file system is mounted: "/" unless bound
  std::string point;         // where
  std::string type;          // "ext4", "fuse.tarn"
  std::string source;        // a device; Tarn: ROOT
  std::string options = {};  // the file system's own: "rw,user_id=0,group_id=0,allow_other"
  bool is_tarn() const { return type == "fuse.tarn"; }
};

/// Parses the text of a mountinfo file; lines it does not understand are left out.
std::vector<MountEntry> parse_mount_table(std::string_view text);
Result<std::vector<MountEntry>> read_mount_table();

/// The mount that `path` (absolute, without links) is on: the last one with the longest mount point
/// above it. Null when there is none.
const MountEntry* mount_of(const std::vector<MountEntry>& table, std::string_view path);
/// The uppermost mount exactly at `path`, or null.
const MountEntry* mount_at(const std::vector<MountEntry>& table, std::string_view path);

/// True when `path` is `directory` or below it; both absolute.
bool is_below(std::string_view path, std::string_view directory);

}  // namespace tarn::app
