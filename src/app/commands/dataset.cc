// tarn dataset show|report|sum|generate: what is inside the files of a data set.
//
// Paths are ordinary ones, read through the system: under a mount or not. No running Tarn is
// needed.
#include <memory>

#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/dataset_text.h"
#include "app/console.h"
#include "app/control_protocol.h"
#include "dataset/mapped_file.h"

namespace tarn::app {
namespace {

struct Options {
  std::string path;
  bool as_json = false;
  dataset::GenerateOptions generate;
  std::string archive = "both";
};

void print_either(bool as_json, const Json& json, const std::string& text) {
  print(as_json ? to_line(json) + "\n" : text);
}

int show(const Options& options) {
  const auto file = dataset::MappedFile::open(options.path);
  if (!file.is_ok()) return finish(file.status());
  const auto document = dataset::parse_pickle(file->bytes());
  if (!document.is_ok()) return finish(document.status().with_context(options.path));
  Json description = describe_pickle(document.value());
  description["path"] = options.path;
  print_either(options.as_json, description, pickle_text(description));
  return kDone;
}

int report(const Options& options) {
  const auto opened = dataset::open_dataset(options.path);
  if (!opened.is_ok()) return finish(opened.status());
  const auto made = dataset::make_report(**opened);
  if (!made.is_ok()) return finish(made.status());
  print_either(options.as_json, report_json(**opened, *made), report_text(**opened, *made));
  return kDone;
}

int sum(const Options& options) {
  const auto summed = dataset::sum_records(options.path);
  if (!summed.is_ok()) return finish(summed.status());
  print_either(options.as_json, sum_json(*summed), sum_text(*summed));
  return kDone;
}

int generate(const Options& options) {
  dataset::GenerateOptions wanted = options.generate;
  wanted.has_gzip_archive = options.archive == "both" || options.archive == "gz";
  wanted.has_plain_archive = options.archive == "both" || options.archive == "tar";
  const auto made = dataset::generate(options.path, wanted);
  if (made.is(Code::kInvalidArgument)) return refuse(made.status());
  if (!made.is_ok()) return finish(made.status());
  print_either(options.as_json, generated_json(*made), generated_text(*made, options.path));
  return kDone;
}

using Run = int (*)(const Options&);

CLI::App* add_part(CLI::App& command, Invocation& invocation, const std::string& name,
                   const std::string& what, const std::string& path_what, Run run,
                   const std::shared_ptr<Options>& options) {
  CLI::App* part = command.add_subcommand(name, what);
  part->add_option("PATH", options->path, path_what)->required();
  part->add_flag("--json", options->as_json, "as one line of JSON");
  part->callback(
      [options, run, &invocation] { invocation.run = [options, run] { return run(*options); }; });
  return part;
}

}  // namespace

void add_dataset(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("dataset", "look into the files of a data set");
  command->require_subcommand(1);
  add_part(*command, invocation, "show", "keys, types, shapes and digests of a pickle",
           "a pickled file", show, options);
  add_part(*command, invocation, "report", "counts, class balance, exact duplicates",
           "CIFAR-10 batches or a folder of images", report, options);
  add_part(*command, invocation, "sum", "the sum of every record byte, and the labels",
           "CIFAR-10 batches", sum, options);
  CLI::App* part =
      add_part(*command, invocation, "generate", "write a look-alike of CIFAR-10 and its archive",
               "the folder to write", generate, options);
  part->add_option("--augment", options->generate.augment,
                   "copies of the training data; each further one adds 155 MB");
  part->add_option("--images-per-batch", options->generate.images_per_batch,
                   "images in each of the five batches of a copy, and in test");
  part->add_option("--seed", options->generate.seed, "other pictures, in another order");
  part->add_option("--archive", options->archive, "which archives to write")
      ->check(CLI::IsMember({"both", "gz", "tar", "none"}));
}

}  // namespace tarn::app
