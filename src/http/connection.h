// Connection: the requests of one client, one after the other. Internal to room http.
//
// `serve` answers what has arrived and returns true when the connection is idle and may be kept.
// Thread rules: `serve` on one thread at a time; the rest from any.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "http/server.h"

namespace tarn::http {

class RawBody;

class Connection {
 public:
  Connection(std::unique_ptr<Transport> transport, bool is_tls, const ServerOptions& options,
             Handler& handler, const std::atomic<bool>& is_stopping);
  ~Connection();

  bool serve(bool may_linger);
  Transport& transport() { return *transport_; }
  bool is_in_request() const { return is_in_request_.load(); }
  /// Monotonic time; 0 while it is served.
  TimeNs idle_since() const { return idle_since_.load(); }
  void set_idle_since(TimeNs since) { idle_since_.store(since); }

 private:
  friend class RawBody;
  enum class Next { kAnother, kIdle, kClose };
  Next serve_one(bool may_linger);
  bool wait_readable(int timeout_ms);
  bool wait_for_more(int timeout_ms);
  Status fill();
  Status write(const Request& request, Response& response, bool keep_alive);
  Status write_source(Response& response, std::string head);
  void refuse(const Fault& fault);

  std::unique_ptr<Transport> transport_;
  const bool is_tls_;
  const ServerOptions& options_;
  Handler& handler_;
  const std::atomic<bool>& is_stopping_;
  bool is_accepted_ = false;
  std::atomic<bool> is_in_request_{false};
  std::atomic<TimeNs> idle_since_;
  // Received and not yet used.
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;
};

}  // namespace tarn::http
