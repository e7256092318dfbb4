// Transport: one connected socket, plain or TLS, with time-outs on every wait.
//
// Calls block, but never longer than the time-out without progress (then kTimedOut). Thread rules:
// one thread at a time; `shut_down` from any.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/file.h"

namespace tarn::http {

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int fd() const = 0;
  /// Before the first byte: the TLS handshake. `kAgain` never.
  virtual Status accept() = 0;
  /// At least one byte; 0 when the peer has closed.
  virtual Result<size_t> receive(std::span<std::byte> out) = 0;
  /// All of it. `more`: other bytes follow at once.
  virtual Status send(std::span<const std::byte> bytes, bool more) = 0;
  virtual Status send_file(int file, uint64_t offset, uint64_t length) = 0;
  /// Bytes that were received from the kernel and not yet by receive.
  virtual bool has_pending() const = 0;
  /// Tells the peer that nothing more comes.
  virtual void finish() = 0;
  /// Ends both directions; a waiting call returns.
  void shut_down();
};

/// Certificate and key of a listener. Shared by its connections.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  virtual std::unique_ptr<Transport> wrap(UniqueFd socket) = 0;
  /// PEM files. kInvalidArgument names what is wrong with them.
  static Result<std::shared_ptr<TlsContext>> open(const std::string& certificate_file,
                                                  const std::string& key_file);
};

/// `timeout_s` without progress ends a call.
void set_timeouts(int socket, int timeout_s);
std::unique_ptr<Transport> make_plain_transport(UniqueFd socket);

}  // namespace tarn::http
