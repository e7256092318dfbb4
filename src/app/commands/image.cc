// tarn image map|unmap|list: which program of this machine stands for a container image.
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
  std::string pattern, python, program;
  bool as_json = false;
};

int map(const Options& options) {
  if (options.python.empty() == options.program.empty())
    return refuse({Code::kInvalidArgument, "give one of --python PATH and --program PATH"});
  const bool is_program = options.python.empty();
  return finish(call_root(options.root, "image.map",
                          {{"pattern", options.pattern},
                           {"path", to_wire(is_program ? options.program : options.python)},
                           {"program", is_program}})
                    .status());
}

int unmap(const Options& options) {
  return finish(call_root(options.root, "image.unmap", {{"pattern", options.pattern}}).status());
}

int list(const Options& options) {
  const auto result = call_root(options.root, "image.list");
  if (!result.is_ok()) return finish(result.status());
  const Json images = result->value("images", Json::array());
  if (options.as_json) {
    print(to_line(images) + "\n");
    return kDone;
  }
  for (const Json& image : images)
    print(fmt::format("{:<8} {:<40} {}\n", image.value("kind", ""), image.value("pattern", ""),
                      image.value("path", "")));
  return kDone;
}

}  // namespace

void add_image(CLI::App& app, Invocation& invocation) {
  CLI::App* group = app.add_subcommand("image", "programs that stand for container images");
  group->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, int (*run)(const Options&)) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = group->add_subcommand(name, help);
    if (run != list)
      command->add_option("PATTERN", options->pattern, "of the image's name, with * and ?")
          ->required();
    if (run == map) {
      command->add_option("--python", options->python,
                          "an interpreter: the training toolkit's part is played for it");
      command->add_option("--program", options->program,
                          "a program that follows the container contract: PATH train");
    }
    if (run == list) command->add_flag("--json", options->as_json, "one line of JSON");
    command->add_option("--root", options->root, "ROOT of the running Tarn");
    command->callback(
        [options, run, &invocation] { invocation.run = [options, run] { return run(*options); }; });
  };
  add("map", "let a program of this machine stand for images", map);
  add("unmap", "forget a mapping", unmap);
  add("list", "all mappings", list);
}

}  // namespace tarn::app
