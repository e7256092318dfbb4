// A command's side of ROOT/control.sock.
//
// `connect`, then `call`, any number of times. Errors of the running program arrive as its Status;
// kUnavailable means that nobody answers there (exit code 3). Belongs to one thread.
#pragma once

#include <functional>
#include <string>

#include "app/control_protocol.h"

namespace tarn::app {

class ControlClient {
 public:
  /// kUnavailable when no Tarn runs on `root`, kAccessDenied when it is another user's.
  static Result<ControlClient> connect(const std::string& root);

  struct Observer {
    std::function<void(uint64_t done, uint64_t total)> progress;  // may be empty
    std::function<void(const Json& array)> items;                 // may be empty
  };
  /// Runs `command` there and returns its result. `descriptor` goes along when it is not -1.
  Result<Json> call(const std::string& command, Json arguments, const Observer& observer = {},
                    int descriptor = -1);

 private:
  explicit ControlClient(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
  unsigned calls_ = 0;
};

}  // namespace tarn::app
