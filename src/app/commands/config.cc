// tarn config check | show: what the settings are, and whether they are right.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/config.h"
#include "app/console.h"
#include "app/control_protocol.h"
#include "app/locate.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  bool as_json = false;
};

Result<LoadedSettings> load(const Options& options) {
  TARN_ASSIGN(const Surroundings surroundings, Surroundings::system(options.root));
  TARN_ASSIGN(const std::string root, find_root(surroundings));
  return load_settings(root, {.flags = {}, .environment = process_environment()});
}

int check(const Options& options) {
  const auto loaded = load(options);
  if (!loaded.is_ok()) return finish(loaded.status());
  for (const std::string& warning : loaded->warnings) fmt::print(stderr, "tarn: {}\n", warning);
  print("the configuration is right\n");
  return kDone;
}

int show(const Options& options) {
  const auto loaded = load(options);
  if (!loaded.is_ok()) return finish(loaded.status());
  Json json = Json::object();
  for (const Setting& setting : setting_table()) {
    const auto source = loaded->sources.find(setting.key);
    const std::string_view origin =
        source_name(source == loaded->sources.end() ? Source::kDefault : source->second);
    const std::string text = setting_text(setting, loaded->values);
    if (options.as_json) {
      json[std::string(setting.key)] = {
          {"value", text}, {"source", origin}, {"variable", setting_variable(setting)}};
    } else {
      print(fmt::format("{:<24} = {:<14} # {}; {}\n", setting.key, text, origin, setting.help));
    }
  }
  if (options.as_json) print(to_line(json) + "\n");
  return kDone;
}

}  // namespace

void add_config(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("config", "check or show the settings");
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, int (*run)(const Options&)) {
    CLI::App* sub = command->add_subcommand(name, help);
    sub->add_option("ROOT", options->root, "default: TARN_ROOT");
    sub->callback(
        [options, &invocation, run] { invocation.run = [options, run] { return run(*options); }; });
    return sub;
  };
  add("check", "read tarn.toml and the environment and say what is wrong", check);
  add("show", "print every setting, its value and where that comes from", show)
      ->add_flag("--json", options->as_json, "as one line of JSON");
}

}  // namespace tarn::app
