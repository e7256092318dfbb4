#include "mount/session.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/log.h"

namespace tarn::mount {

size_t default_queues() {
  return std::clamp<size_t>(2 * std::thread::hardware_concurrency(), 4, 32);
}

Result<std::unique_ptr<Session>> Session::create(SessionOptions options, SharedState& shared) {
  if (options.fds.empty()) {
    return Status(Code::kInvalidArgument, "a session needs a descriptor of /dev/fuse");
  }
  UniqueFd ended(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ended) return last_errno("eventfd");
  int fuse_fd = options.fds[0].get();
  TARN_ASSIGN(auto channel, make_classic_channel(std::move(options.fds)));
  return std::unique_ptr<Session>(
      new Session(std::move(channel), shared, std::move(options), fuse_fd, std::move(ended)));
}

Session::Session(std::unique_ptr<Channel> channel, SharedState& shared, SessionOptions options,
                 int fuse_fd, UniqueFd ended)
    : options_(std::move(options)),
      shared_(shared),
      channel_(std::move(channel)),
      passthrough_(std::make_unique<Passthrough>(fuse_fd, *shared)),
      ended_(std::move(ended)) {}

Session::~Session() {
  stop();
}

Status Session::start(fs::FileSystem& file_system) {
  file_system_ = &file_system;
  DispatcherOptions options;
  options.validity = options_.validity;
  options.connection = shared_->connection;
  options.pool_threads = options_.pool_threads;
  options.has_setxattr_ext = shared_->negotiated.has(wire::init::kSetxattrExt);
  dispatcher_ = std::make_unique<Dispatcher>(file_system, *channel_, options);
  notifier_ = std::make_unique<Notifier>(*channel_, shared_->connection);
  file_system.set_invalidator(notifier_.get());
  if (options_.is_take_over) {
    // Every clone hears again what any reader of the connection had in hand. Before the first of
    // ours reads: the kernel would also send again what a living reader has just taken, and that
    // request would be carried out twice.
    TARN_TRY(channel_->notify(wire::Notify::kResend, {}).with_context("FUSE_NOTIFY_RESEND"));
  }
  for (size_t i = 0; i < channel_->queues(); ++i) {
    threads_.emplace_back([this, i] {
      set_thread_name(fmt::format("tarn-fuse-{}", i));
      serve(channel_->queue(i));
    });
  }
  ++shared_->worker_starts;
  log_info("mount.serving", "queues={} take_over={} {}", channel_->queues(), options_.is_take_over,
           describe(shared_->negotiated));
  return Status::ok();
}

void Session::serve(Queue& queue) {
  for (;;) {
    auto message = queue.receive();
    if (message.is_ok()) {
      dispatcher_->handle(queue, *message);
      continue;
    }
    if (message.is(Code::kInterrupted)) return;
    if (!message.is(Code::kUnavailable)) {
      log_error("mount.receive", "status=\"{}\"", message.status().to_string());
    }
    uint64_t one = 1;
    if (write(ended_.get(), &one, sizeof one) < 0) {
      log_error("mount.ended", "status=\"{}\"", last_errno("eventfd").to_string());
    }
    return;
  }
}

void Session::stop() {
  if (dispatcher_ == nullptr) return;
  channel_->wake();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  threads_.clear();
  dispatcher_->drain();
  if (file_system_ == nullptr) return;
  file_system_->set_invalidator(nullptr);
  file_system_ = nullptr;
  // It stays until the session ends: the file system's own threads may be calling it now.
  notifier_->stop();
}

Session::Report Session::report() const {
  Report report;
  report.channel = channel_->name();
  report.queues = channel_->queues();
  report.negotiated = describe(shared_->negotiated);
  auto mode = passthrough_->mode();
  report.is_passthrough_on = mode.is_on;
  report.passthrough_reason = mode.reason;
  report.is_resend_on = shared_->negotiated.has(wire::init::kHasResend);
  report.worker_starts = shared_->worker_starts;
  if (dispatcher_ != nullptr) report.requests = dispatcher_->statistics();
  return report;
}

}  // namespace tarn::mount
