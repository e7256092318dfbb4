#include "archive/byte_stream.h"

#include <algorithm>

#include "base/limits.h"

namespace tarn::archive {
namespace {

constexpr size_t kReadMin = 4 * limits::kKiB;
// What headers alone may grow the reads to; data that is wanted, to 1 MiB.
constexpr size_t kHeaderReadMax = 64 * limits::kKiB;
constexpr size_t kDataReadMax = 1 * limits::kMiB;

}  // namespace

Result<std::span<const std::byte>> PlainStream::peek(size_t want) {
  const auto shown = [&] {
    const size_t skipped = static_cast<size_t>(position_ - window_begin_);
    return std::span<const std::byte>(window_).subspan(skipped, window_size_ - skipped);
  };
  if (position_ >= window_begin_ && position_ < window_begin_ + window_size_) return shown();
  next_read_ = position_ == last_end_ ? std::min(next_read_ * 2, kHeaderReadMax) : 0;
  next_read_ = std::max({next_read_, kReadMin});
  const size_t bytes = std::max(next_read_, std::min(want, kDataReadMax));
  if (window_.size() < bytes) window_.resize(bytes);
  window_size_ = 0;
  TARN_ASSIGN(window_size_, source_.read_at(position_, std::span(window_).first(bytes)));
  window_begin_ = position_;
  last_end_ = position_ + window_size_;
  return shown();
}

void PlainStream::consume(size_t n) {
  position_ += n;
}

Result<uint64_t> PlainStream::skip(uint64_t n) {
  uint64_t passed = n;
  if (const auto size = source_.size()) {
    passed = std::min(n, *size - std::min(*size, position_));
  } else if (n > 0) {
    std::byte last;
    TARN_ASSIGN(const size_t found, source_.read_at(position_ + n - 1, {&last, 1}));
    // Where it ends does not matter: the caller only learns that it is too early.
    if (found == 0) passed = n - 1;
  }
  position_ += passed;
  return passed;
}

}  // namespace tarn::archive
