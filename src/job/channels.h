// Channels: how the inputs of a job come to /opt/ml/input/data, decided before it starts.
//
// On a mounted Tarn a channel is a mount of the tree that its URI names: nothing is copied. A
// prefix that ends inside a name becomes one mount for each name that begins so. Without a mount
// the objects are copied out of the file system and counted. Everything is looked up as the job's
// owner. Plain functions; thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "fs/fs.h"
#include "job/launch_plan.h"
#include "registry/training_job.h"

namespace tarn::job {

fs::Caller caller_of(const registry::Owner& owner);

/// The inode at `path` ("bucket/a/b", without links on the way). kNotFound names the path.
Result<fs::Attributes> find_path(fs::FileSystem& file_system, const fs::Caller& caller,
                                 std::string_view path);

struct PlannedChannel {
  std::vector<MountStep> mounts;  // empty: it has to be copied
  std::vector<Ino> tops;          // what changes are watched below
  std::string how;                // for the report
};
/// Makes the channel's directory (or files to mount on) below `ml_directory`/input/data.
/// kNotFound, with the URI, when nothing is there; kInvalidArgument when the kind of source does
/// not fit. `scratch_directory` takes the upper layers.
Result<PlannedChannel> plan_channel(fs::FileSystem& file_system, const fs::Caller& caller,
                                    const registry::Channel& channel,
                                    const std::string& ml_directory,
                                    const std::string& scratch_directory);

struct Copied {
  uint64_t bytes = 0, files = 0;
};
/// Copies every object under the channel's prefix into `target`. kInterrupted once `is_cancelled`.
Result<Copied> copy_channel(fs::FileSystem& file_system, const fs::Caller& caller,
                            const registry::Channel& channel, const std::string& target,
                            const std::function<bool()>& is_cancelled);
/// Reads one object whole. kFileTooLarge above `bytes_max`.
Result<std::string> read_object(fs::FileSystem& file_system, const fs::Caller& caller,
                                const std::string& uri, uint64_t bytes_max);

/// Records of the change log after `since` that changed something below `tops`, for each of them
/// (at most 64). `began`: the wall clock at `since`.
Result<std::vector<uint64_t>> count_changes(fs::FileSystem& file_system, Stamp since, TimeNs began,
                                            const std::vector<std::vector<Ino>>& tops);

}  // namespace tarn::job
