// The listeners that a worker runs beside the mount.
//
// The worker starts them when the file system is open and stops them before it closes. The plain
// listener binds addresses of this machine's own (127.0.0.0/8, ::1, localhost) unless the settings
// say `insecure`; the TLS listener binds any, with ROOT/tls/cert.pem and key.pem, made when
// missing. Belongs to the worker's main thread.
#pragma once

#include <memory>

#include "app/config.h"
#include "app/worker_context.h"
#include "base/status.h"

namespace tarn::app {

class Services {
 public:
  /// kInvalidArgument for a listener that the settings do not allow.
  static Status check(const Settings& settings);
  /// Starts what the settings ask for; kBusy names who holds the port.
  static Result<std::unique_ptr<Services>> start(WorkerContext& context);
  virtual ~Services() = default;
  /// Adds the commands of training jobs to the control socket's.
  virtual void add_handlers(ControlHandlers& handlers) = 0;
  /// Refuses new requests and waits for those in progress. Idempotent.
  virtual void stop() = 0;
};

}  // namespace tarn::app
