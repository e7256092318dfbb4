#include "archive/decoder.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <isa-l/igzip_lib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/limits.h"

namespace tarn::archive {
namespace {

constexpr size_t kInputBytes = 256 * limits::kKiB;

bool is_all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

/// The common part: the input that is at hand, and what may follow the end of the stream.
class DecoderBase : public Decoder {
 public:
  DecoderBase(std::string_view name, RawInput& input, const Options& options)
      : name_(name), input_(input), options_(options) {}

 protected:
  Status bad(std::string_view what) const {
    return {Code::kBadFormat, fmt::format("{} stream {} at byte {} of the archive", name_, what,
                                          input_.position() - at_hand_.size())};
  }
  Status truncated() const {
    return {Code::kBadFormat, fmt::format("{} stream is truncated: the archive ends after {} bytes",
                                          name_, input_.position())};
  }
  /// Makes sure that there is input at hand; false at its end.
  Result<bool> fill() {
    if (at_hand_.empty()) {
      TARN_ASSIGN(at_hand_, input_.read());
    }
    return !at_hand_.empty();
  }
  /// Reads the input to its end. Only zeros (tape padding) may be there.
  Status drain() {
    for (;;) {
      TARN_ASSIGN(const bool has_input, fill());
      if (!has_input) return {};
      if (!options_.ignore_trailing_data && !is_all_zero(at_hand_))
        return bad("is followed by bytes that are not part of it");
      at_hand_ = {};
    }
  }

  std::string_view name_;
  RawInput& input_;
  const Options& options_;
  std::span<const std::byte> at_hand_;
};

class GzipDecoder : public DecoderBase {
 public:
  GzipDecoder(RawInput& input, const Options& options)
      : DecoderBase("gzip", input, options), state_(std::make_unique<inflate_state>()) {
    start_member();
  }

  Result<size_t> decode(std::span<std::byte> out) override {
    size_t filled = 0;
    while (filled < out.size() && !is_finished_) {
      if (state_->block_state == ISAL_BLOCK_FINISH) {
        TARN_ASSIGN(is_finished_, finish_member());
        continue;
      }
      TARN_ASSIGN(const bool has_input, fill());
      const size_t room =
          std::min<size_t>(out.size() - filled, std::numeric_limits<uint32_t>::max());
      state_->next_in = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(at_hand_.data()));
      state_->avail_in = static_cast<uint32_t>(at_hand_.size());
      state_->next_out = reinterpret_cast<uint8_t*>(out.data() + filled);
      state_->avail_out = static_cast<uint32_t>(room);
      const int code = isal_inflate(state_.get());
      const size_t made = room - state_->avail_out;
      const size_t used = at_hand_.size() - state_->avail_in;
      at_hand_ = at_hand_.subspan(used);
      filled += made;
      if (code == ISAL_INCORRECT_CHECKSUM) return bad("has a wrong checksum or length");
      if (code < 0) return bad(fmt::format("is damaged (ISA-L error {})", code));
      if (!has_input && made == 0 && state_->block_state != ISAL_BLOCK_FINISH) return truncated();
    }
    return filled;
  }

 private:
  void start_member() {
    isal_inflate_init(state_.get());
    state_->crc_flag = ISAL_GZIP;
  }

  /// Starts the next member if there is one; true at the end of the stream.
  Result<bool> finish_member() {
    TARN_ASSIGN(const bool has_input, fill());
    if (!has_input) return true;
    if (at_hand_[0] == std::byte{0x1f}) {
      start_member();
      return false;
    }
    TARN_TRY(drain());
    return true;
  }

  std::unique_ptr<inflate_state> state_;
  bool is_finished_ = false;
};

class ZstdDecoder : public DecoderBase {
 public:
  ZstdDecoder(RawInput& input, const Options& options)
      : DecoderBase("zstd", input, options), context_(ZSTD_createDCtx()) {
    if (context_)
      ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax,
                             options.limits.zstd_window_log_max);
  }
  bool is_ready() const { return context_ != nullptr; }

  Result<size_t> decode(std::span<std::byte> out) override {
    ZSTD_outBuffer target{out.data(), out.size(), 0};
    while (target.pos < target.size && !is_finished_) {
      TARN_ASSIGN(const bool has_input, fill());
      if (is_between_frames_) {
        if (!has_input) {
          is_finished_ = true;
          break;
        }
        // libzstd names no error for padding, so it is told apart by its first byte.
        if (at_hand_[0] == std::byte{0}) {
          TARN_TRY(drain());
          is_finished_ = true;
          break;
        }
      }
      ZSTD_inBuffer source{at_hand_.data(), at_hand_.size(), 0};
      const size_t before = target.pos;
      const size_t code = ZSTD_decompressStream(context_.get(), &target, &source);
      if (ZSTD_isError(code)) {
        TARN_TRY(explain(code));
        break;
      }
      at_hand_ = at_hand_.subspan(source.pos);
      is_between_frames_ = code == 0;
      has_frame_ = has_frame_ || is_between_frames_;
      if (!has_input && target.pos == before && !is_between_frames_) return truncated();
    }
    return target.pos;
  }

