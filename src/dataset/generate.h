// Writes a CIFAR-10 look-alike in the layout of the original archive.
//
//   OUT/cifar-10-batches-py/data_batch_1 ... data_batch_5K, test_batch, batches.meta
//   OUT/MD5SUMS                       md5sum's lines of those files
//   OUT/cifar-10-python.tar.gz, .tar  the archive, compressed and plain
//   OUT/cifar-10-python.tar.gz.md5, .tar.md5
//
// With the usual 10,000 images a batch one copy is 182 MB; each further copy of the training data
// (flipped and shifted) adds 155 MB. The files depend on the options only; the compressed archive
// also on what ISA-L does on this processor. Thread rules: uses all cores; thread-safe for
// different folders.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace tarn::dataset {

struct GenerateOptions {
  uint64_t images_per_batch = 10'000;
  uint64_t augment = 1;  // copies of the training data, the first is plain
  uint64_t seed = 7;
  bool has_gzip_archive = true;
  bool has_plain_archive = true;
};

inline constexpr uint64_t kImagesPerBatchMax = 100'000;
inline constexpr uint64_t kAugmentMax = 1'000;

struct GeneratedFile {
  std::string path;  // below OUT
  uint64_t bytes = 0;
  std::string md5;
};

struct Generated {
  std::vector<GeneratedFile> members;   // in the order of the archive
  std::vector<GeneratedFile> archives;  // those that were asked for
  uint64_t bytes = 0;                   // of the members
};

/// Makes `out_dir` where needed and replaces what it has of these files. InvalidArgument for
/// options beyond the limits above.
Result<Generated> generate(const std::string& out_dir, const GenerateOptions& options);

}  // namespace tarn::dataset
