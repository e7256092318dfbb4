// A contact sheet: a random batch of a data set's images with their labels, as one picture.
//
// What a notebook's "show a random batch" cell draws, without Python. The batch is drawn from the
// training images (all images where there are none), without repetition, by the seed alone.
// Thread rules: plain functions; thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "dataset/dataset.h"

namespace tarn::dataset {

inline constexpr uint64_t kSheetImagesMax = 1024;

/// `count` different items of the data set (fewer when it has fewer), the same for the same seed.
std::vector<uint64_t> random_batch(const Dataset& dataset, uint64_t count, uint64_t seed);
/// The images of `items` in rows, each with its class name below. InvalidArgument for none, or
/// more than kSheetImagesMax.
Result<Image> contact_sheet(const Dataset& dataset, std::span<const uint64_t> items);

}  // namespace tarn::dataset
