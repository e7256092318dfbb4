// What stands under /_tarn/: health and metrics, for people and Prometheus; without a signature.
//
// Nothing there names files, keys or users. Thread-safe.
#pragma once

#include <functional>
#include <string>

#include "http/message.h"
#include "http/metrics.h"

namespace tarn::http {

class Admin {
 public:
  /// `more_metrics` (may be empty) adds the program's own lines.
  Admin(Metrics& metrics, std::function<std::string()> more_metrics)
      : metrics_(metrics), more_metrics_(std::move(more_metrics)) {}
  static bool is_admin_path(std::string_view path) { return path.starts_with("/_tarn/"); }
  void handle(const Request& request, Response& response);

 private:
  Metrics& metrics_;
  std::function<std::string()> more_metrics_;
};

}  // namespace tarn::http
