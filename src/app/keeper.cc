#include "app/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "app/keeper_link.h"
#include "base/log.h"
#include "mount/classic_channel.h"
#include "mount/shared_state.h"

namespace tarn::app {
namespace {

constexpr TimeNs kBackOffFirst = 100 * kMillisecondNs;
constexpr TimeNs kBackOffMax = 5 * kSecondNs;

class Keeper {
 public:
  explicit Keeper(const KeeperOptions& options) : options_(options) {}
  Status prepare();
  void give_mount_back() {
    if (mount_) static_cast<void>(mount_->unmount());
  }
  int run();

 private:
  Status start_worker();
  [[noreturn]] void become_worker(const WorkerInheritance& inheritance, pid_t keeper);
  void on_signal();
  void on_worker_end(int status);
  void on_control();
  void on_kept();
  void begin_end(int code);
  void kill_worker();

  const KeeperOptions& options_;
  std::optional<mount::MountPoint> mount_;
  std::optional<mount::SharedState> state_;
  std::vector<UniqueFd> clones_;
  UniqueFd handles_, signals_;
  sigset_t old_mask_{};

  pid_t worker_ = 0;
  UniqueFd control_, kept_socket_;
  KeptStore kept_;
  bool was_ready_ = false, is_ending_ = false;
  uint64_t starts_ = 0;
  int exit_code_ = 0;
  TimeNs next_start_ = 0, end_deadline_ = 0;
  std::vector<TimeNs> deaths_;
};

Status Keeper::prepare() {
  sigset_t mask;
  sigemptyset(&mask);
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&mask, signal);
  sigprocmask(SIG_BLOCK, &mask, &old_mask_);
  signals_.reset(signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return last_errno("signalfd");
  handles_.reset(memfd_create("tarn-handles", MFD_CLOEXEC));
  if (!handles_) return last_errno("memfd_create for the handle table");
  TARN_ASSIGN(auto state, mount::SharedState::create());
  state_.emplace(std::move(state));
  if (!options_.mount) return Status::ok();

  TARN_ASSIGN(auto mount, mount::MountPoint::mount(*options_.mount));
  mount_.emplace(std::move(mount));
  TARN_ASSIGN((*state_)->negotiated, mount::negotiate(mount_->fd(), options_.init));
  (*state_)->is_mounted = 1;
  for (size_t i = 0; i < std::clamp<size_t>(options_.queues, 1, mount::kQueuesMax); ++i) {
    auto clone = mount::clone_device(mount_->fd());
    if (!clone.is_ok()) {
      log_warn("keeper.clone", "status=\"{}\"", clone.status().to_string());
      break;
    }
    clones_.push_back(std::move(clone).value());
  }
  // Without clones the mounted descriptor itself serves, with one reader.
  if (clones_.empty()) clones_.push_back(std::move(mount_->fd_owner()));
  if (Status raised = mount_->set_read_ahead(options_.read_ahead_kib); !raised.is_ok()) {
    log_info("keeper.read_ahead", "status=\"{}\"", raised.to_string());
  }
  return Status::ok();
}

Status Keeper::start_worker() {
  int control[2], kept[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0) {
    return last_errno("socketpair");
  }
  control_.reset(control[0]);
  UniqueFd worker_control(control[1]);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, kept) != 0) {
    return last_errno("socketpair");
  }
  kept_socket_.reset(kept[0]);
  UniqueFd worker_kept(kept[1]);
  // A worker that asks and does not listen must not stop the keeper.
  timeval patience{5, 0};
  setsockopt(kept[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);

  WorkerInheritance inheritance;
  for (const UniqueFd& clone : clones_) inheritance.fuse_fds.push_back(clone.get());
  inheritance.state_fd = state_->fd();
  inheritance.handles_fd = handles_.get();
  inheritance.control_fd = worker_control.get();
  inheritance.kept_fd = worker_kept.get();
  inheritance.is_take_over = starts_ > 0;
  pid_t keeper = getpid();
  worker_ = fork();
  if (worker_ < 0) {
    worker_ = 0;
    return last_errno("fork for the worker");
  }
  if (worker_ == 0) become_worker(inheritance, keeper);
  ++starts_;
  log_info("keeper.worker_started", "pid={} take_over={}", worker_, inheritance.is_take_over);
  return Status::ok();
}

void Keeper::become_worker(const WorkerInheritance& inheritance, pid_t keeper) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != keeper) _exit(1);
  // A group of its own: Ctrl-C in a terminal is for the keeper, which ends things in order.
  setpgid(0, 0);
  sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
  // A kill point is for one worker, not for all that follow it.
  if (inheritance.is_take_over) unsetenv("TARN_KILL_POINT");
  unsetenv("NOTIFY_SOCKET");
  for (int fd : inheritance.fuse_fds) fcntl(fd, F_SETFD, 0);
  for (int fd : {inheritance.state_fd, inheritance.handles_fd, inheritance.control_fd,
                 inheritance.kept_fd}) {
    fcntl(fd, F_SETFD, 0);
  }
  std::vector<std::string> words{"tarn"};
  words.insert(words.end(), options_.worker_arguments.begin(), options_.worker_arguments.end());
  words.push_back(inheritance.encode());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv("/proc/self/exe", argv.data());
  _exit(127);
}

