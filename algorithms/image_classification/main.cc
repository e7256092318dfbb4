// image-classification: trains a small network on a channel of labelled images.
//
// A training container's program without the container: see contract.h for its surroundings. The
// first line says that it has begun, with a sound configuration and a channel; metrics follow as
// lines for people, the last line is the same as one JSON object.
#include <cstdio>
#include <future>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "contract.h"
#include "loading.h"
#include "trainer.h"

namespace tarn::algorithms {
namespace {

TrainingSettings settings_of(const Hyperparameters& from) {
  return {.epochs = from.epochs,
          .batch_size = from.batch_size,
          .seed = from.seed,
          .threads = from.threads,
          .learning_rate = from.learning_rate,
          .momentum = from.momentum};
}

Status run(const std::string& base) {
  TARN_ASSIGN(const Contract contract, Contract::read(base));
  fmt::print("image classification begins\n");
  std::fflush(stdout);
  // Loaded beside the reading of the images.
  std::future<Result<Trainer>> loading = std::async(std::launch::async, Trainer::load);
  TARN_ASSIGN(const Images images,
              load_images(contract.channel_dir, contract.hyperparameters.images_max));
  fmt::print("train {} images, test {} images, {} classes, read in {:.3f} s\n",
             images.train.count(), images.test.count(), images.class_names.size(), images.seconds);
  std::fflush(stdout);
  TARN_ASSIGN(const Trainer trainer, loading.get());
  const TrainingOutcome outcome =
      trainer.run(images, settings_of(contract.hyperparameters), contract.model_dir + "/model.pt");
  if (!outcome.failure.empty()) return {Code::kInternal, "training failed: " + outcome.failure};
  const nlohmann::ordered_json classes = images.class_names;
  TARN_TRY(replace_file(contract.model_dir + "/classes.json", classes.dump() + "\n"));
  const nlohmann::ordered_json metrics = {
      {"final_loss", outcome.final_loss},
      {"accuracy", outcome.accuracy},
      {"samples_per_second", outcome.samples_per_second},
      {"seconds_waiting_for_data", outcome.seconds_waiting_for_data},
      {"images", images.train.count()},
      {"epochs", contract.hyperparameters.epochs}};
  fmt::print(
      "final loss: {:.6f}\ntest accuracy: {:.4f}\nsamples per second: {:.1f}\n"
      "seconds waiting for data: {:.3f}\n{}\n",
      outcome.final_loss, outcome.accuracy, outcome.samples_per_second,
      outcome.seconds_waiting_for_data, metrics.dump());
  return Status::ok();
}

}  // namespace
}  // namespace tarn::algorithms

int main(int argc, char** argv) {
  using namespace tarn::algorithms;
  const std::string word = argc == 2 ? argv[1] : "train";
  if (word == "--version") {
    fmt::print("image-classification {}\n", TARN_VERSION);
    return 0;
  }
  // A container is started with the word `train`.
  if (argc > 2 || word != "train") {
    fmt::print(stderr, "usage: image-classification [train | --version]\n");
    return 2;
  }
  const std::string base = base_directory();
  const tarn::Status status = run(base);
  if (status.is_ok()) return 0;
  fmt::print(stderr, "image-classification: {}\n", status.message());
  write_failure(base, std::string(status.message()));
  return 1;
}
