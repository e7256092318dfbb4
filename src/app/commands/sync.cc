// tarn sync: waits until everything acknowledged before is durable.
#include <memory>

#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"

namespace tarn::app {

void add_sync(CLI::App& app, Invocation& invocation) {
  const auto root = std::make_shared<std::optional<std::string>>();
  CLI::App* command = app.add_subcommand("sync", "wait until all that was written is on disk");
  command->add_option("ROOT", *root, "default: TARN_ROOT, or the mount one stands in");
  command->callback([root, &invocation] {
    invocation.run = [root] { return finish(call_root(*root, "sync").status()); };
  });
}

}  // namespace tarn::app
