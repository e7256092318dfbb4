// The listeners that a worker runs beside the mount.
//
// The worker starts them when the file system is open and stops them before it closes. This version
// serves none: `check` refuses settings that ask for one, before anything is started, so that
// nobody waits for an endpoint that is not there. Belongs to the worker's main thread.
#pragma once

#include <memory>

#include "app/config.h"
#include "app/worker_context.h"
#include "base/status.h"

namespace tarn::app {

class Services {
 public:
  /// kNotSupported for a listener that this version does not have.
  static Status check(const Settings& settings);
  /// Starts what the settings ask for.
  static Result<std::unique_ptr<Services>> start(WorkerContext& context);
  /// Refuses new requests and waits for those in progress. Idempotent.
  void stop() {}
};

}  // namespace tarn::app
