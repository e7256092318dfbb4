// tarn extract ARCHIVE DIR: makes an archive's members files of a directory.
#include <fcntl.h>

#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"
#include "app/machine.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  std::string archive, directory;
  bool is_merge = false, is_stripping = false, as_json = false;
};

int show(const Options& options, const Json& report) {
  if (options.as_json) {
    print(to_line(report) + "\n");
    return kDone;
  }
  const auto bytes = [&](const char* name) { return human_bytes(report.value(name, uint64_t{0})); };
  print(fmt::format("{}: {} files, {} directories, {} others, {} in {:.2f} s\n",
                    report.value("format", ""), report.value("files", uint64_t{0}),
                    report.value("directories", uint64_t{0}), report.value("others", uint64_t{0}),
                    bytes("bytes"), report.value("seconds", 0.0)));
  print(fmt::format("{} in place, {} decompressed, {} copied from outside\n",
                    bytes("bytes_in_place"), bytes("bytes_decompressed"), bytes("bytes_copied")));
  return kDone;
}

int run(const Options& options) {
  auto surroundings = Surroundings::system(options.root);
  if (!surroundings.is_ok()) return finish(surroundings.status());
  const auto target = locate(surroundings.value(), options.directory);
  if (!target.is_ok()) return refuse(target.status());
  Json arguments = {{"target", to_wire(target->inside)},
                    {"merge", options.is_merge},
                    {"strip_leading_slash", options.is_stripping}};
  UniqueFd outside;
  if (is_inside_tarn(surroundings.value(), options.archive)) {
    const auto archive = locate_all(surroundings.value(), {options.directory, options.archive});
    if (!archive.is_ok()) return refuse(archive.status());
    arguments["archive"] = to_wire(archive->back().inside);
  } else {
    // Opened here, with the rights of who typed the command, and handed over.
    auto opened = open_at(AT_FDCWD, options.archive, O_RDONLY);
    if (!opened.is_ok()) return finish(opened.status());
    outside = std::move(opened).value();
    arguments["archive"] = to_wire(options.archive);
  }
  auto client = ControlClient::connect(target->root);
  if (!client.is_ok()) return finish(client.status());
  Result<Json> result = Json();
  {
    Progress progress("extracting");
    result = client->call(
        "extract", std::move(arguments),
        {.progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); },
         .items = {}},
        outside.get());
  }
  if (!result.is_ok()) return finish(result.status());
  return show(options, result.value());
}

}  // namespace

void add_extract(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("extract", "make an archive's members files, without copying a plain one");
  command
      ->add_option("ARCHIVE", options->archive,
                   "tar or zip; outside the mount it is copied in first")
      ->required();
  command->add_option("DIR", options->directory, "a directory under the mount or tarn:/path")
      ->required();
  command->add_flag("--merge", options->is_merge, "put members into directories that exist");
  command->add_flag("--strip-leading-slash", options->is_stripping,
                    "take members with absolute names as relative");
  command->add_option("--root", options->root, "ROOT of the running Tarn");
  command->add_flag("--json", options->as_json, "as one line of JSON");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
