// What a command shows: errors, exit codes, progress.
//
// Results go to standard output, everything else to standard error. Progress is drawn only on a
// terminal and only for work of over a second. Belongs to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace tarn::app {

enum ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kWrongUsage = 2,
  kNothingToTalkTo = 3,
};

/// kUnavailable means that nobody answers; everything else is a failure.
int exit_code_of(const Status& status);
/// Prints "tarn: MESSAGE" and returns the exit code; kDone and silence for Ok.
int finish(const Status& status);
/// Prints "tarn: MESSAGE" for what the user typed and returns kWrongUsage, or kNothingToTalkTo when
/// the status says so.
int refuse(const Status& status);

/// Writes to standard output; a reader that went away is no error.
void print(std::string_view text);

class Progress {
 public:
  /// `what` stands in front: "extracting".
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Bytes done of `total`; 0: not known.
  void update(uint64_t done, uint64_t total);

 private:
  std::string what_;
  TimeNs started_;
  bool is_terminal_;
  bool is_drawn_ = false;
};

}  // namespace tarn::app
