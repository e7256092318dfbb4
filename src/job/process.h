// Process: a job's running program, as its runner holds it.
//
// `start` runs the launcher with a plan; what the program prints comes out of log_fd, what the
// launcher says out of status_fd. `finish` must be called once before it is destroyed; then nothing
// of the job runs any more. Belongs to one thread, which must live as long as the program: the
// launcher dies with it.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/file.h"
#include "job/launch_plan.h"

namespace tarn::job {

struct Ending {
  enum class Kind : uint8_t {
    kExited,      // `value` is the exit code
    kKilled,      // `value` is the signal
    kNotStarted,  // `message` says why
    kLost,        // killed from outside, or its launcher was
  };
  Kind kind = Kind::kLost;
  int value = 0;
  std::string message;
};

class Process {
 public:
  /// `launcher`: the program whose command kLauncherCommand calls run_launcher.
  static Result<std::unique_ptr<Process>> start(const std::string& launcher, LaunchPlan plan);
  ~Process();
  int log_fd() const { return log_.get(); }
  int status_fd() const { return status_.get(); }
  /// SIGTERM to the program.
  void terminate();
  /// SIGKILL to all of it.
  void kill_all();
  /// Reads what the launcher said; false at its end (the program is gone).
  bool read_status();
  /// Kills what is left, waits for it and says how the program ended.
  Ending finish();

 private:
  Process(pid_t launcher, UniqueFd log, UniqueFd status)
      : launcher_(launcher), log_(std::move(log)), status_(std::move(status)) {}
  pid_t launcher_;
  UniqueFd log_, status_;
  std::string said_;
};

}  // namespace tarn::job
