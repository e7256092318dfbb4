#include "images.h"

#include <array>

#include <fmt/format.h>

#include "base/clock.h"
#include "dataset/dataset.h"
#include "loading.h"

namespace tarn::algorithms {
namespace {

constexpr uint32_t kLabelMax = 255;

void append_planes(const dataset::Image& image, std::vector<uint8_t>& planes) {
  std::array<uint32_t, kSide> columns{};
  for (uint32_t x = 0; x < kSide; ++x)
    columns[x] = static_cast<uint32_t>(uint64_t{x} * image.width / kSide);
  size_t at = planes.size();
  planes.resize(at + kImageBytes);
  for (uint32_t channel = 0; channel < 3; ++channel) {
    for (uint32_t y = 0; y < kSide; ++y) {
      const uint8_t* line =
          image.pixel(0, static_cast<uint32_t>(uint64_t{y} * image.height / kSide));
      for (const uint32_t x : columns) planes[at++] = line[size_t{x} * 3 + channel];
    }
  }
}

Status append(const dataset::Dataset& source, uint64_t item, ImageSet& set) {
  const uint32_t label = source.label(item);
  if (label > kLabelMax)
    return {Code::kBadFormat,
            fmt::format("{} has label {}, above {}", source.location(item), label, kLabelMax)};
  TARN_ASSIGN(const dataset::Image image, source.image(item));
  append_planes(image, set.planes);
  set.labels.push_back(static_cast<uint8_t>(label));
  return Status::ok();
}

}  // namespace

Result<Images> load_images(const std::string& channel_dir, uint64_t images_max) {
  const TimeNs began = Clock::system().monotonic();
  TARN_ASSIGN(const auto source, dataset::open_dataset(channel_dir));
  Images images;
  images.class_names = source->class_names();
  for (uint64_t item = 0; item < source->count(); ++item) {
    const bool is_train = source->split(item) == dataset::Split::kTrain;
    if (is_train && images_max > 0 && images.train.count() >= images_max) continue;
    TARN_TRY(append(*source, item, is_train ? images.train : images.test));
  }
  if (images.train.count() == 0)
    return Status(Code::kBadFormat, fmt::format("'{}' has no training image", channel_dir));
  for (const ImageSet* set : {&images.train, &images.test}) {
    for (const uint8_t label : set->labels) {
      while (images.class_names.size() <= label)
        images.class_names.push_back(std::to_string(images.class_names.size()));
    }
  }
  images.seconds =
      static_cast<double>(Clock::system().monotonic() - began) / static_cast<double>(kSecondNs);
  return images;
}

}  // namespace tarn::algorithms
