#include "job/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <thread>

#include "base/check.h"
#include "base/clock.h"
#include "job/launcher.h"

namespace tarn::job {
namespace {

// A launcher kills and reaps in milliseconds; after this long it is killed itself.
constexpr TimeNs kFinishNs = 10 * kSecondNs;

struct Pipe {
  UniqueFd read, write;
};
Result<Pipe> make_pipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return last_errno("make a pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<UniqueFd> write_plan(const LaunchPlan& plan) {
  UniqueFd file(memfd_create("tarn-job-plan", MFD_CLOEXEC));
  if (!file) return last_errno("make a file for the job's plan");
  const std::string text = encode(plan);
  TARN_TRY(write_all(file.get(), as_bytes(text)));
  return file;
}

/// Above every descriptor that the child gets, so that no dup2 overwrites another's source.
Result<UniqueFd> move_high(UniqueFd fd) {
  UniqueFd high(fcntl(fd.get(), F_DUPFD_CLOEXEC, 64));
  if (!high) return last_errno("duplicate a descriptor");
  return high;
}

}  // namespace

Result<std::unique_ptr<Process>> Process::start(const std::string& launcher, LaunchPlan plan) {
  plan.parent = getpid();
  TARN_ASSIGN(UniqueFd plan_file, write_plan(plan));
  TARN_ASSIGN(plan_file, move_high(std::move(plan_file)));
  TARN_ASSIGN(Pipe log, make_pipe());
  TARN_ASSIGN(Pipe status, make_pipe());
  TARN_ASSIGN(log.write, move_high(std::move(log.write)));
  TARN_ASSIGN(status.write, move_high(std::move(status.write)));
  for (const int fd : {log.read.get(), status.read.get()})
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return last_errno("make a pipe non-blocking");

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, log.write.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, log.write.get(), 2);
  posix_spawn_file_actions_adddup2(&actions, plan_file.get(), kPlanFd);
  posix_spawn_file_actions_adddup2(&actions, status.write.get(), kStatusFd);
  posix_spawn_file_actions_addclosefrom_np(&actions, kStatusFd + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigfillset(&defaults);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string name = "tarn", command = kLauncherCommand;
  char* argv[] = {name.data(), command.data(), nullptr};
  char* environment[] = {nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, launcher.c_str(), &actions, &attributes, argv, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return errno_status(error, "start the launcher of the job");
  return std::unique_ptr<Process>(new Process(pid, std::move(log.read), std::move(status.read)));
}

Process::~Process() {
  DCHECK(launcher_ == 0);
}

void Process::terminate() {
  if (launcher_ != 0) kill(launcher_, SIGTERM);
}

void Process::kill_all() {
  if (launcher_ != 0) kill(launcher_, SIGUSR1);
}

bool Process::read_status() {
  char buffer[4096];
  while (true) {
    const ssize_t got = read(status_.get(), buffer, sizeof buffer);
    if (got > 0) {
      said_.append(buffer, static_cast<size_t>(got));
    } else if (got == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
  }
}

Ending Process::finish() {
  kill_all();
  const TimeNs deadline = Clock::system().monotonic() + kFinishNs;
  while (waitpid(launcher_, nullptr, WNOHANG) == 0) {
    if (Clock::system().monotonic() > deadline) {
      kill(launcher_, SIGKILL);
      waitpid(launcher_, nullptr, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  launcher_ = 0;
  read_status();
  Ending ending;
  for (size_t begin = 0; begin < said_.size();) {
    const size_t end = std::min(said_.find('\n', begin), said_.size());
    const std::string_view line = std::string_view(said_).substr(begin, end - begin);
    begin = end + 1;
    if (line.size() < 3) continue;
    const std::string_view rest = line.substr(2);
    if (line[0] == 'E') return {Ending::Kind::kNotStarted, 0, std::string(rest)};
    if (line[0] != 'X' && line[0] != 'K') continue;
    ending.kind = line[0] == 'X' ? Ending::Kind::kExited : Ending::Kind::kKilled;
    std::from_chars(rest.data(), rest.data() + rest.size(), ending.value);
  }
  return ending;
}

}  // namespace tarn::job
