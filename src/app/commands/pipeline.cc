// tarn pipeline: measures the way from archive to training, in place and in the usual way.
//
// The measuring itself, from a plan, is this program's. What surrounds it (a data set, other
// people's servers, a network of the run's own) is set up by tools/demo.py, which writes the plan
// and calls `tarn pipeline --plan`; without --plan this command runs that script.
#include <unistd.h>

#include <array>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/console.h"
#include "base/file.h"
#include "pipeline/report.h"
#include "pipeline/runner.h"

namespace tarn::app {
namespace {

constexpr size_t kPlanBytesMax = size_t{64} << 20;
constexpr size_t kPreviewBytesMax = size_t{16} << 20;

struct Options {
  std::string plan, out = ".", preview, dataset;
  bool is_quick = false, is_full = false;
};

/// tools/demo.py of the tree that this program was built in (TREE/out/tarn).
Result<std::string> driver_path() {
  std::array<char, 4096> buffer{};
  const ssize_t length = readlink("/proc/self/exe", buffer.data(), buffer.size());
  if (length <= 0) return last_errno("readlink /proc/self/exe");
  std::string path(buffer.data(), static_cast<size_t>(length));
  for (int up = 0; up < 2; ++up) path.resize(path.find_last_of('/'));
  path += "/tools/demo.py";
  if (access(path.c_str(), R_OK) != 0)
    return Status(Code::kNotFound,
                  fmt::format("no '{}': it sets up the servers and the data set of a run; run "
                              "this from a source tree, or give --plan",
                              path));
  return path;
}

int run_driver(const Options& options) {
  const auto driver = driver_path();
  if (!driver.is_ok()) return finish(driver.status());
  std::vector<std::string> words = {"/usr/bin/python3", driver.value()};
  if (options.is_quick) words.push_back("--quick");
  if (options.is_full) words.push_back("--full");
  if (!options.dataset.empty()) words.insert(words.end(), {"--dataset", options.dataset});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  return finish(last_errno("start /usr/bin/python3"));
}

Status write_reports(const Options& options, const pipeline::Report& report) {
  std::string preview;
  if (!options.preview.empty()) {
    TARN_ASSIGN(preview, read_file(options.preview, kPreviewBytesMax));
  }
  TARN_TRY(make_directories(options.out));
  TARN_TRY(replace_file(options.out + "/report.json", to_json(report).dump(1) + "\n"));
  TARN_TRY(replace_file(options.out + "/report.html", to_html(report, preview)));
  return replace_file(options.out + "/report.txt", to_text(report));
}

int run_measuring(const Options& options) {
  const auto text = read_file(options.plan, kPlanBytesMax);
  if (!text.is_ok()) return refuse(text.status());
  const auto plan = pipeline::parse_plan(text.value());
  if (!plan.is_ok()) return refuse(plan.status().with_context(options.plan));
  const auto report = pipeline::run_plan(
      plan.value(), [](const pipeline::TablePlan& table, uint32_t run, const std::string& way,
                       const std::string& row, double seconds) {
        fmt::print(stderr, "{} | {} | {} | run {} | {:<16} {:<10} {:>9.3f} s\n", table.archive,
                   table.link, table.cache, run, way, row, seconds);
      });
  if (!report.is_ok()) return finish(report.status());
  const Status written = write_reports(options, report.value());
  if (!written.is_ok()) return finish(written);
  print(to_text(report.value()));
  return pipeline::flags_of(report.value()).empty() ? kDone : kFailed;
}

}  // namespace

void add_pipeline(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("pipeline", "measure the way from archive to training, with a report");
  auto* plan = command->add_option("--plan", options->plan,
                                   "run this plan (JSON) and no set-up of servers and data");
  command->add_option("--out", options->out, "folder of report.json, .txt and .html")->needs(plan);
  command->add_option("--preview", options->preview, "PNG to put into the page")->needs(plan);
  auto* dataset =
      command->add_option("--dataset", options->dataset, "a CIFAR-10 Python archive (.tar.gz)");
  auto* quick = command->add_flag("--quick", options->is_quick, "the plain CIFAR-10 size");
  auto* full =
      command->add_flag("--full", options->is_full, "every archive, link and cache, three runs");
  plan->excludes(dataset)->excludes(quick)->excludes(full);
  quick->excludes(full);
  command->callback([options, &invocation] {
    invocation.run = [options] {
      return options->plan.empty() ? run_driver(*options) : run_measuring(*options);
    };
  });
}

}  // namespace tarn::app
