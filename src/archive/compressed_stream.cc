#include "archive/compressed_stream.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/worker_pool.h"

namespace tarn::archive {
namespace {

constexpr size_t kBlockSize = 256 * limits::kKiB;
constexpr size_t kBlocks = 8;
constexpr int kFilledRank = 920, kEmptyRank = 921;
// Small archives reach any ratio: their trailing zeros alone do.
constexpr uint64_t kRatioFromBytes = 64 * limits::kMiB;

}  // namespace

CompressedStream::CompressedStream(Source& source, const Options& options)
    : options_(options),
      input_(source, options_),
      filled_("archive.filled", kFilledRank, kBlocks + 1),
      empty_("archive.empty", kEmptyRank, kBlocks) {}

Result<std::unique_ptr<CompressedStream>> CompressedStream::open(Source& source,
                                                                 Compression compression,
                                                                 const Options& options) {
  std::unique_ptr<CompressedStream> stream(new CompressedStream(source, options));
  TARN_ASSIGN(stream->decoder_, Decoder::open(compression, stream->input_, stream->options_));
  for (size_t i = 0; i < kBlocks; ++i)
    stream->empty_.push({std::make_unique_for_overwrite<std::byte[]>(kBlockSize), 0, {}});
  stream->thread_ = std::thread([raw = stream.get()] { raw->run(); });
  return stream;
}

CompressedStream::~CompressedStream() {
  filled_.close();
  empty_.close();
  if (thread_.joinable()) thread_.join();
}

Status CompressedStream::check_ratio(uint64_t decoded) const {
  const uint64_t ratio = options_.limits.ratio_max;
  if (ratio == 0 || decoded < kRatioFromBytes || decoded / ratio <= input_.position()) return {};
  return {
      Code::kFileTooLarge,
      fmt::format("{} compressed bytes have become {}, more than {} for each; raise the limit if "
                  "this is no decompression bomb",
                  input_.position(), decoded, ratio)};
}

void CompressedStream::run() {
  set_thread_name("tarn-unpack");
  uint64_t decoded = 0;
  while (auto block = empty_.pop()) {
    auto size = decoder_->decode({block->bytes.get(), kBlockSize});
    block->size = size ? *size : 0;
    decoded += block->size;
    block->status = size.status();
    if (block->status.is_ok()) block->status = check_ratio(decoded);
    const bool is_last = block->size == 0 || !block->status.is_ok();
    if (!filled_.push(std::move(*block)) || is_last) return;
  }
}

Result<std::span<const std::byte>> CompressedStream::peek(size_t) {
  while (used_ == block_.size && !is_finished_) {
    if (block_.bytes) empty_.push(std::move(block_));
    block_ = {};
    used_ = 0;
    auto next = filled_.pop();
    if (next) block_ = std::move(*next);
    is_finished_ = block_.size == 0 || !block_.status.is_ok();
    failure_ = block_.status;
    if (!failure_.is_ok()) block_.size = 0;
  }
  if (!failure_.is_ok()) return failure_;
  return std::span<const std::byte>(block_.bytes.get() + used_, block_.size - used_);
}

void CompressedStream::consume(size_t n) {
  used_ += n;
  position_ += n;
}

Result<uint64_t> CompressedStream::skip(uint64_t n) {
  uint64_t left = n;
  while (left > 0) {
    TARN_ASSIGN(const auto bytes, peek(0));
    if (bytes.empty()) break;
    const auto step = static_cast<size_t>(std::min<uint64_t>(left, bytes.size()));
    consume(step);
    left -= step;
  }
  return n - left;
}

}  // namespace tarn::archive
