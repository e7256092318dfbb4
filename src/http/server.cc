#include "http/server.h"

#include <netdb.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <unordered_map>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/worker_pool.h"
#include "http/connection.h"
#include "http/hash.h"

namespace tarn::http {
namespace {

constexpr int kBacklog = 512;
constexpr int kTickMs = 1000;

Result<UniqueFd> listen_on(const ListenAddress& address) {
  const std::string host = address.host.empty() ? "127.0.0.1" : address.host;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      ::getaddrinfo(host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) {
    return Status(Code::kInvalidArgument,
                  fmt::format("cannot listen on '{}': {}", host, ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> guard(found, &::freeaddrinfo);
  UniqueFd socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return last_errno("socket");
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    const std::string text = fmt::format("listen on {}:{}", host, address.port);
    if (errno == EADDRINUSE) return Status(Code::kBusy, text + ": the port is in use");
    return last_errno(text);
  }
  return socket;
}

uint16_t port_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
  uint16_t port = 0;  // at the same place for IPv4 and IPv6
  std::memcpy(&port, reinterpret_cast<char*>(&address) + 2, sizeof port);
  return ntohs(port);
}

class ServerImpl final : public Server {
 public:
  ServerImpl(ServerOptions options, Handler& handler)
      : options_(std::move(options)),
        handler_(handler),
        pool_("http", options_.threads, options_.connections_max + 16) {}
  ~ServerImpl() override { stop(); }

  Status open() {
    epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!epoll_ || !wake_) return last_errno("epoll_create1");
    for (const ListenAddress& address : options_.addresses) {
      TARN_ASSIGN(UniqueFd socket, listen_on(address));
      ports_.push_back(port_of(socket.get()));
      listeners_.push_back(std::move(socket));
    }
    for (const UniqueFd& listener : listeners_) watch(listener.get(), EPOLLIN, EPOLL_CTL_ADD);
    watch(wake_.get(), EPOLLIN, EPOLL_CTL_ADD);
    poller_ = std::thread([this] { poll_loop(); });
    return {};
  }

  uint16_t port(size_t index) const override { return ports_.at(index); }

  void stop() override {
    if (is_stopping_.exchange(true)) return;
    const uint64_t one = 1;
    if (::write(wake_.get(), &one, sizeof one) < 0) log_warn("http.stop", "eventfd: {}", errno);
    if (poller_.joinable()) poller_.join();
    const TimeNs deadline = Clock::system().monotonic() + options_.stop_timeout_s * kSecondNs;
    while (busy_.load() > 0 && Clock::system().monotonic() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      // Clients that merely keep the connection open are not waited for.
      MutexLock lock(mutex_);
      for (auto& [fd, connection] : connections_) {
        if (!connection->is_in_request()) connection->transport().shut_down();
      }
    }
    {
      MutexLock lock(mutex_);
      for (auto& [fd, connection] : connections_) connection->transport().shut_down();
    }
    pool_.stop();
    MutexLock lock(mutex_);
    connections_.clear();
  }

 private:
  void watch(int fd, uint32_t events, int operation) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_.get(), operation, fd, &event) != 0) {
      log_warn("http.epoll", "fd={} errno={}", fd, errno);
    }
  }

  void poll_loop() {
    set_thread_name("http-poll");
    std::array<epoll_event, 64> events;
    TimeNs swept = Clock::system().monotonic();
    while (!is_stopping_.load()) {
      const int n = ::epoll_wait(epoll_.get(), events.data(), events.size(), kTickMs);
      for (int i = 0; i < n; ++i) {
        const int fd = events[static_cast<size_t>(i)].data.fd;
        bool is_listener = false;
        for (size_t j = 0; j < listeners_.size(); ++j) {
          if (listeners_[j].get() != fd) continue;
          is_listener = true;
          accept_all(j);
        }
        if (!is_listener && fd != wake_.get()) dispatch(fd);
      }
      const TimeNs now = Clock::system().monotonic();
      if (now - swept > kSecondNs) {
        sweep(now);
        swept = now;
      }
    }
    for (UniqueFd& listener : listeners_) listener.reset();
  }

  void accept_all(size_t index) {
    while (true) {
      UniqueFd socket(::accept4(listeners_[index].get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket) return;
      const int fd = socket.get();
      set_timeouts(fd, options_.progress_timeout_s);
      const auto& tls = options_.addresses[index].tls;
      auto transport = tls ? tls->wrap(std::move(socket)) : make_plain_transport(std::move(socket));
      {
        MutexLock lock(mutex_);
        if (connections_.size() >= options_.connections_max) {
          log_warn("http.full", "connections={}", connections_.size());
          continue;  // closes it
        }
        connections_[fd] = std::make_shared<Connection>(std::move(transport), tls != nullptr,
                                                        options_, handler_, is_stopping_);
      }
      watch(fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, EPOLL_CTL_ADD);
    }
  }

  void dispatch(int fd) {
    std::shared_ptr<Connection> connection;
    {
      MutexLock lock(mutex_);
      auto it = connections_.find(fd);
      if (it == connections_.end()) return;
      connection = it->second;
    }
    connection->set_idle_since(0);
    busy_.fetch_add(1);
    const bool is_taken = pool_.submit([this, fd, connection = std::move(connection)] {
      // With threads to spare a thread may wait for this client's next request itself.
      const bool may_linger = busy_.load() * 2 <= options_.threads;
      if (connection->serve(may_linger)) {
        connection->set_idle_since(Clock::system().monotonic());
        watch(fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, EPOLL_CTL_MOD);
      } else {
        drop(fd);
      }
      busy_.fetch_sub(1);
    });
    if (!is_taken) busy_.fetch_sub(1);
  }

  void drop(int fd) {
    std::shared_ptr<Connection> dropped;
    MutexLock lock(mutex_);
    auto it = connections_.find(fd);
    if (it == connections_.end()) return;
    // The descriptor closes with the last reference, which may be the caller's; its number must not
    // be found under the old connection by then.
    dropped = std::move(it->second);
    connections_.erase(it);
  }

  void sweep(TimeNs now) {
    std::vector<std::shared_ptr<Connection>> late;
    {
      MutexLock lock(mutex_);
      for (auto& [fd, connection] : connections_) {
        const TimeNs since = connection->idle_since();
        if (since != 0 && now - since > options_.idle_timeout_s * kSecondNs) {
          late.push_back(connection);
        }
      }
    }
    // epoll then reports it, and the worker that finds it closed drops it.
    for (auto& connection : late) connection->transport().shut_down();
  }

  const ServerOptions options_;
  Handler& handler_;
  UniqueFd epoll_, wake_;
  std::vector<UniqueFd> listeners_;
  std::vector<uint16_t> ports_;
  std::atomic<bool> is_stopping_{false};
  std::atomic<size_t> busy_{0};
  Mutex mutex_{"http.connections", 905};
  std::unordered_map<int, std::shared_ptr<Connection>> connections_;
  WorkerPool pool_;
  std::thread poller_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Handler& handler) {
  auto server = std::make_unique<ServerImpl>(std::move(options), handler);
  TARN_TRY(server->open());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace tarn::http
