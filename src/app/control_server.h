// The running program's side of ROOT/control.sock: commands arrive here.
//
// Register a handler for each command, then `start`. A connection is served by one thread of a
// bounded pool, request after request; when all threads are busy new connections wait in the
// socket's backlog. Only the owner of ROOT and root can connect (mode 0600), and a call tells who
// it is, so that a handler acts on that user's behalf. `stop` ends connections and waits for
// handlers, which see is_cancelled. Handlers run on several threads at once.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "app/control_protocol.h"

namespace tarn::app {

struct Peer {
  pid_t pid = 0;
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  uint32_t umask = 022;
};

/// One request being served. Belongs to the handler's thread.
class ControlCall {
 public:
  virtual ~ControlCall() = default;
  virtual const Json& arguments() const = 0;
  virtual const Peer& peer() const = 0;
  /// The descriptor that came with the request; -1 when none did. It lives as long as the call.
  virtual int descriptor() const = 0;
  /// Tells how far the work is. Sent at most ten times a second; the others are dropped.
  virtual Status progress(uint64_t done, uint64_t total) = 0;
  /// Sends part of the answer: an array.
  virtual Status items(Json array) = 0;
  /// The peer hung up or the program is ending: stop and return kInterrupted.
  virtual bool is_cancelled() = 0;
};

/// The result becomes {"result": ...}; a status becomes {"error": ...}.
using ControlHandler = std::function<Result<Json>(ControlCall&)>;
using ControlHandlers = std::map<std::string, ControlHandler, std::less<>>;

class ControlServer {
 public:
  /// Listens on `root`/control.sock, replacing a dead socket there: call it only as the holder of
  /// ROOT's lock.
  static Result<std::unique_ptr<ControlServer>> start(const std::string& root,
                                                      ControlHandlers handlers);
  virtual ~ControlServer() = default;
  /// Refuses new requests, cancels those in progress, waits for their handlers, removes the socket.
  /// Idempotent.
  virtual void stop() = 0;
};

}  // namespace tarn::app
