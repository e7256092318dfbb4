// Images of a channel, in memory, as a network takes them.
//
// Pixels are bytes in planes (red, green, blue), each image of kSide x kSide pixels; pictures of
// other sizes are scaled (nearest pixel). Reading is counted in seconds, which is the time that
// training waits for data. Thread rules: plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tarn::algorithms {

inline constexpr uint32_t kSide = 32;
inline constexpr uint64_t kImageBytes = uint64_t{3} * kSide * kSide;

struct ImageSet {
  std::vector<uint8_t> planes;  // kImageBytes an image
  std::vector<uint8_t> labels;  // one an image
  uint64_t count() const { return labels.size(); }
};

struct Images {
  ImageSet train, test;
  std::vector<std::string> class_names;  // by label
  double seconds = 0;                    // spent on reading
};

}  // namespace tarn::algorithms
