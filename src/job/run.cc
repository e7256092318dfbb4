#include "job/run.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include <fmt/format.h>

#include "base/log.h"
#include "fs/objects.h"
#include "job/artifacts.h"
#include "job/channels.h"
#include "job/failure.h"
#include "job/process.h"
#include "job/remove_tree.h"
#include "job/s3_uri.h"

namespace tarn::job {
namespace {

namespace stdfs = std::filesystem;
using registry::JobPhase;
using registry::TrainingJob;

// Scripts are copied and counted; data belongs into a channel.
constexpr uint64_t kScriptBytesMax = uint64_t{64} << 20;
// When Tarn itself ends, a job gets this long to end on SIGTERM.
constexpr TimeNs kEndingGrace = 2 * kSecondNs;
constexpr size_t kPipeReadBytes = size_t{64} << 10;

TimeNs now() {
  return Clock::system().now();
}

class Run {
 public:
  Run(const TrainingJob& job, const RunContext& context)
      : job_(job),
        context_(context),
        caller_(caller_of(job.owner)),
        scratch_(context.options.root_directory + "/jobs/" + job.name),
        ml_(scratch_ + "/ml") {}

  void execute() {
    Status status = run();
    if (process_ != nullptr) process_->finish();
    if (log_) static_cast<void>(log_->finish());
    remove_scratch();
    end(status);
  }

 private:
  enum class StopReason : uint8_t { kNone, kAsked, kTimeout, kEnding };

  Status run() {
    TARN_ASSIGN(LogWriter log,
                LogWriter::create(
                    fmt::format("{}/log/jobs/{}.log", context_.options.root_directory, job_.name),
                    Clock::system()));
    log_.emplace(std::move(log));
    TARN_TRY(timed("prepare", [&] { return prepare(); }));
    TARN_TRY(timed("inputs", [&] { return bring_inputs(); }));
    TARN_TRY(timed("script", [&] { return bring_script(); }));
    TARN_TRY(launch());
    TARN_TRY(timed("train", [&] { return follow(); }));
    TARN_TRY(count_input_changes());
    TARN_TRY(judge());
    return timed("upload", [&] { return upload(); });
  }

  template <class Work>
  Status timed(const char* stage, const Work& work) {
    const TimeNs started = Clock::system().monotonic();
    Status status = work();
    report_.stages.emplace_back(stage, Clock::system().monotonic() - started);
    return status;
  }

  bool is_cancelled() const { return context_.control.is_stop_asked || context_.control.is_ending; }
  Status check_cancelled() const {
    if (is_cancelled()) return {Code::kInterrupted, "the job was stopped"};
    return {};
  }

  /// Moves on, unless a stop came first.
  Status move_to(JobPhase phase, const std::string& message) {
    return context_.registry
        .update(
            job_.name,
            [&](TrainingJob& record) -> Status {
              if (record.state == registry::JobState::kStopping && phase != JobPhase::kUploading)
                return {Code::kInterrupted, "the job was stopped"};
              if (phase == JobPhase::kTraining) record.training_started = now();
              record.report = report_;
              return advance(record, phase, now(), message);
            })
        .status();
  }

  Status prepare() {
    TARN_ASSIGN(const auto profiles, context_.registry.profiles());
    profile_ = registry::find_profile(profiles, job_.image);
    if (!profile_)
      return {Code::kInvalidArgument,
              fmt::format("no program of this machine stands for the image '{}' (jobs run as "
                          "processes, not in containers): map it with tarn image map PATTERN "
                          "--python PATH, or --program PATH",
                          job_.image)};
    if (access(profile_->path.c_str(), X_OK) != 0 && job_.entrypoint.empty())
      return {Code::kInvalidArgument,
              fmt::format("image '{}' is mapped by '{}' to '{}', which is no program here",
                          job_.image, profile_->pattern, profile_->path)};
    Surroundings around;
    if (context_.options.endpoint_url) around.endpoint_url = context_.options.endpoint_url();
    around.region = context_.options.region;
    around.access_key = job_.owner.access_key;
    if (context_.options.secret_of)
      around.secret_key = context_.options.secret_of(job_.owner.access_key).value_or("");
    TARN_ASSIGN(program_, plan_program(job_, *profile_, around));
    TARN_ASSIGN(output_, parse_s3_uri(job_.output_uri));
    fs::Objects objects(context_.file_system);
    TARN_TRY(objects.head_bucket(caller_, output_.bucket)
                 .status()
                 .with_context(fmt::format("S3OutputPath {}", job_.output_uri)));
    TARN_TRY(remove_tree(scratch_));
    for (const char* folder :
         {"/input/config", "/input/data", "/model", "/output/data", "/checkpoints", "/code"})
      TARN_TRY(make_directories(ml_ + folder));
    TARN_TRY(write_config(job_, ml_ + "/input/config"));
    TARN_TRY(replace_file(scratch_ + "/hosts",
                          fmt::format("127.0.0.1 localhost {}\n::1 localhost\n", kHost)));
    return {};
  }

