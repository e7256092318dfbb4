// CIFAR-10's files: pickled batches and batches.meta.
//
// A batch is a dict with `data` (uint8, one row of 3072 bytes an image: 1024 red, 1024 green, 1024
// blue, each row-major), `labels` (one integer a row), `batch_label` and `filenames`; keys are byte
// strings or texts. batches.meta has `label_names`. Format: "Learning Multiple Layers of Features
// from Tiny Images", Krizhevsky 2009, and the README of the archive. The rows are views of the
// file's bytes, so a batch must not outlive them. Thread rules: plain values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataset/image.h"
#include "dataset/pickle.h"

namespace tarn::dataset {

inline constexpr uint32_t kCifarSide = 32;
inline constexpr uint64_t kCifarPlaneBytes = uint64_t{kCifarSide} * kCifarSide;
inline constexpr uint64_t kCifarRowBytes = 3 * kCifarPlaneBytes;

class Cifar10Batch {
 public:
  /// A batch of no images.
  Cifar10Batch() = default;
  /// Reads the pickle of a batch. BadFormat for anything that is not one: the key is named.
  static Result<Cifar10Batch> parse(std::span<const std::byte> file);

  const std::string& batch_label() const { return batch_label_; }
  uint64_t count() const { return labels_.size(); }
  std::span<const uint8_t> labels() const { return labels_; }
  /// All rows, in order.
  std::span<const std::byte> data() const { return data_; }
  /// The 3072 bytes of image `i` < count().
  std::span<const std::byte> row(uint64_t i) const {
    return data_.subspan(i * kCifarRowBytes, kCifarRowBytes);
  }
  /// One name a row, or none at all when the batch has none.
  std::span<const std::string_view> filenames() const { return filenames_; }
  Image image(uint64_t i) const;

 private:
  std::string batch_label_;
  std::vector<uint8_t> labels_;
  std::vector<std::string_view> filenames_;
  std::span<const std::byte> data_;
  std::vector<std::byte> converted_;  // what data_ refers to when the file has Fortran order
  std::vector<std::string> decoded_;  // names that are not in the file as they stand
};

struct Cifar10Meta {
  std::vector<std::string> label_names;
  uint64_t num_cases_per_batch = 0;
  uint64_t num_vis = 0;

  static Result<Cifar10Meta> parse(std::span<const std::byte> file);
};

/// The image of one row.
Image cifar_image(std::span<const std::byte> row);

}  // namespace tarn::dataset
