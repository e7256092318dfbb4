#include "app/control_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "app/control_socket.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/worker_pool.h"

namespace tarn::app {
namespace {

// Commands are typed by people and scripts; 16 at once leaves room for `tarn status` beside long
// ones.
constexpr size_t kConnectionsMax = 16;
constexpr int kBacklog = 64;
// A command that neither reads nor writes for this long must not hold a thread.
constexpr time_t kPeerTimeoutSeconds = 60;
constexpr TimeNs kProgressIntervalNs = 100 * kMillisecondNs;

Result<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
    return last_errno("who connected to the control socket");
  Peer peer;
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;
  peer.groups.resize(NGROUPS_MAX);
  length = static_cast<socklen_t>(peer.groups.size() * sizeof(uint32_t));
  if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &length) != 0)
    return last_errno("groups of who connected to the control socket");
  peer.groups.resize(length / sizeof(uint32_t));
  return peer;
}

class Call final : public ControlCall {
 public:
  Call(int socket, Frame frame, Peer peer, const std::atomic<bool>& is_stopping)
      : socket_(socket),
        frame_(std::move(frame)),
        peer_(std::move(peer)),
        is_stopping_(is_stopping) {
    if (const auto found = frame_.body.find("arguments");
        found != frame_.body.end() && found->is_object())
      arguments_ = *found;
    if (const auto found = frame_.body.find("umask");
        found != frame_.body.end() && found->is_number_unsigned())
      peer_.umask = found->get<uint32_t>() & 0777;
  }

  const Json& arguments() const override { return arguments_; }
  const Peer& peer() const override { return peer_; }
  int descriptor() const override { return frame_.descriptor.get(); }

  Status progress(uint64_t done, uint64_t total) override {
    const TimeNs now = Clock::system().monotonic();
    if (now - last_progress_ < kProgressIntervalNs) return {};
    last_progress_ = now;
    return send_frame(socket_, {{"progress", {{"done", done}, {"total", total}}}});
  }
  Status items(Json array) override { return send_frame(socket_, {{"items", std::move(array)}}); }
  bool is_cancelled() override {
    if (is_stopping_.load(std::memory_order_relaxed)) return true;
    pollfd state{socket_, POLLRDHUP, 0};
    return poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

 private:
  int socket_;
  Frame frame_;
  Peer peer_;
  const std::atomic<bool>& is_stopping_;
  Json arguments_ = Json::object();
  TimeNs last_progress_ = 0;
};

class Server final : public ControlServer {
 public:
  Server(std::string root, ControlHandlers handlers, UniqueFd listener)
      : root_(std::move(root)),
        handlers_(std::move(handlers)),
        listener_(std::move(listener)),
        pool_("control", kConnectionsMax, 1),
        acceptor_([this] { accept_loop(); }) {}
  ~Server() override { stop(); }

  void stop() override {
    if (is_stopping_.exchange(true)) return;
    // Ends accept; the descriptor itself is closed after the thread is gone.
    shutdown(listener_.get(), SHUT_RDWR);
    {
      const MutexLock lock(mutex_);
      for (const int socket : connections_) shutdown(socket, SHUT_RDWR);
    }
    acceptor_.join();
    pool_.stop();
    unlink((root_ + "/control.sock").c_str());
  }

 private:
  void accept_loop() {
    set_thread_name("control-accept");
    while (!is_stopping_.load()) {
      UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket) {
        if (is_stopping_.load()) return;
        if (errno == EINTR || errno == ECONNABORTED) continue;
        log_warn("control.accept", "error={}", last_errno("accept").message());
        // Out of descriptors or memory: trying again at once would only burn a core.
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        continue;
      }
      auto shared = std::make_shared<UniqueFd>(std::move(socket));
      pool_.submit([this, shared] { serve(shared->get()); });
    }
  }

  void serve(int socket) {
    {
      const MutexLock lock(mutex_);
      if (is_stopping_.load()) return;
      connections_.insert(socket);
    }
    const Status ended = serve_requests(socket);
    if (!ended.is_ok()) log_debug("control.end", "error={}", ended.to_string());
    const MutexLock lock(mutex_);
    connections_.erase(socket);
  }

  Status serve_requests(int socket) {
    const timeval timeout{kPeerTimeoutSeconds, 0};
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    TARN_ASSIGN(const Peer peer, peer_of(socket));
    while (!is_stopping_.load()) {
      TARN_ASSIGN(std::optional<Frame> frame, receive_frame(socket));
      if (!frame.has_value()) return {};
      const Result<Json> result = answer(socket, std::move(*frame), peer);
      const Json body = result.is_ok() ? Json{{"result", result.value()}}
                                       : Json{{"error", status_to_json(result.status())}};
      TARN_TRY(send_frame(socket, body));
    }
    return {};
  }

  Result<Json> answer(int socket, Frame frame, const Peer& peer) {
    try {
      const RequestScope scope(frame.body.value("id", ""));
      if (frame.body.value("protocol", 0) != kControlProtocol)
        return Status(Code::kNotSupported,
                      fmt::format("the running program is tarn {} and speaks control protocol {}; "
                                  "use its own `tarn`",
                                  TARN_VERSION, kControlProtocol));
      const std::string command = frame.body.value("command", "");
      const auto handler = handlers_.find(command);
      if (handler == handlers_.end())
        return Status(Code::kNotImplemented,
                      fmt::format("the running program knows no command '{}'", command));
      const TimeNs started = Clock::system().monotonic();
      Call call(socket, std::move(frame), peer, is_stopping_);
      Result<Json> result = handler->second(call);
      log_info("control.request", "command={} uid={} pid={} ms={} outcome={}", command, peer.uid,
               peer.pid, (Clock::system().monotonic() - started) / kMillisecondNs,
               code_name(result.code()));
      return result;
    } catch (const Json::exception& error) {
      return Status(Code::kInvalidArgument,
                    fmt::format("the request is not understood: {}", error.what()));
    }
  }

  const std::string root_;
  const ControlHandlers handlers_;
  const UniqueFd listener_;
  std::atomic<bool> is_stopping_ = false;
  Mutex mutex_{"app.control.connections", 5};
  std::set<int> connections_;  // guarded by mutex_; open as long as they stand here
  WorkerPool pool_;
  std::thread acceptor_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& root,
                                                            ControlHandlers handlers) {
  TARN_ASSIGN(const UniqueFd directory, open_at(AT_FDCWD, root, O_PATH | O_DIRECTORY));
  if (unlinkat(directory.get(), "control.sock", 0) != 0 && errno != ENOENT)
    return last_errno(fmt::format("remove the old '{}/control.sock'", root));
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener) return last_errno("socket");
  const sockaddr_un address = control_address(directory.get());
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return last_errno(fmt::format("bind '{}/control.sock'", root));
  // Before listen: nobody can have connected under another mode.
  if (fchmodat(directory.get(), "control.sock", 0600, 0) != 0)
    return last_errno(fmt::format("chmod '{}/control.sock'", root));
  if (listen(listener.get(), kBacklog) != 0)
    return last_errno(fmt::format("listen on '{}/control.sock'", root));
  return std::unique_ptr<ControlServer>(
      std::make_unique<Server>(root, std::move(handlers), std::move(listener)));
}

}  // namespace tarn::app