  Status bring_inputs() {
    stamp_ = context_.file_system.store().head();
    began_ = now();
    for (const registry::Channel& channel : job_.channels) {
      TARN_TRY(check_cancelled());
      registry::ChannelReport report{channel.name, "copy", 0, 0, 0};
      TARN_ASSIGN(PlannedChannel planned,
                  plan_channel(context_.file_system, caller_, channel, ml_, scratch_ + "/overlay"));
      tops_.push_back(planned.tops);
      if (context_.options.mount_directory.empty()) {
        TARN_TRY(copy_in(channel, report));
      } else {
        report.how = planned.how;
        mounts_.insert(mounts_.end(), planned.mounts.begin(), planned.mounts.end());
      }
      report_.channels.push_back(std::move(report));
    }
    return plan_checkpoints();
  }

  Status copy_in(const registry::Channel& channel, registry::ChannelReport& report) {
    if (!is_downloading_)
      TARN_TRY(move_to(JobPhase::kDownloading, "Copying input data: Tarn has no mount"));
    is_downloading_ = true;
    const std::string target = ml_ + "/input/data/" + channel.name;
    // Planning has made places to mount on, which would be in the way.
    std::error_code error;
    stdfs::remove_all(target, error);
    TARN_ASSIGN(const Copied copied, copy_channel(context_.file_system, caller_, channel, target,
                                                  [this] { return is_cancelled(); }));
    report.bytes_copied = copied.bytes;
    report.files_copied = copied.files;
    report_.notes.push_back(fmt::format(
        "channel '{}' was copied because Tarn has no mount; served with --mount DIR it is "
        "read in place",
        channel.name));
    return {};
  }

  /// Checkpoints in place: the directory behind the URI is the one that the job writes to.
  Status plan_checkpoints() {
    if (job_.checkpoint_uri.empty()) return {};
    TARN_ASSIGN(const S3Uri uri, parse_s3_uri(job_.checkpoint_uri));
    if (context_.options.mount_directory.empty())
      return {Code::kNotSupported,
              "CheckpointConfig needs a Tarn with a mount (tarn serve --mount DIR)"};
    TARN_ASSIGN(fs::Attributes at, find_path(context_.file_system, caller_, uri.bucket));
    std::string_view rest = uri.key;
    while (!rest.empty()) {
      const size_t slash = rest.find('/');
      const std::string_view name = rest.substr(0, slash);
      rest = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
      if (name.empty()) continue;
      auto found = context_.file_system.lookup(caller_, at.ino, name);
      if (found.is(Code::kNotFound))
        found = context_.file_system.mkdir(caller_, at.ino, name, 0777 & ~caller_.umask);
      TARN_ASSIGN(at, found);
    }
    std::string target = job_.checkpoint_path;
    TARN_TRY(make_directories(ml_ + target.substr(std::string_view("/opt/ml").size())));
    mounts_.push_back(
        {MountKind::kBindReadWrite, uri.bucket + "/" + uri.key, std::move(target), "", ""});
    return {};
  }

  Status bring_script() {
    if (is_script_job(job_, *profile_)) {
      TARN_ASSIGN(const Script script, script_of(job_));
      if (!script.archive_uri.empty()) {
        TARN_ASSIGN(const std::string archive, read_object(context_.file_system, caller_,
                                                           script.archive_uri, kScriptBytesMax));
        TARN_ASSIGN(report_.script_bytes_copied, unpack(archive, ml_ + "/code", kScriptBytesMax));
      }
      if (access((ml_ + "/code/" + script.program).c_str(), F_OK) != 0)
        return {Code::kInvalidArgument,
                fmt::format("sagemaker_program '{}' is not in the source archive '{}'",
                            script.program, script.archive_uri)};
      if (access((ml_ + "/code/requirements.txt").c_str(), F_OK) == 0)
        TARN_TRY(log_->append_line(
            "tarn: requirements.txt is not installed: a host profile uses the packages that its "
            "interpreter has"));
    }
    return give_to_owner();
  }

  Status give_to_owner() {
    if (geteuid() != 0) return {};
    std::error_code error;
    stdfs::recursive_directory_iterator at(ml_, error), last;
    const auto give = [&](const std::string& path) {
      return lchown(path.c_str(), job_.owner.uid, job_.owner.gid) == 0
                 ? Status()
                 : last_errno("give the job its files");
    };
    TARN_TRY(give(ml_));
    for (; !error && at != last; at.increment(error)) TARN_TRY(give(at->path().string()));
    if (error) return {Code::kIo, fmt::format("read '{}': {}", ml_, error.message())};
    return {};
  }

