#include "pipeline/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include <fmt/format.h>

#include "base/file.h"

namespace tarn::pipeline {
namespace {

constexpr size_t kOutputBytesMax = size_t{4} << 20;
constexpr size_t kMessageBytesMax = 4000;

struct Pipe {
  UniqueFd reader, writer;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return last_errno("pipe2");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<pid_t> start(const Command& command, int out, int err) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  const int error =
      posix_spawnp(&pid, command.front().c_str(), &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return errno_status(error, fmt::format("start '{}'", command.front()));
  return pid;
}

/// Appends what is there; false at the end.
bool read_some(int fd, std::string& text, size_t bytes_max) {
  std::array<char, 65536> buffer;
  const ssize_t count = read(fd, buffer.data(), buffer.size());
  if (count < 0) return errno == EINTR;
  text.append(buffer.data(), static_cast<size_t>(count));
  if (text.size() > bytes_max) text.erase(0, text.size() - bytes_max);
  return count > 0;
}

std::string shown(const Command& command) {
  std::string text;
  for (const std::string& word : command) text += (text.empty() ? "" : " ") + word;
  return text;
}

void note_lines(TimedRun& run, TimeNs now) {
  const size_t first = run.output.find('\n');
  if (run.second_line != 0 || first == std::string::npos) return;
  if (run.first_line == 0) {
    run.first_line = now;
    run.usage_first_line = usage_now();
  }
  if (run.output.find('\n', first + 1) == std::string::npos) return;
  run.second_line = now;
  run.usage_second_line = usage_now();
}

/// Reads both pipes to their ends; false when the time is up.
bool drain(Pipe& out, Pipe& err, TimeNs began, uint64_t seconds_max, TimedRun& run,
           std::string& messages) {
  Clock& clock = Clock::system();
  std::array<pollfd, 2> fds{pollfd{out.reader.get(), POLLIN, 0},
                            pollfd{err.reader.get(), POLLIN, 0}};
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    if (poll(fds.data(), fds.size(), 1000) < 0 && errno != EINTR) return false;
    const TimeNs now = clock.monotonic() - began;
    if (now > static_cast<TimeNs>(seconds_max) * kSecondNs) return false;
    if (fds[0].revents != 0) {
      if (!read_some(fds[0].fd, run.output, kOutputBytesMax)) fds[0].fd = -1;
      note_lines(run, now);
    }
    if (fds[1].revents != 0 && !read_some(fds[1].fd, messages, kMessageBytesMax)) fds[1].fd = -1;
    fds[0].revents = fds[1].revents = 0;
  }
  return true;
}

}  // namespace

Result<TimedRun> run_timed(const Command& command, uint64_t seconds_max) {
  TARN_ASSIGN(Pipe out, make_pipe());
  TARN_ASSIGN(Pipe err, make_pipe());
  TimedRun run;
  std::string messages;
  run.usage_began = usage_now();
  const TimeNs began = Clock::system().monotonic();
  TARN_ASSIGN(const pid_t pid, start(command, out.writer.get(), err.writer.get()));
  out.writer.reset();
  err.writer.reset();
  const bool is_in_time = drain(out, err, began, seconds_max, run, messages);
  if (!is_in_time) kill(-pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return last_errno("waitpid");
  }
  run.took = Clock::system().monotonic() - began;
  run.usage_ended = usage_now();
  if (run.first_line == 0) {
    run.first_line = run.took;
    run.usage_first_line = run.usage_ended;
  }
  if (run.second_line == 0) {
    run.second_line = run.took;
    run.usage_second_line = run.usage_ended;
  }
  if (is_in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0) return run;
  std::string how = !is_in_time ? fmt::format("was killed after {} s", seconds_max)
                    : WIFSIGNALED(status)
                        ? fmt::format("was killed by signal {}", WTERMSIG(status))
                        : fmt::format("ended with status {}", WEXITSTATUS(status));
  if (run.output.size() > kMessageBytesMax)
    run.output.erase(0, run.output.size() - kMessageBytesMax);
  return Status(Code::kInternal,
                fmt::format("'{}' {}: {}{}", shown(command), how, messages, run.output));
}

}  // namespace tarn::pipeline