void Keeper::begin_end(int code) {
  if (is_ending_) {
    kill_worker();
    return;
  }
  is_ending_ = true;
  exit_code_ = code;
  end_deadline_ = Clock::system().monotonic() + options_.end_patience;
  notify_manager("STOPPING=1");
  // The tree first, while the worker still answers: who is in the middle of something finishes.
  if (mount_) {
    auto result = mount_->unmount();
    if (!result.is_ok()) {
      log_error("keeper.unmount", "status=\"{}\"", result.status().to_string());
      exit_code_ = 1;
    } else if (*result == mount::MountPoint::Unmounted::kDetached) {
      log_info("keeper.detached", "dir=\"{}\"", mount_->directory());
    }
  }
  if (worker_ == 0) return;
  if (!send_link(control_.get(), LinkKind::kEnd).is_ok()) kill_worker();
}

void Keeper::kill_worker() {
  if (worker_ != 0) kill(worker_, SIGKILL);
}

void Keeper::on_worker_end(int status) {
  std::string how = WIFEXITED(status) ? fmt::format("exit={}", WEXITSTATUS(status))
                                      : fmt::format("signal={}", WTERMSIG(status));
  log_line(is_ending_ ? LogLevel::kInfo : LogLevel::kWarn, "keeper.worker_ended", "pid={} {}",
           worker_, how);
  worker_ = 0;
  if (is_ending_) {
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) exit_code_ = 1;
    return;
  }
  if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || !was_ready_)) {
    // It ended by its own will (unmounted by hand), or never could begin.
    begin_end(WEXITSTATUS(status));
    return;
  }
  TimeNs now = Clock::system().monotonic();
  std::erase_if(deaths_, [&](TimeNs at) { return now - at > options_.restart_window; });
  deaths_.push_back(now);
  bool can_resend = !mount_ || (*state_)->negotiated.has(mount::wire::init::kHasResend);
  if (!was_ready_ || deaths_.size() > options_.restarts_max || !can_resend) {
    log_error("keeper.gave_up", "deaths={} window_s={} can_take_over={}", deaths_.size(),
              options_.restart_window / kSecondNs, can_resend);
    begin_end(1);
    return;
  }
  TimeNs wait = deaths_.size() < 2 ? 0 : kBackOffFirst << std::min<size_t>(deaths_.size() - 2, 6);
  next_start_ = now + std::min(wait, kBackOffMax);
}

void Keeper::on_signal() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof info) == ssize_t{sizeof info}) {
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) begin_end(0);
  }
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid == worker_) on_worker_end(status);
  }
}

void Keeper::on_control() {
  auto message = receive_link(control_.get());
  if (!message.is_ok()) {
    control_.reset();  // its end comes as a signal
    return;
  }
  if (message->kind != LinkKind::kReady || was_ready_) return;
  was_ready_ = true;
  std::printf("%s\n", message->text.c_str());
  std::fflush(stdout);
  notify_manager(fmt::format("READY=1\nSTATUS={}\n", message->text));
}

void Keeper::on_kept() {
  if (!kept_.serve(kept_socket_.get()).is_ok()) kept_socket_.reset();
}

int Keeper::run() {
  for (;;) {
    TimeNs now = Clock::system().monotonic();
    if (is_ending_ && worker_ == 0) return exit_code_;
    if (is_ending_ && now >= end_deadline_) kill_worker();
    if (!is_ending_ && worker_ == 0 && now >= next_start_) {
      if (Status started = start_worker(); !started.is_ok()) {
        log_error("keeper.start", "status=\"{}\"", started.to_string());
        begin_end(1);
        continue;
      }
    }
    TimeNs until = is_ending_ ? end_deadline_ : worker_ == 0 ? next_start_ : now + kSecondNs * 3600;
    int wait_ms =
        static_cast<int>(std::clamp<TimeNs>((until - now) / kMillisecondNs + 1, 1, 3'600'000));
    pollfd waits[3] = {
        {signals_.get(), POLLIN, 0}, {control_.get(), POLLIN, 0}, {kept_socket_.get(), POLLIN, 0}};
    if (poll(waits, 3, wait_ms) < 0 && errno != EINTR) {
      log_error("keeper.poll", "status=\"{}\"", last_errno("poll").to_string());
      return 1;
    }
    if (waits[1].revents != 0) on_control();
    if (waits[2].revents != 0) on_kept();
    if (waits[0].revents != 0) on_signal();
  }
}

}  // namespace

int run_keeper(const KeeperOptions& options) {
  Keeper keeper(options);
  if (Status prepared = keeper.prepare(); !prepared.is_ok()) {
    keeper.give_mount_back();
    std::fprintf(stderr, "tarn: %s\n", prepared.to_string().c_str());
    return 1;
  }
  return keeper.run();
}

}  // namespace tarn::app
