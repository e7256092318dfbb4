// tarn env: variables that point a shell's AWS clients at a running Tarn.
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
};

/// 'text', safe for a POSIX shell.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

int run(const Options& options) {
  const auto surroundings = Surroundings::system(options.root);
  if (!surroundings.is_ok()) return finish(surroundings.status());
  const auto root = find_root(*surroundings);
  if (!root.is_ok()) return refuse(root.status());
  const auto environment = client_environment(*root, options.key);
  if (!environment.is_ok()) return finish(environment.status());
  // The semicolons let `eval $(tarn env)` do without quotes.
  for (const auto& [name, value] : *environment) {
    print(value ? fmt::format("export {}={};\n", name, quoted(*value))
                : fmt::format("unset {};\n", name));
  }
  return kDone;
}

}  // namespace

void add_env(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("env", "print exports that point AWS clients here: eval $(tarn env)");
  command->add_option("ROOT", options->root, "default: TARN_ROOT, or the mount one stands in");
  command->add_option("--key", options->key, "a key of ROOT/credentials by name (the first)");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
