// tarn version.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/console.h"
#include "app/machine.h"

namespace tarn::app {

void add_version(CLI::App& app, Invocation& invocation) {
  app.add_subcommand("version", "print the version of Tarn and of the kernel")
      ->callback([&invocation] {
        invocation.run = [] {
          print(fmt::format("tarn {} on Linux {}\n", TARN_VERSION, kernel_release()));
          return kDone;
        };
      });
}

}  // namespace tarn::app
