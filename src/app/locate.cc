#include "app/locate.h"

#include <unistd.h>
#include <climits>
#include <cstdlib>

#include <fmt/format.h>

namespace tarn::app {
namespace {

Status nothing_to_talk_to() {
  return {Code::kUnavailable,
          "no Tarn to talk to: name its ROOT, set TARN_ROOT, or give a path under its mount"};
}

std::string absolute(const Surroundings& surroundings, const std::string& path) {
  return normalise(path.starts_with('/') ? path : surroundings.current_directory + "/" + path);
}

/// `path` with its links followed as far as it exists; what is missing stays as it was typed.
std::string follow_links(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) != nullptr) return resolved;
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return path;
  return follow_links(path.substr(0, slash)) + path.substr(slash);
}

const MountEntry* tarn_mount_of(const Surroundings& surroundings, std::string_view path) {
  const MountEntry* entry = mount_of(surroundings.mounts, path);
  return entry != nullptr && entry->is_tarn() ? entry : nullptr;
}

Result<Target> locate_under_mount(const Surroundings& surroundings, const std::string& path) {
  const std::string typed = absolute(surroundings, path);
  const std::string real = follow_links(typed);
  const MountEntry* entry = tarn_mount_of(surroundings, real);
  if (entry == nullptr)
    return Status(Code::kInvalidArgument,
                  fmt::format("'{}' is not under a mount of Tarn (write tarn:/PATH for a path "
                              "without one)",
                              path));
  const std::string below = entry->point == "/" ? real : real.substr(entry->point.size());
  return Target{entry->source, normalise(entry->subtree + "/" + below)};
}

}  // namespace

Result<Surroundings> Surroundings::system(std::optional<std::string> root_argument) {
  Surroundings found;
  if (root_argument.has_value()) {
    char resolved[PATH_MAX];
    found.root_argument =
        realpath(root_argument->c_str(), resolved) != nullptr ? resolved : *root_argument;
  }
  if (const char* variable = std::getenv("TARN_ROOT"); variable != nullptr && *variable != '\0')
    found.root_variable = variable;
  char directory[PATH_MAX];
  // Without a current directory (it was removed) relative paths cannot be found, and say so.
  found.current_directory = getcwd(directory, sizeof directory) != nullptr ? directory : "/";
  TARN_ASSIGN(found.mounts, read_mount_table());
  return found;
}

Result<std::string> find_root(const Surroundings& surroundings) {
  if (surroundings.root_argument.has_value()) return *surroundings.root_argument;
  if (surroundings.root_variable.has_value()) return *surroundings.root_variable;
  if (const MountEntry* entry = tarn_mount_of(surroundings, surroundings.current_directory))
    return entry->source;
  return nothing_to_talk_to();
}

bool is_inside_tarn(const Surroundings& surroundings, const std::string& path) {
  if (path.starts_with("tarn:") || path.starts_with("s3://")) return true;
  return tarn_mount_of(surroundings, follow_links(absolute(surroundings, path))) != nullptr;
}

Result<Target> locate(const Surroundings& surroundings, const std::string& path) {
  if (path.empty()) return Status(Code::kInvalidArgument, "an empty path names nothing");
  std::string inside;
  if (path.starts_with("tarn:")) {
    inside = path.substr(5);
    if (!inside.starts_with('/'))
      return Status(Code::kInvalidArgument,
                    fmt::format("'{}': write tarn:/PATH, with a slash", path));
  } else if (path.starts_with("s3://")) {
    inside = path.substr(4);
    if (inside == "/")
      return Status(Code::kInvalidArgument, fmt::format("'{}' names no bucket", path));
  } else {
    return locate_under_mount(surroundings, path);
  }
  TARN_ASSIGN(std::string root, find_root(surroundings));
  return Target{std::move(root), normalise(inside)};
}

Result<std::vector<Target>> locate_all(const Surroundings& surroundings,
                                       const std::vector<std::string>& paths) {
  std::vector<Target> targets;
  for (const std::string& path : paths) {
    TARN_ASSIGN(Target target, locate(surroundings, path));
    if (!targets.empty() && targets.front().root != target.root)
      return Status(Code::kInvalidArgument,
                    fmt::format("'{}' is in the Tarn at '{}', '{}' in the one at '{}': one command "
                                "talks to one",
                                paths.front(), targets.front().root, path, target.root));
    targets.push_back(std::move(target));
  }
  return targets;
}

std::string normalise(std::string_view path) {
  std::string result;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? "" : path.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      const size_t last = result.rfind('/');
      result.resize(last == std::string::npos ? 0 : last);
      continue;
    }
    result += '/';
    result += part;
  }
  return result.empty() ? "/" : result;
}

}  // namespace tarn::app
