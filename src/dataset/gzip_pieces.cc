#include "dataset/gzip_pieces.h"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <zlib.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/coding.h"

namespace tarn::dataset {

GzipPiece deflate_piece(std::span<const std::byte> bytes, bool is_last) {
  GzipPiece out;
  out.bytes = bytes.size();
  std::vector<uint8_t> level_buffer(ISAL_DEF_LVL1_DEFAULT);
  isal_zstream stream;
  isal_deflate_init(&stream);
  stream.level = 1;
  stream.level_buf = level_buffer.data();
  stream.level_buf_size = static_cast<uint32_t>(level_buffer.size());
  stream.gzip_flag = IGZIP_DEFLATE;
  // isal counts in 32 bits.
  constexpr size_t kStepBytes = size_t{1} << 30;
  size_t used = 0;
  do {
    const size_t step = std::min(kStepBytes, bytes.size() - used);
    const bool is_end = used + step == bytes.size();
    auto* in = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(bytes.data() + used));
    out.crc32 = crc32_gzip_refl(out.crc32, in, step);
    stream.next_in = in;
    stream.avail_in = static_cast<uint32_t>(step);
    stream.flush = is_end && !is_last ? FULL_FLUSH : NO_FLUSH;
    stream.end_of_stream = is_end && is_last ? 1 : 0;
    do {
      const size_t filled = out.deflated.size();
      const size_t room = step + step / 8 + 4096;
      out.deflated.resize(filled + room);
      stream.next_out = reinterpret_cast<uint8_t*>(out.deflated.data() + filled);
      stream.avail_out = static_cast<uint32_t>(room);
      CHECK(isal_deflate(&stream) == COMP_OK, "igzip was set up wrongly");
      out.deflated.resize(filled + room - stream.avail_out);
    } while (stream.avail_out == 0);
    used += step;
  } while (used < bytes.size());
  return out;
}

std::string GzipAssembler::header() {
  // Magic, deflate, no flags, no time, no extra flags, system unknown.
  return std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", 10);
}

void GzipAssembler::add(const GzipPiece& piece) {
  crc32_ =
      static_cast<uint32_t>(crc32_combine(crc32_, piece.crc32, static_cast<z_off_t>(piece.bytes)));
  bytes_ += piece.bytes;
}

std::string GzipAssembler::trailer() const {
  Writer out;
  out.u32(crc32_);
  out.u32(static_cast<uint32_t>(bytes_));
  return out.take();
}

}  // namespace tarn::dataset