  Status launch() {
    TARN_TRY(check_cancelled());
    LaunchPlan plan;
    plan.mount_directory = context_.options.mount_directory;
    plan.ml_directory = ml_;
    plan.hidden_directory = context_.options.root_directory;
    plan.hosts_file = scratch_ + "/hosts";
    plan.mounts = mounts_;
    plan.argv = program_.argv;
    plan.environment = program_.environment;
    plan.working_directory = program_.working_directory;
    plan.uid = job_.owner.uid;
    plan.gid = job_.owner.gid;
    plan.groups = job_.owner.groups;
    plan.umask = job_.owner.umask;
    TARN_TRY(move_to(JobPhase::kTraining, "Training image runs as a program of this machine"));
    TARN_ASSIGN(process_, Process::start(context_.options.launcher, std::move(plan)));
    return {};
  }

  /// Takes what the program has printed; false at the end of the pipe.
  Result<bool> drain() {
    std::string buffer(kPipeReadBytes, '\0');
    while (true) {
      const ssize_t got = read(process_->log_fd(), buffer.data(), buffer.size());
      if (got > 0) {
        TARN_TRY(log_->append(std::string_view(buffer).substr(0, static_cast<size_t>(got))));
      } else if (got == 0) {
        return false;
      } else if (errno != EINTR) {
        return errno == EAGAIN ? Result<bool>(true) : last_errno("read what the job prints");
      }
    }
  }

  /// Notes a reason to stop, the first one only, and sends SIGTERM.
  void look_for_stop(TimeNs started, TimeNs& kill_at) {
    if (reason_ == StopReason::kEnding) return;
    const TimeNs at = Clock::system().monotonic();
    if (context_.control.is_ending) {
      reason_ = StopReason::kEnding;
      kill_at = std::min(kill_at, at + kEndingGrace);
      process_->terminate();
    } else if (reason_ == StopReason::kNone) {
      const bool is_late =
          at - started >= static_cast<TimeNs>(job_.runtime_seconds_max) * kSecondNs;
      if (!is_late && !context_.control.is_stop_asked) return;
      reason_ = context_.control.is_stop_asked ? StopReason::kAsked : StopReason::kTimeout;
      if (reason_ == StopReason::kTimeout) note_timeout();
      kill_at = at + context_.options.stop_grace;
      process_->terminate();
    }
  }

  void note_timeout() {
    // A stop may have come at the same moment; then the record says so already.
    static_cast<void>(context_.registry
                          .update(job_.name,
                                  [](TrainingJob& record) {
                                    return advance(record, JobPhase::kStopping, now(),
                                                   "Stopping: MaxRuntimeInSeconds is over");
                                  })
                          .status());
  }

