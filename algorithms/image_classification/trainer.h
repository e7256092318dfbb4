// Trainer: the part of the program that needs libtorch, loaded while the program runs.
//
// Loading libtorch takes the better part of a second; meanwhile the configuration has been checked,
// the first line written, and images are read. Thread rules: `load` may run on any thread; `run`
// one call at a time.
#pragma once

#include <string>

#include "base/status.h"
#include "training.h"

namespace tarn::algorithms {

class Trainer {
 public:
  /// Loads image-classification-torch.so from the folder of this program; it stays loaded. NotFound
  /// with the loader's message when it or libtorch is missing.
  static Result<Trainer> load();
  TrainingOutcome run(const Images& images, const TrainingSettings& settings,
                      const std::string& model_path) const;

 private:
  using Train = decltype(tarn_train)*;
  explicit Trainer(Train train) : train_(train) {}

  Train train_;
};

}  // namespace tarn::algorithms
