// The worker: the process that opens ROOT and answers the kernel, commands and the network.
//
// `run_worker` opens ROOT, the metadata store, the file system, the session of the mount, the
// services and the control socket, in this order, tells its keeper that it is ready, waits until
// the keeper asks for the end or the mount was taken away, and closes them in reverse: every
// acknowledged byte is durable and the superblock marked clean when it returns Ok. It may take over
// from a worker that died: open files and requests in hand go on. One call a process.
#pragma once

#include <string>

#include "app/config.h"
#include "app/keeper_link.h"
#include "base/status.h"

namespace tarn::app {

struct WorkerOptions {
  std::string root;  // absolute
  Settings settings;
  WorkerInheritance inheritance;
};

Status run_worker(WorkerOptions options);

}  // namespace tarn::app
