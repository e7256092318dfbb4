// Server: listens, keeps connections, reads requests and writes responses.
//
// Idle connections wait in epoll and cost no thread; a request is executed from its first byte to
// its last on one thread of the server's own pool, with blocking reads and writes that end after a
// time-out without progress. A thread that has answered waits a moment for the next request of the
// same client before it gives the connection back. Bodies are never buffered as a whole. Limits:
// connections, head size, time for a head, time without progress. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "http/message.h"
#include "http/transport.h"

namespace tarn::http {

struct ListenAddress {
  std::string host;                 // a name or address; empty: 127.0.0.1
  uint16_t port = 0;                // 0: any free one
  std::shared_ptr<TlsContext> tls;  // null: plain
};

struct ServerOptions {
  std::vector<ListenAddress> addresses;
  size_t threads = 32;
  size_t connections_max = 1024;
  int head_timeout_s = 20;      // from the first byte of a head to its last
  int progress_timeout_s = 60;  // of bodies and responses
  int idle_timeout_s = 120;     // between two requests
  int stop_timeout_s = 10;      // for requests in progress at stop
};

class Server {
 public:
  /// kBusy when an address is in use, with the address in the message; kInvalidArgument for one
  /// that does not resolve. `handler` outlives the server.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Handler& handler);
  virtual ~Server() = default;
  /// Of `addresses[index]`.
  virtual uint16_t port(size_t index) const = 0;
  /// No new requests; waits for those in progress. Idempotent.
  virtual void stop() = 0;
};

}  // namespace tarn::http
