// Metrics: counters of the endpoint in Prometheus's text format.
//
// Thread-safe; counting is a few atomic additions.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/mutex.h"

namespace tarn::http {

class Metrics {
 public:
  /// One answered request: the service's name, the status, seconds and bytes.
  void count_request(const std::string& service, int status, TimeNs took, uint64_t bytes_in,
                     uint64_t bytes_out);
  void count_connection() { connections_.fetch_add(1, std::memory_order_relaxed); }
  /// The exposition text.
  std::string text();

 private:
  struct OfService {
    std::array<std::atomic<uint64_t>, 6> by_class{};  // [status / 100]
    std::atomic<uint64_t> took_ns{0}, bytes_in{0}, bytes_out{0};
  };
  OfService& of(const std::string& service);

  Mutex mutex_{"http.metrics", 911};
  std::map<std::string, std::unique_ptr<OfService>, std::less<>> services_;
  std::atomic<uint64_t> connections_{0};
};

}  // namespace tarn::http
