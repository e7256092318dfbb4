#include "dataset/contact_sheet.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <unordered_set>

#include <fmt/format.h>

#include "dataset/font.h"

namespace tarn::dataset {
namespace {

constexpr uint32_t kBoxSide = 160;  // five times CIFAR's 32
constexpr uint32_t kGap = 12;
constexpr uint32_t kTextScale = 2;
constexpr uint32_t kTextHeight = kFontHeight * kTextScale;
constexpr uint32_t kTileWidth = kBoxSide + kGap;
constexpr uint32_t kTileHeight = kBoxSide + kTextHeight + 2 * kGap;
constexpr Colour kPaper = {255, 255, 255}, kInk = {32, 32, 32};

/// Draws `source` into the box at (x, y), as large as it fits, by nearest pixels.
void draw_image(Image& sheet, uint32_t x, uint32_t y, const Image& source) {
  const uint64_t longer = std::max(source.width, source.height);
  const auto fit = [&](uint32_t side) {
    return std::max<uint32_t>(1, static_cast<uint32_t>(uint64_t{side} * kBoxSide / longer));
  };
  const uint32_t width = fit(source.width), height = fit(source.height);
  const uint32_t left = x + (kBoxSide - width) / 2, top = y + (kBoxSide - height) / 2;
  for (uint32_t row = 0; row < height; ++row) {
    const auto from_row = static_cast<uint32_t>(uint64_t{row} * source.height / height);
    for (uint32_t column = 0; column < width; ++column) {
      const auto from = static_cast<uint32_t>(uint64_t{column} * source.width / width);
      std::copy_n(source.pixel(from, from_row), 3, sheet.pixel(left + column, top + row));
    }
  }
}

void draw_label(Image& sheet, uint32_t x, uint32_t y, std::string_view label) {
  const auto letters = std::min<size_t>(label.size(), kBoxSide / (kFontAdvance * kTextScale));
  label = label.substr(0, letters);
  draw_text(sheet, x + (kBoxSide - text_width(label, kTextScale)) / 2, y, label, kInk, kTextScale);
}

}  // namespace

std::vector<uint64_t> random_batch(const Dataset& dataset, uint64_t count, uint64_t seed) {
  uint64_t among = 0;
  // Training images stand first.
  while (among < dataset.count() && dataset.split(among) == Split::kTrain) ++among;
  if (among == 0) among = dataset.count();
  count = std::min(count, among);
  std::mt19937_64 random(seed);
  std::vector<uint64_t> out;
  std::unordered_set<uint64_t> taken;
  while (out.size() < count) {
    // The remainder favours low numbers by less than one in 2^40.
    const uint64_t item = random() % among;
    if (taken.insert(item).second) out.push_back(item);
  }
  return out;
}

Result<Image> contact_sheet(const Dataset& dataset, std::span<const uint64_t> items) {
  if (items.empty() || items.size() > kSheetImagesMax) {
    return Status(Code::kInvalidArgument, fmt::format("a sheet of {} images; 1 to {} are drawn",
                                                      items.size(), kSheetImagesMax));
  }
  const auto count = static_cast<uint32_t>(items.size());
  const uint32_t columns =
      count <= 5 ? count : static_cast<uint32_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  const uint32_t rows = (count + columns - 1) / columns;
  Image sheet(columns * kTileWidth + kGap, rows * kTileHeight + kGap, kPaper);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t x = kGap + i % columns * kTileWidth, y = kGap + i / columns * kTileHeight;
    TARN_ASSIGN(const Image image, dataset.image(items[i]));
    draw_image(sheet, x, y, image);
    draw_label(sheet, x, y + kBoxSide + kGap / 2, class_name(dataset, dataset.label(items[i])));
  }
  return sheet;
}

}  // namespace tarn::dataset
