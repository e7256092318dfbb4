// Pictures that can stand in for CIFAR-10: ten classes, each with a shape, a texture and colours.
//
// Every image has the figure of its class at a random place, size and colour before a background
// with a gradient, and noise over all of it. A small network learns the classes from few images;
// the noise is chosen so that gzip leaves of the files what it leaves of the real ones (0.86).
// An image depends on the seed, its split and its number only. Thread rules: const calls are
// thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataset/dataset.h"

namespace tarn::dataset {

inline constexpr std::array<std::string_view, 10> kCifarClasses = {
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};

/// A small generator of pseudo-random numbers (SplitMix64, Steele et al. 2014).
class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  /// An integer from `low` to `high`, both possible.
  int between(int low, int high) {
    const auto range = static_cast<uint64_t>(high - low + 1);
    return low + static_cast<int>((next() >> 32) * range >> 32);
  }

 private:
  uint64_t state_;
};

class LookAlike {
 public:
  /// A data set of `train` and `test` images, with as many of each class as of any other (give or
  /// take one), in random order.
  LookAlike(uint64_t seed, uint64_t train, uint64_t test);

  std::span<const uint8_t> labels(Split split) const { return labels_[static_cast<size_t>(split)]; }
  /// "cat_s_000017.png", as in the original; different for each image of a split.
  std::string filename(Split split, uint64_t i) const;
  /// Draws image `i` in CIFAR's planes into 3072 bytes.
  void draw(Split split, uint64_t i, std::span<std::byte> row) const;
  /// Draws copy `copy` > 0 of training image `i`: cut from a 4-pixel border of zeros, and flipped
  /// or not, as CIFAR-10 is usually augmented.
  void draw_augmented(uint64_t copy, uint64_t i, std::span<std::byte> row) const;

 private:
  SplitMix random_for(Split split, uint64_t i, uint64_t copy) const;

  uint64_t seed_;
  std::array<std::vector<uint8_t>, 2> labels_;
};

}  // namespace tarn::dataset
