// Dataset: labelled images, whatever the files they come in.
//
// open_dataset looks at a path and opens what is there: CIFAR-10 batches (a folder of them, the
// folder above it, or one file) or a folder of images with a folder for each class. Further forms
// (tar shards) implement the same interface. Items are numbered from 0: all of a split stand
// together, in the order of their files. Thread rules: const calls are thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataset/image.h"
#include "digest/digest.h"

namespace tarn::dataset {

enum class Split : uint8_t { kTrain, kTest };
std::string_view split_name(Split split);

class Dataset {
 public:
  virtual ~Dataset() = default;

  /// "cifar10" or "image-folder".
  virtual std::string_view format() const = 0;
  /// The name of each label; a label beyond them has only its number.
  virtual const std::vector<std::string>& class_names() const = 0;
  virtual uint64_t count() const = 0;
  /// For i < count(), here and below.
  virtual Split split(uint64_t i) const = 0;
  virtual uint32_t label(uint64_t i) const = 0;
  /// The decoded image.
  virtual Result<Image> image(uint64_t i) const = 0;
  /// Where the item is, for people: "data_batch_1[17]" or "train/cat/001.png".
  virtual std::string location(uint64_t i) const = 0;
  /// MD5 of the stored bytes of the items `first` to `first + count - 1`: pixels in CIFAR-10, files
  /// in a folder of images.
  virtual Result<std::vector<digest::Digest>> digests(uint64_t first, uint64_t count) const = 0;
};

/// The name of a label, or its number when it has none.
std::string class_name(const Dataset& dataset, uint32_t label);

/// Opens the data set at `path`; NotFound, or BadFormat saying what was looked for. Damaged files
/// are reported with their path.
Result<std::unique_ptr<Dataset>> open_dataset(const std::string& path);

/// A part of the data set at `path` that is large enough for a batch of `count` items and that a
/// batch is as good as random from: of CIFAR-10 one batch file of train, chosen by `seed` with a
/// chance proportional to its size, so that the others need not be read; else all of it. Errors as
/// open_dataset.
Result<std::unique_ptr<Dataset>> open_sample(const std::string& path, uint64_t count,
                                             uint64_t seed);

/// The pickled batch files of the CIFAR-10 data set at `path`, in order: data_batch_1, 2 ... then
/// test_batch; a path that is a file is its own list. Empty when there are none.
struct Cifar10Paths {
  std::vector<std::string> train, test;
  std::optional<std::string> meta;
  bool is_empty() const { return train.empty() && test.empty(); }
};
Result<Cifar10Paths> find_cifar10(const std::string& path);

}  // namespace tarn::dataset
