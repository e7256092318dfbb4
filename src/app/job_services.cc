#include "app/job_services.h"

#include <fmt/format.h>

#include "base/mutex.h"
#include "job/runner.h"
#include "registry/registry.h"
#include "sagemaker/logs_service.h"
#include "sagemaker/query_services.h"
#include "sagemaker/sagemaker_service.h"

namespace tarn::app {
namespace {

using registry::TrainingJob;

// One frame of the control socket holds ten thousand summaries; older jobs are asked for by name.
constexpr size_t kJobsShownMax = 10'000;
constexpr size_t kLogLinesMax = 2'000;

double seconds(TimeNs span) {
  return static_cast<double>(span) / 1e9;
}

Json summary_of(const TrainingJob& job) {
  return {{"name", job.name},
          {"status", state_name(job.state)},
          {"secondary_status", phase_name(job.phase)},
          {"image", job.image},
          {"uid", job.owner.uid},
          {"created_ns", job.created},
          {"modified_ns", job.modified}};
}

/// The job's report: how its inputs came, and what each stage took.
Json report_of(const TrainingJob& job) {
  Json channels = Json::array(), stages = Json::object(), transitions = Json::array();
  uint64_t bytes_copied = 0;
  for (size_t i = 0; i < job.report.channels.size(); ++i) {
    const registry::ChannelReport& channel = job.report.channels[i];
    bytes_copied += channel.bytes_copied;
    channels.push_back({{"name", channel.name},
                        {"uri", i < job.channels.size() ? job.channels[i].uri : ""},
                        {"how", channel.how},
                        {"bytes_copied", channel.bytes_copied},
                        {"files_copied", channel.files_copied},
                        {"changes", channel.changes}});
  }
  for (const auto& [name, span] : job.report.stages) stages[name] = seconds(span);
  for (const registry::Transition& transition : job.transitions)
    transitions.push_back({{"status", phase_name(transition.phase)},
                           {"start_ns", transition.start},
                           {"message", transition.message}});
  Json json = summary_of(job);
  json.update({{"bytes_copied", bytes_copied},
               {"script_bytes_copied", job.report.script_bytes_copied},
               {"channels", std::move(channels)},
               {"stages", std::move(stages)},
               {"transitions", std::move(transitions)},
               {"log_lines", job.report.log_lines},
               {"log_bytes_dropped", job.report.log_bytes_dropped},
               {"notes", job.report.notes},
               {"failure_reason", job.failure_reason},
               {"model", job.model_uri}});
  if (job.training_started != 0)
    json["training_seconds"] =
        seconds((job.training_ended != 0 ? job.training_ended : Clock::system().now()) -
                job.training_started);
  return json;
}

/// Mapping an image says what runs for everybody: the owner of ROOT's business.
Status require_administrator(ControlCall& call) {
  if (call.peer().uid == 0 || call.peer().uid == geteuid()) return {};
  return {Code::kNotPermitted, "only root and the user who serves may map images"};
}

Result<Json> map_image(ControlCall& call, registry::Registry& registry) {
  TARN_TRY(require_administrator(call));
  registry::ImageProfile profile;
  TARN_ASSIGN(profile.pattern, text_argument(call.arguments(), "pattern"));
  TARN_ASSIGN(profile.path, path_argument(call.arguments(), "path"));
  TARN_ASSIGN(const bool is_program, flag_argument(call.arguments(), "program"));
  profile.kind = is_program ? registry::ProfileKind::kProgram : registry::ProfileKind::kPython;
  TARN_TRY(registry.put_profile(profile));
  return Json::object();
}

Result<Json> list_images(registry::Registry& registry) {
  TARN_ASSIGN(const auto profiles, registry.profiles());
  Json items = Json::array();
  for (const registry::ImageProfile& profile : profiles)
    items.push_back(
        {{"pattern", profile.pattern},
         {"kind", profile.kind == registry::ProfileKind::kPython ? "python" : "program"},
         {"path", to_wire(profile.path)}});
  return Json{{"images", std::move(items)}};
}

Result<Json> list_jobs(registry::Registry& registry) {
  TARN_ASSIGN(const auto jobs, registry.training_jobs());
  Json items = Json::array();
  for (const TrainingJob& job : jobs)
    if (items.size() < kJobsShownMax) items.push_back(summary_of(job));
  return Json{{"jobs", std::move(items)}};
}

Result<Json> job_logs(ControlCall& call, job::Runner& runner) {
  TARN_ASSIGN(const std::string name, text_argument(call.arguments(), "name"));
  TARN_ASSIGN(const TrainingJob job, runner.registry().training_job(name));
  const Json offset = call.arguments().value("offset", Json(0));
  const auto page =
      job::read_log_after(runner.log_path(name),
                          offset.is_number_unsigned() ? offset.get<uint64_t>() : 0, kLogLinesMax);
  Json lines = Json::array();
  uint64_t end = 0;
  if (page.is_ok()) {
    end = page->end;
    for (const job::LogEvent& event : page->events)
      lines.push_back({{"time_ms", event.time_ms}, {"message", event.message}});
  }
  return Json{{"lines", std::move(lines)}, {"offset", end}, {"ended", has_ended(job.state)}};
}

class JobServicesImpl final : public JobServices {
 public:
  JobServicesImpl(WorkerContext& context, http::KeyStore* keys)
      : context_(context), keys_(keys), registry_(context.file_system.store()) {}
  ~JobServicesImpl() override { close(); }

