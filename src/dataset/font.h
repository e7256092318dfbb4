// A small bitmap font for labels in pictures: printable ASCII, 5 x 8 pixels a character.
//
// Drawn in one colour, `scale` image pixels a font pixel; characters are 6 font pixels apart.
// Everything that is not printable ASCII is drawn as '?'. Text that does not fit is cut at the
// image's edge. Thread rules: plain functions.
#pragma once

#include <string_view>

#include "dataset/image.h"

namespace tarn::dataset {

inline constexpr uint32_t kFontHeight = 8, kFontAdvance = 6;

/// Draws `text` with its upper left corner at (x, y).
void draw_text(Image& image, uint32_t x, uint32_t y, std::string_view text, Colour colour,
               uint32_t scale);
/// The width of `text` in image pixels.
uint32_t text_width(std::string_view text, uint32_t scale);

}  // namespace tarn::dataset
