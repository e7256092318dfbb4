// tarn job list|show|logs|stop: training jobs of the running program; and the hidden command of a
// job's launcher.
#include <chrono>
#include <memory>
#include <thread>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"
#include "job/launcher.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  std::string name;
  bool as_json = false, follow = false;
};

int list(const Options& options) {
  const auto result = call_root(options.root, "job.list");
  if (!result.is_ok()) return finish(result.status());
  const Json jobs = result->value("jobs", Json::array());
  if (options.as_json) {
    print(to_line(jobs) + "\n");
    return kDone;
  }
  for (const Json& job : jobs)
    print(fmt::format("{:<12} {:<20} {}\n", job.value("status", ""),
                      utc_time(job.value("created_ns", int64_t{0})), job.value("name", "")));
  return kDone;
}

void show_report(const Json& job) {
  const auto line = [](const std::string& name, const std::string& text) {
    print(fmt::format("{:<12} {}\n", name, text));
  };
  line("job", job.value("name", ""));
  line("status",
       fmt::format("{} ({})", job.value("status", ""), job.value("secondary_status", "")));
  line("image", job.value("image", ""));
  line("copied",
       fmt::format("{} bytes of data, {} bytes of scripts", job.value("bytes_copied", uint64_t{0}),
                   job.value("script_bytes_copied", uint64_t{0})));
  for (const Json& channel : job.value("channels", Json::array()))
    line("  channel",
         fmt::format("{}: {} of {}, {} bytes copied, {} changes", channel.value("name", ""),
                     channel.value("how", ""), channel.value("uri", ""),
                     channel.value("bytes_copied", uint64_t{0}),
                     channel.value("changes", uint64_t{0})));
  const Json stages = job.value("stages", Json::object());
  for (const auto& [stage, seconds] : stages.items())
    line("  stage", fmt::format("{}: {:.3f} s", stage, seconds.get<double>()));
  for (const Json& note : job.value("notes", Json::array()))
    line("  note", note.get<std::string>());
  if (const std::string reason = job.value("failure_reason", ""); !reason.empty())
    line("failure", reason);
  if (const std::string model = job.value("model", ""); !model.empty()) line("model", model);
}

int show(const Options& options) {
  const auto result = call_root(options.root, "job.show", {{"name", options.name}});
  if (!result.is_ok()) return finish(result.status());
  if (options.as_json) {
    print(to_line(*result) + "\n");
  } else {
    show_report(*result);
  }
  return kDone;
}

int logs(const Options& options) {
  auto client = connect_to_root(options.root);
  if (!client.is_ok()) return finish(client.status());
  uint64_t offset = 0;
  while (true) {
    const auto page = client->call("job.logs", {{"name", options.name}, {"offset", offset}});
    if (!page.is_ok()) return finish(page.status());
    const Json lines = page->value("lines", Json::array());
    for (const Json& line : lines) print(line.value("message", "") + "\n");
    if (lines.empty() && (!options.follow || page->value("ended", true))) return kDone;
    offset = std::max(offset, page->value("offset", uint64_t{0}));
    if (lines.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
}

int stop(const Options& options) {
  return finish(call_root(options.root, "job.stop", {{"name", options.name}}).status());
}

CLI::App* add(CLI::App& group, Invocation& invocation, const char* name, const char* help,
              int (*run)(const Options&), bool has_name) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand(name, help);
  if (has_name) command->add_option("NAME", options->name, "of the job")->required();
  command->add_option("--root", options->root, "ROOT of the running Tarn");
  if (run == list || run == show) command->add_flag("--json", options->as_json, "one line of JSON");
  if (run == logs) command->add_flag("-f,--follow", options->follow, "until the job has ended");
  command->callback(
      [options, run, &invocation] { invocation.run = [options, run] { return run(*options); }; });
  return command;
}

}  // namespace

void add_job(CLI::App& app, Invocation& invocation) {
  CLI::App* group = app.add_subcommand("job", "training jobs: list, show, logs, stop");
  group->require_subcommand(1);
  add(*group, invocation, "list", "all jobs with their status", list, false);
  add(*group, invocation, "show", "a job's report: bytes copied, seconds a stage", show, true);
  add(*group, invocation, "logs", "what a job printed", logs, true);
  add(*group, invocation, "stop", "SIGTERM, and SIGKILL after the grace", stop, true);
  CLI::App* launcher = app.add_subcommand(job::kLauncherCommand, "what a worker starts")->group("");
  launcher->callback([&invocation] { invocation.run = [] { return job::run_launcher(); }; });
}

}  // namespace tarn::app
