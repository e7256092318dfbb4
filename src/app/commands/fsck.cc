// tarn fsck: looks for contradictions in the metadata of a running program.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  bool as_json = false;
};

int run(const Options& options) {
  const auto result = call_root(options.root, "fsck");
  if (!result.is_ok()) return finish(result.status());
  const auto findings = result->value("findings", uint64_t{0});
  if (options.as_json) {
    print(to_line(result.value()) + "\n");
    return findings == 0 ? kDone : kFailed;
  }
  for (const Json& item : result->value("shown", Json::array()))
    print(fmt::format("inode {}: {}\n", item.value("ino", uint64_t{0}), item.value("what", "")));
  print(findings == 0 ? std::string("the metadata is consistent\n")
                      : fmt::format("{} findings\n", findings));
  return findings == 0 ? kDone : kFailed;
}

}  // namespace

void add_fsck(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("fsck", "check the metadata for contradictions");
  command->add_option("ROOT", options->root, "default: TARN_ROOT, or the mount one stands in");
  command->add_flag("--json", options->as_json, "as one line of JSON");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
