// tarn preview PATH: a picture of a random batch of a data set, with its labels.
#include <sys/stat.h>

#include <memory>
#include <random>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/console.h"
#include "app/control_protocol.h"
#include "base/file.h"
#include "dataset/contact_sheet.h"

namespace tarn::app {
namespace {

struct Options {
  std::string path, out = "preview.png";
  uint64_t count = 4;
  std::optional<uint64_t> seed;
  bool as_json = false;
};

Status write_sheet(const Options& options, const dataset::Dataset& dataset,
                   std::span<const uint64_t> items) {
  TARN_ASSIGN(const dataset::Image sheet, dataset::contact_sheet(dataset, items));
  TARN_ASSIGN(const std::string png, dataset::encode_png(sheet));
  return replace_file(options.out, png);
}

int run(const Options& options) {
  if (options.count == 0 || options.count > dataset::kSheetImagesMax) {
    return refuse({Code::kInvalidArgument, fmt::format("--count {}; 1 to {} images are drawn",
                                                       options.count, dataset::kSheetImagesMax)});
  }
  // Small enough that every program that reads JSON keeps all digits.
  const uint64_t seed = options.seed ? *options.seed : std::random_device()();
  const auto opened = dataset::open_sample(options.path, options.count, seed);
  if (!opened.is_ok()) return finish(opened.status());
  const dataset::Dataset& dataset = **opened;
  const auto items = dataset::random_batch(dataset, options.count, seed);
  if (const Status status = write_sheet(options, dataset, items); !status.is_ok()) {
    return finish(status);
  }
  Json shown = Json::array();
  for (const uint64_t item : items) {
    const std::string name = dataset::class_name(dataset, dataset.label(item));
    shown.push_back(
        {{"location", dataset.location(item)}, {"label", dataset.label(item)}, {"class", name}});
    if (!options.as_json) print(fmt::format("{}: {}\n", dataset.location(item), name));
  }
  if (options.as_json) {
    print(to_line({{"out", options.out}, {"seed", seed}, {"items", std::move(shown)}}) + "\n");
  } else {
    print(fmt::format("{} (--seed {})\n", options.out, seed));
  }
  return kDone;
}

}  // namespace

void add_preview(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("preview", "draw a random batch of a data set with its labels");
  command->add_option("PATH", options->path, "CIFAR-10 batches or a folder of images")->required();
  command->add_option("--out", options->out, "the PNG file (default: preview.png)");
  command->add_option("--count", options->count, "images (default: 4)");
  command->add_option("--seed", options->seed, "the same batch for the same number");
  command->add_flag("--json", options->as_json, "as one line of JSON");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
