// The training side of a worker: registry, runner and the services that clients reach them by.
//
// Opened before the listener and the control socket, closed after the listener refuses requests:
// `close` ends every running job. Thread-safe once open.
#pragma once

#include <memory>
#include <string>

#include "app/control_server.h"
#include "app/worker_context.h"
#include "http/router.h"

namespace tarn::app {

class JobServices {
 public:
  /// `keys` (null without a listener) and the context outlive it.
  static Result<std::unique_ptr<JobServices>> open(WorkerContext& context, http::KeyStore* keys);
  virtual ~JobServices() = default;
  /// Adds SageMaker, Logs, STS and IAM.
  virtual void add_to(http::Router& router) = 0;
  /// Where jobs find S3; before the first request.
  virtual void set_endpoint(std::string url) = 0;
  /// Adds job.list, job.show, job.stop, job.logs, image.map, image.unmap and image.list.
  virtual void add_handlers(ControlHandlers& handlers) = 0;
  /// Ends all jobs. Idempotent.
  virtual void close() = 0;
};

}  // namespace tarn::app
