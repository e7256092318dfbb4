// tarn run -- CMD: a command whose AWS clients talk to a running Tarn.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"
#include "app/endpoint.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  std::string key;
  std::vector<std::string> words;
};

int run(const Options& options) {
  const auto surroundings = Surroundings::system(options.root);
  if (!surroundings.is_ok()) return finish(surroundings.status());
  const auto root = find_root(*surroundings);
  if (!root.is_ok()) return refuse(root.status());
  const auto environment = client_environment(*root, options.key);
  if (!environment.is_ok()) return finish(environment.status());
  for (const auto& [name, value] : *environment) {
    if (value) {
      setenv(name.c_str(), value->c_str(), 1);
    } else {
      unsetenv(name.c_str());
    }
  }
  std::vector<char*> arguments;
  for (const std::string& word : options.words)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  return finish(last_errno(fmt::format("'{}'", options.words[0])));
}

}  // namespace

void add_run(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("run", "run a command whose AWS clients talk to this Tarn");
  command->add_option("--root", options->root, "default: TARN_ROOT, or the mount one stands in");
  command->add_option("--key", options->key, "a key of ROOT/credentials by name (the first)");
  command->add_option("CMD", options->words, "the command, after --")->required();
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