  Status open() {
    job::RunnerOptions options;
    options.root_directory = context_.root.path();
    options.mount_directory = context_.mount_directory;
    options.stop_grace = static_cast<TimeNs>(context_.settings.job_stop_grace_s) * kSecondNs;
    options.endpoint_url = [this] {
      const MutexLock lock(mutex_);
      return endpoint_;
    };
    options.secret_of = [this](const std::string& access_key) -> std::optional<std::string> {
      const auto key = keys_ == nullptr ? std::nullopt : keys_->find(access_key);
      return key ? std::optional(key->secret) : std::nullopt;
    };
    TARN_ASSIGN(runner_, job::Runner::open(context_.file_system, registry_, std::move(options)));
    sagemaker_ = std::make_unique<sagemaker::SageMakerService>(*runner_, sagemaker::Place());
    logs_ = std::make_unique<sagemaker::LogsService>(*runner_, sagemaker::Place());
    return {};
  }

  void add_to(http::Router& router) override {
    router.add(*sagemaker_, std::string(sagemaker_->target_prefix()));
    router.add(*logs_, std::string(logs_->target_prefix()));
    router.add(sts_);
    router.add(iam_);
  }

  void set_endpoint(std::string url) override {
    const MutexLock lock(mutex_);
    endpoint_ = std::move(url);
  }

  void add_handlers(ControlHandlers& handlers) override {
    handlers["job.list"] = [this](ControlCall&) { return list_jobs(registry_); };
    handlers["job.show"] = [this](ControlCall& call) -> Result<Json> {
      TARN_ASSIGN(const std::string name, text_argument(call.arguments(), "name"));
      TARN_ASSIGN(const TrainingJob job, registry_.training_job(name));
      return report_of(job);
    };
    handlers["job.stop"] = [this](ControlCall& call) -> Result<Json> {
      TARN_ASSIGN(const std::string name, text_argument(call.arguments(), "name"));
      TARN_ASSIGN(const TrainingJob job, registry_.training_job(name));
      if (call.peer().uid != 0 && call.peer().uid != job.owner.uid)
        return Status(Code::kNotPermitted,
                      fmt::format("training job '{}' is of uid {}", name, job.owner.uid));
      TARN_TRY(runner_->stop(name));
      return Json::object();
    };
    handlers["job.logs"] = [this](ControlCall& call) { return job_logs(call, *runner_); };
    handlers["image.list"] = [this](ControlCall&) { return list_images(registry_); };
    handlers["image.map"] = [this](ControlCall& call) { return map_image(call, registry_); };
    handlers["image.unmap"] = [this](ControlCall& call) -> Result<Json> {
      TARN_TRY(require_administrator(call));
      TARN_ASSIGN(const std::string pattern, text_argument(call.arguments(), "pattern"));
      TARN_TRY(registry_.remove_profile(pattern));
      return Json::object();
    };
  }

  void close() override {
    if (runner_ != nullptr) runner_->close();
  }

 private:
  WorkerContext& context_;
  http::KeyStore* keys_;
  registry::Registry registry_;
  Mutex mutex_{"app.endpoint", 9};
  std::string endpoint_;
  std::unique_ptr<job::Runner> runner_;
  std::unique_ptr<sagemaker::SageMakerService> sagemaker_;
  std::unique_ptr<sagemaker::LogsService> logs_;
  sagemaker::StsService sts_{sagemaker::Place()};
  sagemaker::IamService iam_;
};

}  // namespace

Result<std::unique_ptr<JobServices>> JobServices::open(WorkerContext& context,
                                                       http::KeyStore* keys) {
  auto services = std::make_unique<JobServicesImpl>(context, keys);
  TARN_TRY(services->open());
  return std::unique_ptr<JobServices>(std::move(services));
}

}  // namespace tarn::app
