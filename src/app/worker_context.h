// What the handlers of control commands may use: the parts of one running worker.
//
// References outlive the control server. Thread-safe as its parts are.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>

#include "app/config.h"
#include "app/control_server.h"
#include "app/health.h"
#include "content/root.h"
#include "fs/fs.h"

namespace tarn::app {

struct WorkerContext {
  content::Root& root;
  fs::FileSystem& file_system;
  Health& health;
  const Settings& settings;
  std::string mount_directory;         // empty: no mount
  std::function<Json()> mount_status;  // modes and why, or what the lack of a mount means
  pid_t keeper_pid = 0;
  uint64_t workers_before = 0;  // how many workers this keeper started before
  TimeNs started = 0;           // wall clock
};

/// The caller on whose behalf a command runs: the peer of the control socket.
fs::Caller caller_of(const ControlCall& call);

/// Every command that a running program answers.
ControlHandlers make_handlers(WorkerContext& context);

// One file a group; each adds its commands.
void add_status_handler(ControlHandlers& handlers, WorkerContext& context);
void add_digest_handlers(ControlHandlers& handlers, WorkerContext& context);  // digest, verify
void add_work_handlers(ControlHandlers& handlers, WorkerContext& context);    // sync, extract, ...

}  // namespace tarn::app
