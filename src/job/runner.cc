#include "job/runner.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/log.h"
#include "job/remove_tree.h"
#include "job/run.h"

namespace tarn::job {

using registry::JobPhase;
using registry::TrainingJob;

namespace {

void wake(const JobControl& control) {
  const uint64_t one = 1;
  // It can only fail when the counter is full, and then it is readable anyway.
  if (write(control.wake_fd, &one, sizeof one) < 0) return;
}

}  // namespace

Runner::Running::~Running() {
  if (thread.joinable()) thread.join();
  if (control.wake_fd >= 0) ::close(control.wake_fd);
}

Result<std::unique_ptr<Runner>> Runner::open(fs::FileSystem& file_system,
                                             registry::Registry& registry, RunnerOptions options) {
  std::unique_ptr<Runner> runner(new Runner(file_system, registry, std::move(options)));
  const std::string& root = runner->options_.root_directory;
  TARN_TRY(make_directories(root + "/log/jobs", 0700));
  TARN_TRY(runner->fail_left_over());
  // The mounts of a dead job went with its namespace, so this is all on this disk.
  if (const Status removed = remove_tree(root + "/jobs"); !removed.is_ok())
    log_warn("job.scratch", "error=\"{}\"", removed.message());
  TARN_TRY(make_directories(root + "/jobs", 0700));
  return runner;
}

Runner::~Runner() {
  close();
}

Status Runner::fail_left_over() {
  TARN_ASSIGN(const auto jobs, registry_.training_jobs());
  for (const TrainingJob& job : jobs) {
    if (has_ended(job.state)) continue;
    TARN_TRY(registry_
                 .update(job.name,
                         [](TrainingJob& left) {
                           left.failure_reason = fmt::format(
                               "InternalServerError: Tarn's worker ended while the job was {}; the "
                               "job's program was killed with it. Create the job again",
                               phase_name(left.phase));
                           const TimeNs now = Clock::system().now();
                           if (left.training_started != 0 && left.training_ended == 0)
                             left.training_ended = now;
                           return advance(left, JobPhase::kFailed, now,
                                          "Tarn ended while the job ran");
                         })
                 .status());
    log_warn("job.left_over", "name={} phase={}", job.name, phase_name(job.phase));
  }
  return {};
}

void Runner::reap() {
  for (auto at = running_.begin(); at != running_.end();)
    at = at->second->is_done ? running_.erase(at) : std::next(at);
}

Status Runner::submit(TrainingJob job) {
  MutexLock lock(mutex_);
  reap();
  if (is_closed_) return {Code::kUnavailable, "Tarn is ending"};
  if (running_.size() >= options_.jobs_max)
    return {Code::kAgain,
            fmt::format("{} training jobs run already, which is the limit", options_.jobs_max)};
  auto running = std::make_unique<Running>();
  running->control.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (running->control.wake_fd < 0) return last_errno("make an event for the job");
  const TimeNs now = Clock::system().now();
  job.log_stream = fmt::format("{}/{}-{}", job.name, kHost, now / kSecondNs);
  begin(job, now, "Starting the training job");
  TARN_TRY(registry_.create(job));
  Running* entry = running.get();
  const std::string name = job.name;
  entry->thread = std::thread([this, entry, job = std::move(job)] {
    run_job(job, {file_system_, registry_, options_, entry->control});
    entry->is_done = true;
  });
  running_.emplace(name, std::move(running));
  return {};
}

Status Runner::stop(const std::string& name) {
  bool is_late = false;
  TARN_TRY(registry_
               .update(name,
                       [&](TrainingJob& job) -> Status {
                         is_late = job.phase == JobPhase::kUploading;
                         if (job.state == registry::JobState::kStopping || is_late) return {};
                         return advance(job, JobPhase::kStopping, Clock::system().now(),
                                        "Stopping the training job");
                       })
               .status());
  MutexLock lock(mutex_);
  const auto found = running_.find(name);
  if (found == running_.end() || is_late) return {};
  found->second->control.is_stop_asked = true;
  wake(found->second->control);
  return {};
}

void Runner::close() {
  std::map<std::string, std::unique_ptr<Running>> last;
  {
    MutexLock lock(mutex_);
    is_closed_ = true;
    last.swap(running_);
  }
  for (const auto& [name, running] : last) {
    running->control.is_ending = true;
    wake(running->control);
  }
  last.clear();
}

std::string Runner::log_path(const std::string& name) const {
  return fmt::format("{}/log/jobs/{}.log", options_.root_directory, name);
}

}  // namespace tarn::job
