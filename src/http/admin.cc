#include "http/admin.h"

namespace tarn::http {

void Admin::handle(const Request& request, Response& response) {
  response.headers.add("Content-Type", "text/plain; version=0.0.4");
  if (request.method != "GET" && request.method != "HEAD") {
    response.status = 405;
    response.headers.add("Allow", "GET, HEAD");
    response.body = "only GET and HEAD\n";
  } else if (request.path == "/_tarn/health") {
    response.body = "ok\n";
  } else if (request.path == "/_tarn/metrics") {
    response.body = metrics_.text();
    if (more_metrics_) response.body += more_metrics_();
  } else {
    response.status = 404;
    response.body = "there are /_tarn/health and /_tarn/metrics\n";
  }
}

}  // namespace tarn::http
