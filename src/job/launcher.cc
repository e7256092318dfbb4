#include "job/launcher.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include <fmt/format.h>

#include "base/file.h"
#include "job/sandbox.h"

namespace tarn::job {
namespace {

// Hyper-parameters, environment and mounts at the API's limits stay below a megabyte.
constexpr size_t kPlanBytesMax = size_t{16} << 20;

void report(const std::string& line) {
  // The worker learns of a lost line by the end of the pipe.
  static_cast<void>(write_all(kStatusFd, as_bytes(line + "\n")));
}

int refuse(const Status& status) {
  report("E " + std::string(status.message()));
  return 1;
}

Status die_with_parent(pid_t parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return last_errno("set the death signal");
  if (parent != 0 && getppid() != parent)
    return {Code::kInterrupted, "the worker that started the job is gone"};
  return {};
}

sigset_t handled_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGCHLD, SIGUSR1}) sigaddset(&set, signal);
  return set;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

/// The program's process; returns only when it could not become the program.
Status become_program(LaunchPlan& plan) {
  setsid();
  TARN_TRY(drop_privileges(plan));
  if (chdir(plan.working_directory.c_str()) != 0)
    return last_errno(fmt::format("change to '{}'", plan.working_directory));
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  std::signal(SIGPIPE, SIG_DFL);
  if (fcntl(kStatusFd, F_SETFD, FD_CLOEXEC) != 0) return last_errno("set close-on-exec");
  close_range(kStatusFd + 1, ~0u, 0);
  std::vector<char*> argv = pointers(plan.argv), environment = pointers(plan.environment);
  report("S");
  execve(argv[0], argv.data(), environment.data());
  return last_errno(fmt::format("run '{}'", plan.argv[0]));
}

/// Process 1 of the job.
int run_init(LaunchPlan& plan) {
  // A parent outside of this PID namespace shows as 0, so its death before this line is told by
  // the pipe's other end alone; the kernel ends the namespace with the launcher in either case.
  if (const Status status = die_with_parent(0); !status.is_ok()) return refuse(status);
  mount_proc();
  const pid_t program = fork();
  if (program < 0) return refuse(last_errno("start the job's program"));
  if (program == 0) {
    const Status failed = become_program(plan);
    _exit(refuse(failed));
  }
  const sigset_t signals = handled_signals();
  while (true) {
    const int signal = sigwaitinfo(&signals, nullptr);
    if (signal == SIGTERM) kill(program, SIGTERM);
    if (signal != SIGCHLD) continue;
    int status = 0;
    for (pid_t dead; (dead = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (dead != program) continue;
      report(WIFSIGNALED(status) ? fmt::format("K {}", WTERMSIG(status))
                                 : fmt::format("X {}", WEXITSTATUS(status)));
      // The kernel kills whatever the program left.
      return 0;
    }
  }
}

Result<LaunchPlan> read_plan() {
  struct stat info{};
  if (fstat(kPlanFd, &info) != 0) return last_errno("find the job's plan");
  if (info.st_size < 0 || static_cast<size_t>(info.st_size) > kPlanBytesMax)
    return Status(Code::kFileTooLarge, fmt::format("a job's plan has at most {} bytes, this has {}",
                                                   kPlanBytesMax, info.st_size));
  std::string text(static_cast<size_t>(info.st_size), '\0');
  TARN_TRY(read_exactly_at(kPlanFd, 0, std::as_writable_bytes(std::span(text))));
  close(kPlanFd);
  return decode_launch_plan(text);
}

}  // namespace

int run_launcher() {
  auto plan = read_plan();
  if (!plan.is_ok()) return refuse(plan.status());
  if (const Status status = die_with_parent(plan->parent); !status.is_ok()) return refuse(status);
  const sigset_t signals = handled_signals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  if (const Status status = enter_sandbox(*plan); !status.is_ok()) return refuse(status);
  const pid_t init = fork();
  if (init < 0) return refuse(last_errno("start the job's process 1"));
  if (init == 0) _exit(run_init(*plan));
  // The pipe shall end with process 1, not with this process.
  close(kStatusFd);
  while (true) {
    const int signal = sigwaitinfo(&signals, nullptr);
    if (signal == SIGTERM) kill(init, SIGTERM);
    if (signal == SIGUSR1) kill(init, SIGKILL);
    if (signal == SIGCHLD && waitpid(init, nullptr, WNOHANG) == init) return 0;
  }
}

}  // namespace tarn::job
