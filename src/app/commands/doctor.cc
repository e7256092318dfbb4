// tarn doctor: what is missing on this machine and the command that mends it.
#include "app/doctor.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/console.h"
#include "app/control_protocol.h"
#include "app/locate.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  bool as_json = false;
};

int run(const Options& options) {
  const auto surroundings = Surroundings::system(options.root);
  if (!surroundings.is_ok()) return finish(surroundings.status());
  const auto root = find_root(surroundings.value());
  const auto checks = examine_machine(root.is_ok() ? std::optional(root.value()) : std::nullopt);
  Json list = Json::array();
  for (const Check& check : checks) {
    if (options.as_json) {
      list.push_back({{"name", check.name},
                      {"finding", finding_name(check.finding)},
                      {"detail", check.detail},
                      {"mend", check.mend}});
      continue;
    }
    print(fmt::format("{:<8} {:<18} {}\n", finding_name(check.finding), check.name, check.detail));
    if (!check.mend.empty()) print(fmt::format("{:<27} mend: {}\n", "", check.mend));
  }
  if (options.as_json) print(to_line(list) + "\n");
  const bool is_missing = std::ranges::any_of(
      checks, [](const Check& check) { return check.finding == Finding::kMissing; });
  return is_missing ? kFailed : kDone;
}

}  // namespace

void add_doctor(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("doctor", "tell what is missing here and the command that mends it");
  command->add_option("ROOT", options->root, "default: TARN_ROOT, or the mount one stands in");
  command->add_flag("--json", options->as_json, "as one line of JSON");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
