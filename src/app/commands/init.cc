// tarn init ROOT: makes a root.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/config.h"
#include "app/console.h"
#include "app/root_setup.h"

namespace tarn::app {
namespace {

struct Options {
  std::string root, ballast;
  SettingOverrides overrides;
};

int run(const Options& options, mode_t umask) {
  SettingOverrides overrides = options.overrides;
  overrides.environment = process_environment();
  auto loaded = load_settings("", overrides);
  if (!loaded.is_ok()) return refuse(loaded.status());
  InitOptions init{.settings = {}, .ballast_bytes = 0, .umask = umask};
  // Only what belongs to the root itself is written down; the rest stays with the environment.
  init.settings.meta_url = loaded->values.meta_url;
  init.settings.data_url = loaded->values.data_url;
  if (!options.ballast.empty()) {
    const auto bytes = parse_bytes(options.ballast);
    if (!bytes.is_ok()) return refuse(bytes.status().with_context("--ballast"));
    init.ballast_bytes = bytes.value();
  }
  const Status made = initialise_root(options.root, init);
  if (!made.is_ok()) return finish(made);
  print(
      fmt::format("made a Tarn in {0}\nkeys are in {0}/credentials, settings in {0}/tarn.toml\n"
                  "start it with: tarn serve {0}\n",
                  options.root));
  return kDone;
}

}  // namespace

void add_init(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("init", "make a root: superblock, keys, configuration");
  command->add_option("ROOT", options->root, "a folder that is missing or empty")->required();
  command->add_option("--ballast", options->ballast,
                      "space kept back for a full disk, such as 1GiB (default: 1 GiB or 1 %)");
  command->add_option_function<std::string>(
      "--meta",
      [options](const std::string& url) { options->overrides.flags["storage.meta"] = url; },
      "where metadata is kept: rocksdb: (default)");
  command->add_option_function<std::string>(
      "--data",
      [options](const std::string& url) { options->overrides.flags["storage.data"] = url; },
      "where bytes are kept: local: (default)");
  command->callback([options, &invocation] {
    invocation.run = [options, &invocation] { return run(*options, invocation.umask); };
  });
}

}  // namespace tarn::app
