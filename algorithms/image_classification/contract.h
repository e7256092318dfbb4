// The training container's contract, as far as a program that trains sees it.
//
//   BASE/input/config/hyperparameters.json   one object, all values are strings
//   BASE/input/data/CHANNEL/                 the data of each channel, read only
//   BASE/model/                              what is left here becomes the model
//   BASE/output/failure                      why the program failed, for people
//
// BASE is SAGEMAKER_BASE_DIR, or /opt/ml. Exit status 0 means trained. Thread rules: plain values.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace tarn::algorithms {

/// Names of the hyper-parameters are the members'; defaults are the public notebook's ("PyTorch
/// CIFAR-10 local mode").
struct Hyperparameters {
  uint64_t epochs = 2;
  uint64_t batch_size = 4;
  double learning_rate = 0.001;
  double momentum = 0.9;
  uint64_t seed = 1;
  uint64_t threads = 1;     // with one, the same bytes give the same loss
  uint64_t images_max = 0;  // train on the first so many images; 0: on all
};

struct Contract {
  std::string channel_dir;
  std::string model_dir;
  std::string failure_path;
  Hyperparameters hyperparameters;

  /// Reads BASE. The channel is `training` or `train`, or the only one there is. InvalidArgument
  /// for a hyper-parameter that is unknown or no number in its range; NotFound for a missing
  /// channel.
  static Result<Contract> read(const std::string& base);
};

/// SAGEMAKER_BASE_DIR, or /opt/ml.
std::string base_directory();
/// Leaves BASE/output/failure; best effort, since it is told to people on standard error too.
void write_failure(const std::string& base, const std::string& message);

}  // namespace tarn::algorithms
