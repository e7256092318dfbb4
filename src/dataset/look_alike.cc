#include "dataset/look_alike.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "dataset/cifar10.h"

namespace tarn::dataset {
namespace {

constexpr int kSide = static_cast<int>(kCifarSide);
// Chosen by trial: of six copies gzip -1 leaves 0.845, ISA-L 0.87; of the real set's 0.86 and 0.88.
// More noise leaves more.
constexpr int kNoise = 10;
// How far an image's colours are from those of its class, and its brightness from the average.
constexpr int kColourSpread = 30, kBrightnessSpread = 30;

using Rgb = std::array<int, 3>;

struct ClassLook {
  Rgb background, figure;
  int stripes_x, stripes_y;  // of the background, in 64ths of a period a pixel
};

constexpr std::array<ClassLook, 10> kLooks = {{
    {{130, 165, 205}, {190, 190, 195}, 1, 2},  // airplane
    {{120, 115, 110}, {175, 70, 60}, 9, 0},    // automobile
    {{140, 160, 150}, {120, 90, 60}, 3, 5},    // bird
    {{130, 110, 100}, {85, 75, 70}, 5, 5},     // cat
    {{90, 115, 70}, {140, 105, 70}, 0, 7},     // deer
    {{150, 135, 120}, {150, 115, 85}, 2, 2},   // dog
    {{95, 100, 60}, {90, 140, 65}, 12, 12},    // frog
    {{125, 140, 95}, {100, 70, 55}, 7, 3},     // horse
    {{95, 125, 160}, {150, 150, 155}, 0, 10},  // ship
    {{140, 140, 145}, {160, 140, 90}, 10, 1},  // truck
}};

/// True where the figure of class `label`, of half width `r`, covers the point (dx, dy).
bool covers(unsigned label, int dx, int dy, int r) {
  const int ax = std::abs(dx), ay = std::abs(dy);
  switch (label) {
    case 0:  // a cross
      return (ax * 4 <= r && ay <= r) || (ay * 4 <= r && ax <= r);
    case 1:  // a wide box
      return ax <= r && ay * 2 <= r;
    case 2:  // a triangle that stands on its base
      return ay <= r && ax * 2 <= dy + r;
    case 3:  // a ring
      return dx * dx + dy * dy <= r * r && (dx * dx + dy * dy) * 3 >= r * r;
    case 4:  // a tall box
      return ax * 2 <= r && ay <= r;
    case 5:  // a disc
      return dx * dx + dy * dy <= r * r;
    case 6:  // a diamond
      return ax + ay <= r;
    case 7:  // two bars
      return ay <= r && ax <= r && ax * 3 >= r;
    case 8:  // the lower half of a disc
      return dy >= 0 && dx * dx + dy * dy <= r * r;
    default:  // a chequered box
      return ax <= r && ay <= r && (((dx + 64) / 4 + (dy + 64) / 4) & 1) == 0;
  }
}

/// A triangle wave of period 64 between -16 and 16.
int wave(int phase) {
  const int at = phase & 63;
  return at < 32 ? at - 16 : 48 - at;
}

/// Noise from -kNoise to kNoise for a row of pixels.
void fill_noise(SplitMix& random, int (&noise)[kSide]) {
  for (int x = 0; x < kSide; x += 8) {
    const uint64_t bits = random.next();
    for (int i = 0; i < 8; ++i) {
      const int byte = static_cast<int>(bits >> 8 * i & 0xff);
      noise[x + i] = (byte * (2 * kNoise + 1) >> 8) - kNoise;
    }
  }
}

struct Scene {
  Rgb background, figure, slope_x, slope_y;
  int center_x, center_y, radius, phase;
};

Scene make_scene(SplitMix& random, const ClassLook& look) {
  Scene scene{};
  const int brightness = random.between(-kBrightnessSpread, kBrightnessSpread);
  for (size_t c = 0; c < 3; ++c) {
    const auto near = [&](int value) {
      return value + brightness + random.between(-kColourSpread, kColourSpread);
    };
    scene.background[c] = near(look.background[c]);
    scene.figure[c] = near(look.figure[c]);
    // In 16ths of a step a pixel.
    scene.slope_x[c] = random.between(-16, 16);
    scene.slope_y[c] = random.between(-16, 16);
  }
  scene.center_x = random.between(11, 20);
  scene.center_y = random.between(11, 20);
  scene.radius = random.between(8, 12);
  scene.phase = random.between(0, 63);
  return scene;
}

}  // namespace

LookAlike::LookAlike(uint64_t seed, uint64_t train, uint64_t test) : seed_(seed) {
  for (const Split split : {Split::kTrain, Split::kTest}) {
    auto& labels = labels_[static_cast<size_t>(split)];
    labels.resize(split == Split::kTrain ? train : test);
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<uint8_t>(i % 10);
    SplitMix random = random_for(split, UINT64_MAX, 0);
    // Fisher and Yates.
    for (size_t i = labels.size(); i > 1; --i) std::swap(labels[i - 1], labels[random.next() % i]);
  }
}

SplitMix LookAlike::random_for(Split split, uint64_t i, uint64_t copy) const {
  SplitMix mixed(seed_);
  const uint64_t by_seed = mixed.next();
  SplitMix by_item(by_seed ^ (i * 2 + static_cast<uint64_t>(split)));
  SplitMix by_copy(by_item.next() ^ copy);
  return SplitMix(by_copy.next());
}

std::string LookAlike::filename(Split split, uint64_t i) const {
  return fmt::format("{}_s_{:06}.png", kCifarClasses[labels(split)[i]], i);
}

void LookAlike::draw(Split split, uint64_t i, std::span<std::byte> row) const {
  SplitMix random = random_for(split, i, 0);
  const unsigned label = labels(split)[i];
  const ClassLook& look = kLooks[label];
  const Scene scene = make_scene(random, look);
  for (int y = 0; y < kSide; ++y) {
    int texture[kSide], is_figure[kSide], noise[kSide];
    for (int x = 0; x < kSide; ++x) {
      texture[x] = wave(scene.phase + x * look.stripes_x + y * look.stripes_y);
      is_figure[x] = covers(label, x - scene.center_x, y - scene.center_y, scene.radius) ? -1 : 0;
    }
    for (size_t c = 0; c < 3; ++c) {
      fill_noise(random, noise);
      const int paint = scene.figure[c] - scene.background[c];
      const int base = scene.background[c] * 16 + scene.slope_y[c] * (y - kSide / 2);
      std::byte* out = row.data() + c * kCifarPlaneBytes + static_cast<size_t>(y * kSide);
      for (int x = 0; x < kSide; ++x) {
        const int plain = (base + scene.slope_x[c] * (x - kSide / 2)) >> 4;
        const int value = plain + (paint & is_figure[x]) + texture[x] + noise[x];
        out[x] = static_cast<std::byte>(std::clamp(value, 0, 255));
      }
    }
  }
}

void LookAlike::draw_augmented(uint64_t copy, uint64_t i, std::span<std::byte> row) const {
  std::array<std::byte, kCifarRowBytes> plain;
  draw(Split::kTrain, i, plain);
  SplitMix random = random_for(Split::kTrain, i, copy);
  const int up = random.between(-4, 4), left = random.between(-4, 4);
  const bool is_flipped = random.between(0, 1) == 1;
  std::ranges::fill(row, std::byte{0});
  for (size_t c = 0; c < 3; ++c) {
    const std::byte* from = plain.data() + c * kCifarPlaneBytes;
    std::byte* to = row.data() + c * kCifarPlaneBytes;
    for (int y = std::max(0, -up); y < std::min(kSide, kSide - up); ++y) {
      const int first = std::max(0, -left), end = std::min(kSide, kSide - left);
      std::memcpy(to + y * kSide + first, from + (y + up) * kSide + first + left,
                  static_cast<size_t>(end - first));
      if (is_flipped) std::reverse(to + y * kSide, to + (y + 1) * kSide);
    }
  }
}

}  // namespace tarn::dataset
