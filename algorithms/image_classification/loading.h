// load_images: reads a channel (CIFAR-10 batches or a folder of images).
//
// Separate from images.h, because training.cc is compiled in an older C++ than Tarn's headers.
#pragma once

#include "base/status.h"
#include "images.h"

namespace tarn::algorithms {

/// The first `images_max` (0: all) images of train, and all of test. BadFormat where there is no
/// data set, no training image, or a label beyond 255.
Result<Images> load_images(const std::string& channel_dir, uint64_t images_max);

}  // namespace tarn::algorithms
