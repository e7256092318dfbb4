#include "dataset/image.h"

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
// After stdio, which it needs.
#include <jpeglib.h>

namespace tarn::dataset {
namespace {

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

Status check_size(uint64_t width, uint64_t height) {
  if (width > 0 && height > 0 && width <= kPixelsMax / height) return Status::ok();
  return bad(
      fmt::format("an image of {} x {} pixels, the limit is {} in all", width, height, kPixelsMax));
}

Result<Image> decode_png(std::span<const std::byte> file) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, decltype(&png_image_free)> cleanup(&png, png_image_free);
  if (png_image_begin_read_from_memory(&png, file.data(), file.size()) == 0) {
    return bad(fmt::format("png: {}", png.message));
  }
  TARN_TRY(check_size(png.width, png.height));
  png.format = PNG_FORMAT_RGB;
  Image out(png.width, png.height);
  const png_color white = {255, 255, 255};
  if (png_image_finish_read(&png, &white, out.rgb.data(), 0, nullptr) == 0) {
    return bad(fmt::format("png: {}", png.message));
  }
  return out;
}

/// libjpeg reports an error by a function that must not return.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void leave_jpeg(j_common_ptr common) {
  auto* errors = reinterpret_cast<JpegErrors*>(common->err);
  errors->base.format_message(common, errors->message);
  std::longjmp(errors->escape, 1);
}

void ignore_jpeg_message(j_common_ptr) {}

/// Reads the header, and with `out` the pixels. Nothing with a destructor lives in here, because
/// longjmp would pass it by. False: errors.message says why.
bool run_jpeg(jpeg_decompress_struct& jpeg, JpegErrors& errors, std::span<const std::byte> file,
              uint8_t* out) {
  if (setjmp(errors.escape) != 0) return false;
  if (out == nullptr) {
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(file.data()), file.size());
    jpeg_read_header(&jpeg, TRUE);
    return true;
  }
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = out + size_t{jpeg.output_scanline} * jpeg.output_width * 3;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  return true;
}

Result<Image> decode_jpeg(std::span<const std::byte> file) {
  JpegErrors errors{};
  jpeg_decompress_struct jpeg{};
  jpeg.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = leave_jpeg;
  errors.base.output_message = ignore_jpeg_message;
  const std::unique_ptr<jpeg_decompress_struct, decltype(&jpeg_destroy_decompress)> cleanup(
      &jpeg, jpeg_destroy_decompress);
  if (!run_jpeg(jpeg, errors, file, nullptr)) return bad(fmt::format("jpeg: {}", errors.message));
  TARN_TRY(check_size(jpeg.image_width, jpeg.image_height));
  Image out(jpeg.image_width, jpeg.image_height);
  if (!run_jpeg(jpeg, errors, file, out.rgb.data())) {
    return bad(fmt::format("jpeg: {}", errors.message));
  }
  return out;
}

}  // namespace

Image::Image(uint32_t wide, uint32_t high, Colour fill)
    : width(wide), height(high), rgb(size_t{wide} * high * 3) {
  for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = fill[i % 3];
}

Result<Image> decode_image(std::span<const std::byte> file) {
  const auto byte = [&](size_t i) { return i < file.size() ? std::to_integer<int>(file[i]) : -1; };
  if (byte(0) == 0x89 && byte(1) == 'P' && byte(2) == 'N' && byte(3) == 'G') {
    return decode_png(file);
  }
  if (byte(0) == 0xff && byte(1) == 0xd8) return decode_jpeg(file);
  return bad("neither a PNG nor a JPEG file");
}

Result<std::string> encode_png(const Image& image) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = image.width;
  png.height = image.height;
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::string out(size, '\0');
  if (png_image_write_to_memory(&png, out.data(), &size, 0, image.rgb.data(), 0, nullptr) == 0) {
    return Status(Code::kInternal, fmt::format("png: {}", png.message));
  }
  out.resize(size);
  return out;
}

}  // namespace tarn::dataset
