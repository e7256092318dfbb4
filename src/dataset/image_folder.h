// A folder of images as a Dataset. Internal to the room: callers use open_dataset.
//
//   PATH/CLASS/*.png|jpg|jpeg             everything is train
//   PATH/train/CLASS/*, PATH/test/CLASS/* (also val, valid)
//
// Labels are the places of the class names in their sorted list. Files are opened when their image
// or digest is asked for.
#pragma once

#include "dataset/dataset.h"

namespace tarn::dataset {

/// Null when there is no such folder at `path`.
Result<std::unique_ptr<Dataset>> open_image_folder(const std::string& path);

}  // namespace tarn::dataset
