#include "archive/archive.h"

#include "archive/byte_stream.h"
#include "archive/compressed_stream.h"
#include "archive/tar_reader.h"
#include "archive/zip_reader.h"

namespace tarn::archive {
namespace {

constexpr size_t kWarningsMax = 100;

}  // namespace

void Reader::warn(std::string line) {
  if (warnings_.size() < kWarningsMax) warnings_.push_back(std::move(line));
}

Result<std::unique_ptr<Reader>> Reader::open(Source& source, Options options) {
  TARN_ASSIGN(const Format format, detect(source));
  if (format.container == Container::kZip) return ZipReader::open(source, std::move(options));
  std::unique_ptr<ByteStream> stream;
  if (format.is_plain()) {
    stream = std::make_unique<PlainStream>(source);
  } else {
    TARN_ASSIGN(stream, CompressedStream::open(source, format.compression, options));
  }
  return std::unique_ptr<Reader>(
      std::make_unique<TarReader>(format, std::move(stream), std::move(options)));
}

}  // namespace tarn::archive