  Status follow() {
    const TimeNs started = Clock::system().monotonic();
    const TimeNs limit =
        started +
        static_cast<TimeNs>(std::min<uint64_t>(job_.runtime_seconds_max, 1u << 30)) * kSecondNs;
    TimeNs kill_at = INT64_MAX;
    bool is_running = true, is_log_open = true;
    while (is_running) {
      look_for_stop(started, kill_at);
      const TimeNs at = Clock::system().monotonic();
      if (at >= kill_at) process_->kill_all();
      const TimeNs next = reason_ == StopReason::kNone ? limit : kill_at;
      const int wait_ms =
          at >= kill_at
              ? 50
              : static_cast<int>(std::clamp<TimeNs>((next - at) / kMillisecondNs + 1, 1, 60'000));
      pollfd fds[] = {{is_log_open ? process_->log_fd() : -1, POLLIN, 0},
                      {process_->status_fd(), POLLIN, 0},
                      {context_.control.wake_fd, POLLIN, 0}};
      poll(fds, 3, wait_ms);
      if (fds[2].revents != 0) {
        uint64_t count = 0;
        if (read(context_.control.wake_fd, &count, sizeof count) < 0) continue;
      }
      if (is_log_open) {
        TARN_ASSIGN(is_log_open, drain());
      }
      if (fds[1].revents != 0) is_running = process_->read_status();
    }
    ending_ = process_->finish();
    // Nothing of the job runs any more, so what is in the pipe now is all.
    if (is_log_open) TARN_TRY(drain().status());
    process_.reset();
    return log_->finish();
  }

  Status count_input_changes() {
    TARN_ASSIGN(const auto counts, count_changes(context_.file_system, stamp_, began_, tops_));
    for (size_t i = 0; i < counts.size(); ++i) {
      report_.channels[i].changes = counts[i];
      if (counts[i] > 0)
        report_.notes.push_back(
            fmt::format("InputChanged: {} changes under channel '{}' while the "
                        "job ran",
                        counts[i], report_.channels[i].name));
    }
    return {};
  }

  /// What the program's end means.
  Status judge() {
    if (reason_ == StopReason::kEnding)
      return {Code::kUnavailable,
              "InternalServerError: Tarn was ended while the job ran. Create the job again"};
    if (reason_ != StopReason::kNone) return {};
    if (ending_.kind == Ending::Kind::kExited && ending_.value == 0) return {};
    const std::string said = read_failure_file(ml_ + "/output/failure");
    return {Code::kInvalidArgument, explain_failure(job_, *profile_, ending_, said,
                                                    {log_->tail().begin(), log_->tail().end()})};
  }

  Status upload() {
    TARN_TRY(move_to(JobPhase::kUploading, "Storing the model"));
    const std::string prefix = output_.key.empty()
                                   ? job_.name + "/output/"
                                   : fmt::format("{}{}{}/output/", output_.key,
                                                 output_.key.ends_with('/') ? "" : "/", job_.name);
    const std::string model = ml_ + "/model", data = ml_ + "/output/data";
    if (job_.is_output_compressed) {
      TARN_TRY(store_archive(context_.file_system, caller_, model, output_.bucket,
                             prefix + "model.tar.gz")
                   .status());
      model_uri_ = fmt::format("s3://{}/{}model.tar.gz", output_.bucket, prefix);
    } else {
      TARN_TRY(store_files(context_.file_system, caller_, model, output_.bucket, prefix + "model/")
                   .status());
      model_uri_ = fmt::format("s3://{}/{}model", output_.bucket, prefix);
    }
    std::error_code error;
    if (stdfs::is_empty(data, error) || error) return {};
    return store_archive(context_.file_system, caller_, data, output_.bucket,
                         prefix + "output.tar.gz")
        .status();
  }

  void remove_scratch() {
    const Status removed = remove_tree(scratch_);
    if (!removed.is_ok())
      log_warn("job.scratch", "job={} error=\"{}\"", job_.name, removed.message());
  }

  struct Outcome {
    JobPhase phase = JobPhase::kCompleted;
    std::string message = "Training job completed", reason;
  };
  Outcome outcome_of(const Status& status, const TrainingJob& record) const {
    if (context_.control.is_ending && !status.is_ok())
      return {JobPhase::kFailed, "Tarn was ended while the job ran",
              "InternalServerError: Tarn was ended while the job ran. Create the job again"};
    if (!status.is_ok() && !status.is(Code::kInterrupted)) {
      // Before the program ran the fault lies in what was asked for.
      const bool has_run = record.training_started != 0 && !status.message().empty();
      std::string reason(status.message());
      if (!has_run) reason = "ClientError: " + reason;
      return {JobPhase::kFailed, "Training job failed", clean_text(reason, 1024)};
    }
    if (reason_ == StopReason::kTimeout)
      return {JobPhase::kMaxRuntimeExceeded, "MaxRuntimeInSeconds was over", ""};
    if (reason_ == StopReason::kAsked || record.state == registry::JobState::kStopping)
      return {JobPhase::kStopped, "Training job stopped", ""};
    return {};
  }

  void end(const Status& status) {
    const auto updated = context_.registry.update(job_.name, [&](TrainingJob& record) {
      const Outcome outcome = outcome_of(status, record);
      record.failure_reason = outcome.reason;
      record.model_uri = model_uri_;
      record.report = report_;
      if (log_) {
        record.report.log_lines = log_->lines();
        record.report.log_bytes_dropped = log_->bytes_dropped();
      }
      if (record.training_started != 0) record.training_ended = now();
      return advance(record, outcome.phase, now(), outcome.message);
    });
    if (updated.is_ok()) {
      log_info("job.end", "name={} state={} reason=\"{}\"", job_.name, state_name(updated->state),
               updated->failure_reason);
    } else {
      log_error("job.end", "name={} error={}", job_.name, updated.status().to_string());
    }
  }

  const TrainingJob& job_;
  const RunContext& context_;
  const fs::Caller caller_;
  const std::string scratch_, ml_;
  std::optional<LogWriter> log_;
  std::optional<registry::ImageProfile> profile_;
  Program program_;
  S3Uri output_;
  std::vector<MountStep> mounts_;
  std::vector<std::vector<Ino>> tops_;
  Stamp stamp_;
  TimeNs began_ = 0;
  bool is_downloading_ = false;
  registry::JobReport report_;
  std::unique_ptr<Process> process_;
  Ending ending_;
  StopReason reason_ = StopReason::kNone;
  std::string model_uri_;
};

}  // namespace

void run_job(const TrainingJob& job, const RunContext& context) {
  const RequestScope scope("job-" + job.name);
  Run(job, context).execute();
}

}  // namespace tarn::job