 private:
  /// Ok when what follows the last frame is to be ignored.
  Status explain(size_t code) {
    switch (ZSTD_getErrorCode(code)) {
      case ZSTD_error_frameParameter_windowTooLarge:
        return {Code::kNotSupported,
                fmt::format("zstd frame needs a window of more than 2^{} bytes; raise the limit or "
                            "compress without --long",
                            options_.limits.zstd_window_log_max)};
      case ZSTD_error_prefix_unknown:
        if (!has_frame_) break;
        is_finished_ = true;
        return drain();
      default:
        break;
    }
    return bad(fmt::format("is damaged ({})", ZSTD_getErrorName(code)));
  }

  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> context_;
  bool is_between_frames_ = true, has_frame_ = false, is_finished_ = false;
};

/// xz and bzip2: libarchive's filter in front of its "raw" format.
class LibarchiveDecoder : public DecoderBase {
 public:
  LibarchiveDecoder(std::string_view name, RawInput& input, const Options& options)
      : DecoderBase(name, input, options), handle_(archive_read_new()) {}

  Status start(Compression compression) {
    if (!handle_) return {Code::kOutOfMemory, "no memory for libarchive"};
    const int code = compression == Compression::kXz
                         ? archive_read_support_filter_xz(handle_.get())
                         : archive_read_support_filter_bzip2(handle_.get());
    if (code != ARCHIVE_OK || archive_read_support_format_raw(handle_.get()) != ARCHIVE_OK)
      return {Code::kNotSupported, fmt::format("this libarchive has no {} filter", name_)};
    if (archive_read_open(handle_.get(), this, nullptr, &on_read, nullptr) != ARCHIVE_OK)
      return failure();
    archive_entry* entry = nullptr;
    const int header = archive_read_next_header(handle_.get(), &entry);
    is_finished_ = header == ARCHIVE_EOF;
    if (header != ARCHIVE_OK && header != ARCHIVE_EOF) return failure();
    return {};
  }

  Result<size_t> decode(std::span<std::byte> out) override {
    size_t filled = 0;
    while (filled < out.size() && !is_finished_) {
      const la_ssize_t n =
          archive_read_data(handle_.get(), out.data() + filled, out.size() - filled);
      if (n < 0) return failure();
      filled += static_cast<size_t>(n);
      if (n == 0) TARN_TRY(finish());
    }
    return filled;
  }

 private:
  static la_ssize_t on_read(::archive*, void* self, const void** buffer) {
    auto& decoder = *static_cast<LibarchiveDecoder*>(self);
    auto bytes = decoder.input_.read();
    if (!bytes) {
      decoder.input_failure_ = bytes.status();
      return ARCHIVE_FATAL;
    }
    decoder.at_hand_ = *bytes;
    *buffer = bytes->data();
    return static_cast<la_ssize_t>(bytes->size());
  }

  Status failure() {
    if (!input_failure_.is_ok()) return input_failure_;
    const char* text = archive_error_string(handle_.get());
    return {Code::kBadFormat,
            fmt::format("{} stream is damaged or truncated ({}) near byte {} of "
                        "the archive",
                        name_, text ? text : "no reason given", input_.position())};
  }

  /// libarchive stops at the end of the compressed stream; the rest of the input is ours.
  Status finish() {
    is_finished_ = true;
    const auto used = static_cast<uint64_t>(archive_filter_bytes(handle_.get(), -1));
    const uint64_t left = input_.position() - std::min(used, input_.position());
    if (left > at_hand_.size())
      return {Code::kInternal,
              fmt::format("{} filter left {} bytes, more than its last buffer", name_, left)};
    at_hand_ = at_hand_.last(static_cast<size_t>(left));
    return drain();
  }

  struct Free {
    void operator()(::archive* handle) const { archive_read_free(handle); }
  };
  std::unique_ptr<::archive, Free> handle_;
  Status input_failure_;
  bool is_finished_ = false;
};

}  // namespace

RawInput::RawInput(Source& source, const Options& options)
    : source_(source), options_(options), buffer_(kInputBytes) {}

Result<std::span<const std::byte>> RawInput::read() {
  const uint64_t offset = position();
  TARN_ASSIGN(const size_t n, source_.read_at(offset, buffer_));
  const auto bytes = std::span<const std::byte>(buffer_).first(n);
  if (n > 0 && options_.on_raw) options_.on_raw(bytes);
  position_.store(offset + n, std::memory_order_relaxed);
  return bytes;
}

Result<std::unique_ptr<Decoder>> Decoder::open(Compression compression, RawInput& input,
                                               const Options& options) {
  switch (compression) {
    case Compression::kGzip:
      return std::unique_ptr<Decoder>(std::make_unique<GzipDecoder>(input, options));
    case Compression::kZstd: {
      auto decoder = std::make_unique<ZstdDecoder>(input, options);
      if (!decoder->is_ready()) return {Code::kOutOfMemory, "no memory for a zstd context"};
      return std::unique_ptr<Decoder>(std::move(decoder));
    }
    case Compression::kXz:
    case Compression::kBzip2: {
      auto decoder = std::make_unique<LibarchiveDecoder>(
          compression == Compression::kXz ? "xz" : "bzip2", input, options);
      TARN_TRY(decoder->start(compression));
      return std::unique_ptr<Decoder>(std::move(decoder));
    }
    case Compression::kNone:
      break;
  }
  return {Code::kInvalidArgument, "a plain archive has no decoder"};
}

}  // namespace tarn::archive
