// tarn_train: the network of the public notebook, trained on images in memory.
//
// Two convolutions and three full layers (LeCun et al. 1998, as in PyTorch's CIFAR-10 tutorial),
// cross entropy, stochastic gradient descent with momentum. With one thread the result depends on
// the images and the settings only. Thread rules: one call at a time in a process, since torch's
// settings are global.
#pragma once

#include <cstdint>
#include <string>

#include "images.h"

namespace tarn::algorithms {

struct TrainingSettings {
  uint64_t epochs = 1, batch_size = 4, seed = 1, threads = 1;
  double learning_rate = 0.001, momentum = 0.9;
};

struct TrainingOutcome {
  double final_loss = 0;          // mean over the last epoch
  double accuracy = 0;            // of test; 0 without test images
  double samples_per_second = 0;  // training only, without evaluation
  double seconds_waiting_for_data = 0;
  std::string failure;  // empty: trained and saved
};

/// Trains, prints the mean loss of each 2,000 batches, and saves the network to `model_path`. Lives
/// in a library of its own (image-classification-torch.so), found by its plain name: see trainer.h.
extern "C" void tarn_train(const Images& images, const TrainingSettings& settings,
                           const char* model_path, TrainingOutcome& outcome);

}  // namespace tarn::algorithms
