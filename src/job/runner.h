// Runner: runs training jobs, one thread each, and keeps their records up to date.
//
// `submit` records a job and starts it; from then on its record tells how far it is. A job passes
// Starting, Downloading (only where something is copied), Training, Uploading, and ends as
// Completed, Failed or Stopped; all its log lines are readable before it has ended. Nothing of a
// job outlives its runner: when the process dies the job's program is killed, and `open` of the
// next one marks the job Failed with that reason. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "fs/fs.h"
#include "job/job_log.h"
#include "job/toolkit.h"
#include "registry/registry.h"

namespace tarn::job {

struct RunnerOptions {
  std::string root_directory;   // ROOT: scratch in ROOT/jobs, logs in ROOT/log/jobs
  std::string mount_directory;  // empty: channels are copied
  std::string launcher = "/proc/self/exe";
  /// Where a job finds S3; empty without a listener.
  std::function<std::string()> endpoint_url;
  std::string region = "us-east-1";
  /// The secret of an access key; nothing when there is no such key any more.
  std::function<std::optional<std::string>(const std::string& access_key)> secret_of;
  TimeNs stop_grace = 120 * kSecondNs;  // between SIGTERM and SIGKILL
  size_t jobs_max = 32;                 // at one time
};

/// What a running job's thread is told.
struct JobControl {
  std::atomic<bool> is_stop_asked{false};  // by StopTrainingJob
  std::atomic<bool> is_ending{false};      // Tarn ends
  int wake_fd = -1;                        // eventfd, readable after a change of the above
};

class Runner {
 public:
  /// Marks jobs that a former process left as Failed and removes their scratch. References outlive
  /// it.
  static Result<std::unique_ptr<Runner>> open(fs::FileSystem& file_system,
                                              registry::Registry& registry, RunnerOptions options);
  ~Runner();

  /// Records the job and starts it. kExists; kAgain when jobs_max run already.
  Status submit(registry::TrainingJob job);
  /// Asks a job to end: SIGTERM, then SIGKILL after the grace. kNotFound; kPreconditionFailed when
  /// it has ended. Idempotent.
  Status stop(const std::string& name);
  /// Ends all jobs as Failed and waits for them. Idempotent.
  void close();

  registry::Registry& registry() { return registry_; }
  const RunnerOptions& options() const { return options_; }
  std::string log_path(const std::string& name) const;

 private:
  struct Running {
    JobControl control;
    std::thread thread;
    std::atomic<bool> is_done{false};
    ~Running();
  };
  Runner(fs::FileSystem& file_system, registry::Registry& registry, RunnerOptions options)
      : file_system_(file_system), registry_(registry), options_(std::move(options)) {}
  Status fail_left_over();
  void reap();

  fs::FileSystem& file_system_;
  registry::Registry& registry_;
  const RunnerOptions options_;
  Mutex mutex_{"job.runner", 30};
  std::map<std::string, std::unique_ptr<Running>> running_;
  bool is_closed_ = false;
};

}  // namespace tarn::job
