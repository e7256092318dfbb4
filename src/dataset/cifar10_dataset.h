// CIFAR-10 batches as a Dataset. Internal to the room: callers use open_dataset.
//
// Maps every batch and keeps the mappings; images are decoded one at a time from them.
#pragma once

#include "dataset/cifar10.h"
#include "dataset/dataset.h"
#include "dataset/mapped_file.h"

namespace tarn::dataset {

struct Cifar10File {
  std::string path;
  Split split = Split::kTrain;
  MappedFile file;
  Cifar10Batch batch;
};

/// Maps and parses all batches of `paths`, in order; of the rows nothing is read yet.
Result<std::vector<Cifar10File>> open_cifar10_files(const Cifar10Paths& paths);
Result<std::unique_ptr<Dataset>> open_cifar10(const Cifar10Paths& paths);

}  // namespace tarn::dataset
