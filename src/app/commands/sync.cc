// tarn sync: waits until everything acknowledged before is durable.
#include <chrono>
#include <memory>
#include <thread>

#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"

namespace tarn::app {
namespace {

/// A worker that dies meanwhile has a successor, which knows all that was acknowledged: ask that
/// one.
Status sync_root(const std::optional<std::string>& root) {
  constexpr int kTries = 50;
  constexpr auto kPause = std::chrono::milliseconds(200);
  bool was_reached = false;
  for (int i = 1;; ++i) {
    Result<ControlClient> client = connect_to_root(root);
    if (!client.is_ok() && !was_reached) return client.status();
    if (client.is_ok()) {
      was_reached = true;
      Status done = detail::as_status(client->call("sync", Json::object()));
      if (!done.is(Code::kUnavailable) || i == kTries) return done;
    } else if (i == kTries) {
      return client.status();
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

void add_sync(CLI::App& app, Invocation& invocation) {
  const auto root = std::make_shared<std::optional<std::string>>();
  CLI::App* command = app.add_subcommand("sync", "wait until all that was written is on disk");
  command->add_option("ROOT", *root, "default: TARN_ROOT, or the mount one stands in");
  command->callback(
      [root, &invocation] { invocation.run = [root] { return finish(sync_root(*root)); }; });
}

}  // namespace tarn::app
