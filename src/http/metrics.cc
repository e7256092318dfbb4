#include "http/metrics.h"

#include <algorithm>

#include <fmt/format.h>

namespace tarn::http {

Metrics::OfService& Metrics::of(const std::string& service) {
  MutexLock lock(mutex_);
  auto& found = services_[service];
  if (!found) found = std::make_unique<OfService>();
  return *found;
}

void Metrics::count_request(const std::string& service, int status, TimeNs took, uint64_t bytes_in,
                            uint64_t bytes_out) {
  OfService& s = of(service);
  const auto status_class = static_cast<size_t>(std::clamp(status / 100, 0, 5));
  s.by_class[status_class].fetch_add(1, std::memory_order_relaxed);
  s.took_ns.fetch_add(static_cast<uint64_t>(took), std::memory_order_relaxed);
  s.bytes_in.fetch_add(bytes_in, std::memory_order_relaxed);
  s.bytes_out.fetch_add(bytes_out, std::memory_order_relaxed);
}

std::string Metrics::text() {
  std::string requests =
      "# HELP tarn_http_requests_total Answered requests.\n# TYPE tarn_http_requests_total "
      "counter\n";
  std::string seconds =
      "# HELP tarn_http_seconds_total Time spent on requests.\n# TYPE tarn_http_seconds_total "
      "counter\n";
  std::string bytes =
      "# HELP tarn_http_bytes_total Bytes of bodies.\n# TYPE tarn_http_bytes_total counter\n";
  MutexLock lock(mutex_);
  for (const auto& [name, s] : services_) {
    for (size_t i = 1; i < s->by_class.size(); ++i) {
      if (const uint64_t n = s->by_class[i].load(); n > 0) {
        requests += fmt::format("tarn_http_requests_total{{service=\"{}\",status=\"{}xx\"}} {}\n",
                                name, i, n);
      }
    }
    seconds += fmt::format("tarn_http_seconds_total{{service=\"{}\"}} {:.6f}\n", name,
                           static_cast<double>(s->took_ns.load()) / 1e9);
    bytes += fmt::format(
        "tarn_http_bytes_total{{service=\"{0}\",direction=\"in\"}} {1}\n"
        "tarn_http_bytes_total{{service=\"{0}\",direction=\"out\"}} {2}\n",
        name, s->bytes_in.load(), s->bytes_out.load());
  }
  return requests + seconds + bytes +
         fmt::format(
             "# HELP tarn_http_connections_total Accepted connections.\n"
             "# TYPE tarn_http_connections_total counter\ntarn_http_connections_total {}\n",
             connections_.load());
}

}  // namespace tarn::http
