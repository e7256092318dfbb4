#include "dataset/record_sum.h"

#include <atomic>
#include <cstring>

#include <fmt/format.h>

#include "dataset/cifar10_dataset.h"
#include "dataset/parallel.h"

namespace tarn::dataset {
namespace {

constexpr uint64_t kChunkBytes = uint64_t{4} << 20;
// Chunks that are asked for before the one that is summed: 64 MB keep a disk busy that wants many
// requests at once.
constexpr size_t kChunksAhead = 16;

struct Chunk {
  size_t file;
  std::span<const std::byte> bytes;
};

}  // namespace

uint64_t sum_bytes(std::span<const std::byte> bytes) {
  // Pairs of bytes are added in 16-bit lanes of 64-bit words; a lane holds 128 times two bytes.
  // Plain loops of a constant length, which the compiler turns into SIMD.
  constexpr uint64_t kEven = 0x00ff00ff00ff00ff;
  constexpr size_t kWords = 8, kTimes = 128, kBlock = kWords * kTimes * sizeof(uint64_t);
  uint64_t total = 0;
  const std::byte* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= kBlock; left -= kBlock) {
    uint64_t lanes[kWords] = {};
    for (size_t time = 0; time < kTimes; ++time, at += kWords * sizeof(uint64_t)) {
      uint64_t words[kWords];
      std::memcpy(words, at, sizeof words);
      for (size_t i = 0; i < kWords; ++i) {
        lanes[i] += (words[i] & kEven) + (words[i] >> 8 & kEven);
      }
    }
    for (const uint64_t lane : lanes) {
      total += (lane & 0xffff) + (lane >> 16 & 0xffff) + (lane >> 32 & 0xffff) + (lane >> 48);
    }
  }
  for (; left > 0; --left, ++at) total += std::to_integer<uint64_t>(*at);
  return total;
}

Result<RecordSum> sum_records(const std::string& path) {
  TARN_ASSIGN(const Cifar10Paths paths, find_cifar10(path));
  if (paths.is_empty()) {
    return Status(Code::kNotFound,
                  fmt::format("no data_batch_N or test_batch (CIFAR-10) in '{}'", path));
  }
  TARN_ASSIGN(const std::vector<Cifar10File> files, open_cifar10_files(paths));
  RecordSum out;
  std::vector<Chunk> chunks;
  for (size_t f = 0; f < files.size(); ++f) {
    const Cifar10Batch& batch = files[f].batch;
    out.files.push_back({files[f].path, batch.count(), batch.data().size(), 0});
    for (const uint8_t label : batch.labels()) {
      if (label >= out.labels.size()) out.labels.resize(label + size_t{1});
      ++out.labels[label];
    }
    for (uint64_t begin = 0; begin < batch.data().size(); begin += kChunkBytes) {
      const uint64_t length = std::min<uint64_t>(kChunkBytes, batch.data().size() - begin);
      chunks.push_back({f, batch.data().subspan(begin, length)});
    }
  }
  std::vector<std::atomic<uint64_t>> sums(files.size());
  const auto prefetch = [&](size_t i) {
    if (i < chunks.size()) files[chunks[i].file].file.prefetch(chunks[i].bytes);
  };
  for (size_t i = 0; i < kChunksAhead; ++i) prefetch(i);
  parallel_for(chunks.size(), io_threads(), [&](size_t i) {
    prefetch(i + kChunksAhead);
    sums[chunks[i].file] += sum_bytes(chunks[i].bytes);
  });
  for (size_t f = 0; f < files.size(); ++f) {
    out.files[f].sum = sums[f];
    out.records += out.files[f].records;
    out.record_bytes += out.files[f].record_bytes;
    out.sum += out.files[f].sum;
  }
  return out;
}

}  // namespace tarn::dataset
