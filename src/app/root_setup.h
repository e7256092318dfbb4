// Making a ROOT, and the files of it that belong to the program.
//
// content::Root makes the superblock and the folders; this adds ROOT/credentials, ROOT/tarn.toml
// and ROOT/log. What is missing is made again at every start, so that an interrupted `tarn init`
// mends itself. ROOT and all in it are for its owner alone: the mount and the endpoint check
// permissions, the folder itself cannot. Thread rules: one process at a time sets up a ROOT.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "app/config.h"
#include "base/file.h"
#include "base/status.h"

namespace tarn::app {

enum class RootState : uint8_t {
  kMissing,
  kEmpty,   // a folder with nothing in it
  kTarn,    // has a superblock; content::Root::open judges it
  kForeign  // something else lives there
};
Result<RootState> inspect_root(const std::string& path);

struct InitOptions {
  Settings settings;           // storage URLs and what else tarn.toml shall say
  uint64_t ballast_bytes = 0;  // 0: as content decides
  mode_t umask = 022;          // of the user, for the first key
};

/// Makes a ROOT in `path`, missing or empty. kExists says what is there instead.
Status initialise_root(const std::string& path, const InitOptions& options);
/// Makes those of the program's files that are missing.
Status ensure_root_files(const std::string& path, const InitOptions& options);

/// Held by `tarn serve`, keeper or lone worker, as long as it runs: nobody else takes the ROOT
/// while the keeper starts a new worker.
/// "pid 12 (tarn serve /srv/tarn)": who took the ServeLock of `root` last, or words that say that
/// this cannot be told.
std::string serving_process(const std::string& root);

class ServeLock {
 public:
  /// kBusy names the holder's pid and command.
  static Result<ServeLock> take(const std::string& root);

 private:
  explicit ServeLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace tarn::app
