// TrainingJob: everything that is kept of one training job, and the machine of its states.
//
// A job is created in kStarting and moves only by `advance`, which refuses what the machine does
// not allow; once it has ended nothing moves it again. Times are wall-clock nanoseconds. The
// request of the API is kept word for word as an opaque text; the typed fields are what running the
// job needs. Plain values; no sharing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace tarn::registry {

enum class JobState : uint8_t { kInProgress, kStopping, kCompleted, kFailed, kStopped };
enum class JobPhase : uint8_t {
  kStarting,
  kDownloading,
  kTraining,
  kUploading,
  kStopping,
  kCompleted,
  kFailed,
  kStopped,
  kMaxRuntimeExceeded,
};
/// The words of the SageMaker API: "InProgress", "MaxRuntimeExceeded".
std::string_view state_name(JobState state);
std::string_view phase_name(JobPhase phase);
inline bool has_ended(JobState state) {
  return state != JobState::kInProgress && state != JobState::kStopping;
}

enum class InputMode : uint8_t { kFile, kFastFile };
enum class ChannelKind : uint8_t { kPrefix, kFileSystemReadOnly, kFileSystemReadWrite };

struct Channel {
  std::string name;
  ChannelKind kind = ChannelKind::kPrefix;
  InputMode mode = InputMode::kFile;
  std::string bucket, prefix;  // kFileSystem*: the path is in `prefix`, "/bucket/folder"
  std::string content_type;
  std::string distribution = "FullyReplicated", record_wrapper = "None";
  std::string uri;  // as the request named it
  bool operator==(const Channel&) const = default;
};

/// On whose behalf a job runs.
struct Owner {
  std::string access_key;
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  uint32_t umask = 022;
  bool operator==(const Owner&) const = default;
};

struct Transition {
  JobPhase phase = JobPhase::kStarting;
  TimeNs start = 0, end = 0;  // end 0: still in it
  std::string message;
  bool operator==(const Transition&) const = default;
};

/// What happened to one channel.
struct ChannelReport {
  std::string name;
  std::string how;  // "bind", "overlay", "copy", ...
  uint64_t bytes_copied = 0, files_copied = 0;
  uint64_t changes = 0;  // records of the change log under it while the job ran
  bool operator==(const ChannelReport&) const = default;
};
struct JobReport {
  std::vector<ChannelReport> channels;
  uint64_t script_bytes_copied = 0;
  std::vector<std::pair<std::string, TimeNs>> stages;  // name -> span, in order
  uint64_t log_lines = 0, log_bytes_dropped = 0;
  std::vector<std::string> notes;  // what differed from the plan, and why
  bool operator==(const JobReport&) const = default;
};

struct TrainingJob {
  std::string name;
  std::string request;  // the API's document
  std::vector<std::pair<std::string, std::string>> tags;
  Owner owner;

  std::string image;
  std::vector<std::string> entrypoint, arguments;  // empty: the image's own
  std::map<std::string, std::string> hyperparameters, environment;
  std::vector<Channel> channels;
  std::string output_uri;  // "s3://bucket/prefix", without a trailing '/'
  bool is_output_compressed = true;
  std::string instance_type;
  std::string checkpoint_uri, checkpoint_path;
  uint64_t runtime_seconds_max = 86'400;

  JobState state = JobState::kInProgress;
  JobPhase phase = JobPhase::kStarting;
  std::vector<Transition> transitions;
  std::string failure_reason;
  TimeNs created = 0, modified = 0;
  TimeNs training_started = 0, training_ended = 0;  // of the program; 0: never
  std::string model_uri;                            // of model.tar.gz once it is there
  std::string log_stream;                           // "NAME/algo-1-EPOCH"
  JobReport report;
  bool operator==(const TrainingJob&) const = default;
};

/// Opens the first transition of a job at `now`.
void begin(TrainingJob& job, TimeNs now, std::string message);
/// Moves to `phase`: closes the open transition, opens the next (ended at once for the last one)
/// and sets the state. kPreconditionFailed, and no change, for a move that the machine does not
/// allow.
Status advance(TrainingJob& job, JobPhase phase, TimeNs now, std::string message);

/// The row's value: format version 1, in the fields' order.
std::string encode(const TrainingJob& job);
/// kCorrupt for what is no such row.
Result<TrainingJob> decode_training_job(std::string_view row);

}  // namespace tarn::registry
