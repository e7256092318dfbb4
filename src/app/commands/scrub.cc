// tarn scrub: reads all stored bytes and compares them with their checksums.
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
  const auto result = call_root(options.root, "scrub");
  if (!result.is_ok()) return finish(result.status());
  const auto damaged = result->value("damaged_ranges", uint64_t{0});
  if (options.as_json) {
    print(to_line(result.value()) + "\n");
    return damaged == 0 ? kDone : kFailed;
  }
  for (const Json& item : result->value("damage", Json::array()))
    print(fmt::format("damaged: inode {}, blob {}, bytes {} to {}: {}\n",
                      item.value("ino", uint64_t{0}), item.value("blob", uint64_t{0}),
                      item.value("offset", uint64_t{0}),
                      item.value("offset", uint64_t{0}) + item.value("length", uint64_t{0}),
                      item.value("what", "")));
  print(fmt::format("read {} blobs and {} packs in {:.1f} s: {}\n",
                    result->value("blobs", uint64_t{0}), result->value("packs", uint64_t{0}),
                    result->value("seconds", 0.0),
                    damaged == 0 ? "all sound" : fmt::format("{} damaged ranges", damaged)));
  return damaged == 0 ? kDone : kFailed;
}

}  // namespace

void add_scrub(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("scrub", "read all stored bytes and look for damage");
  command->add_option("ROOT", options->root, "default: TARN_ROOT, or the mount one stands in");
  command->add_flag("--json", options->as_json, "as one line of JSON");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
