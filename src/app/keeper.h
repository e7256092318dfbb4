// The keeper: the small process that stays when the worker dies.
//
// `tarn serve` is a keeper. It mounts, answers FUSE_INIT (clones can be made only then), and from
// then on answers nothing: it holds every clone of /dev/fuse, the shared memory of the mount and of
// the handle table, and descriptors of unlinked files, and runs the worker, which does all the
// work. When the worker dies it starts another, which takes over: programs on the mount wait for a
// moment and go on. Killing the keeper kills the worker; the mount is then dead and is detached at
// the next start. Thread rules: run_keeper is called once, in a process with one thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "mount/init.h"
#include "mount/mount_point.h"

namespace tarn::app {

struct KeeperOptions {
  std::optional<mount::MountOptions>
      mount;  // none: no mount, the worker is kept alive all the same
  mount::InitOptions init;
  size_t queues = 4;               // clones of /dev/fuse, one a thread of the worker
  uint32_t read_ahead_kib = 8192;  // of the mount; as root only
  /// Command line of the worker after its program, which is this very program. One more argument is
  /// added: WorkerInheritance, encoded.
  std::vector<std::string> worker_arguments;
  /// More unexpected ends than this within the window: give up.
  size_t restarts_max = 5;
  TimeNs restart_window = 60 * kSecondNs;
  /// How long a worker that was asked to end may take.
  TimeNs end_patience = 60 * kSecondNs;
};

/// Runs until it is told to end (SIGTERM, SIGINT) or the mount cannot be kept. Prints the worker's
/// ready line on standard output, and notifies systemd. Returns the exit code of the program: 0
/// after an orderly end, the worker's own code when it ended before it was ever ready, else 1.
int run_keeper(const KeeperOptions& options);

}  // namespace tarn::app
