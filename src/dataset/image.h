// Image: 8-bit RGB pixels, and their PNG and JPEG forms.
//
// PNG files are read in every colour type (grey and palettes become RGB, alpha is dropped on
// white); JPEG files in grey and colour. Sizes are limited before memory is taken. Errors are
// BadFormat with the library's own words. Thread rules: plain values; functions are thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace tarn::dataset {

using Colour = std::array<uint8_t, 3>;

struct Image {
  uint32_t width = 0, height = 0;
  std::vector<uint8_t> rgb;  // height rows of width pixels of 3 bytes

  Image() = default;
  Image(uint32_t wide, uint32_t high, Colour fill = {});

  uint8_t* pixel(uint32_t x, uint32_t y) { return &rgb[(size_t{y} * width + x) * 3]; }
  const uint8_t* pixel(uint32_t x, uint32_t y) const { return &rgb[(size_t{y} * width + x) * 3]; }
};

/// Pixels of an image that is read: 64 million, 192 MB.
inline constexpr uint64_t kPixelsMax = uint64_t{1} << 26;

/// Decodes a PNG or a JPEG file, told apart by its first bytes.
Result<Image> decode_image(std::span<const std::byte> file);
/// The PNG file of an image.
Result<std::string> encode_png(const Image& image);

}  // namespace tarn::dataset
