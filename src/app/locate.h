// From what a user typed to a running Tarn and a path inside it.
//
// ROOT comes from an argument, else from a PATH or the current directory under a mount of Tarn,
// else from TARN_ROOT. A PATH is a path under a mount, "tarn:/path", or "s3://bucket/key", which is
// /bucket/key. Errors: kUnavailable (exit code 3: no ROOT to talk to), kNotFound, kInvalidArgument.
// Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/mount_table.h"
#include "base/status.h"

namespace tarn::app {

/// What the search looks at; `system()` fills it from this process.
struct Surroundings {
  std::optional<std::string> root_argument;
  std::optional<std::string> root_variable;  // TARN_ROOT
  std::string current_directory;             // absolute
  std::vector<MountEntry> mounts;
  static Result<Surroundings> system(std::optional<std::string> root_argument);
};

/// A path inside a Tarn: absolute, without "." and "..", "/" for the top.
struct Target {
  std::string root;
  std::string inside;
  bool operator==(const Target&) const = default;
};

/// ROOT for a command that names no PATH.
Result<std::string> find_root(const Surroundings& surroundings);
/// ROOT and inside path of `path`. Links are followed for a path under a mount. kInvalidArgument
/// when the path is not in a Tarn.
Result<Target> locate(const Surroundings& surroundings, const std::string& path);
/// All paths; kInvalidArgument when they are not all in one Tarn. `paths` is not empty.
Result<std::vector<Target>> locate_all(const Surroundings& surroundings,
                                       const std::vector<std::string>& paths);
/// True when `path` would be found inside a Tarn: has a scheme or lies under a mount.
bool is_inside_tarn(const Surroundings& surroundings, const std::string& path);

/// "/a//b/./c/" -> "/a/b/c"; ".." is taken back lexically and stops at "/".
std::string normalise(std::string_view path);

}  // namespace tarn::app
