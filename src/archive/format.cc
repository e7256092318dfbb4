#include "archive/format.h"

#include <array>

#include <fmt/format.h>

#include "archive/tar_header.h"

namespace tarn::archive {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::string_view bytes;
  Format format;
};
constexpr Magic kMagics[] = {
    {"\x1f\x8b"sv, {Container::kTar, Compression::kGzip}},
    {"\x28\xb5\x2f\xfd"sv, {Container::kTar, Compression::kZstd}},
    {"\xfd"
     "7zXZ\0"sv,
     {Container::kTar, Compression::kXz}},
    {"BZh"sv, {Container::kTar, Compression::kBzip2}},
    {"PK\x03\x04"sv, {Container::kZip, Compression::kNone}},
    {"PK\x05\x06"sv, {Container::kZip, Compression::kNone}},
};

struct Unsupported {
  std::string_view bytes;
  std::string_view name;
};
constexpr Unsupported kUnsupported[] = {{"7z\xbc\xaf\x27\x1c"sv, "7z"},
                                        {"Rar!\x1a\x07"sv, "rar"},
                                        {"\x04\x22\x4d\x18"sv, "lz4"},
                                        {"LZIP"sv, "lzip"},
                                        {"\x1f\x9d"sv, "compress (.Z)"},
                                        {"\x5d\x00\x00"sv, "lzma"},
                                        {"\x89LZO\x00"sv, "lzop"},
                                        {"070701"sv, "cpio"},
                                        {"070707"sv, "cpio"},
                                        {"!<arch>\n"sv, "ar"},
                                        {"PK\x07\x08"sv, "multi-disk zip"}};

bool is_zstd_skippable(std::string_view head) {
  return head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xf0) == 0x50 &&
         head.substr(1, 3) == "\x2a\x4d\x18"sv;
}

}  // namespace

std::string_view format_name(Format format) {
  if (format.container == Container::kZip) return "zip";
  switch (format.compression) {
    case Compression::kNone:
      return "tar";
    case Compression::kGzip:
      return "tar+gzip";
    case Compression::kZstd:
      return "tar+zstd";
    case Compression::kXz:
      return "tar+xz";
    case Compression::kBzip2:
      return "tar+bzip2";
  }
  return "unknown";
}

Result<Format> detect(Source& source) {
  std::array<std::byte, kBlockBytes> block{};
  TARN_ASSIGN(const size_t n, source.read_at(0, block));
  if (n == 0) return {Code::kBadFormat, "the archive is empty (0 bytes)"};
  const std::string_view head = as_text(std::span(block).first(n));
  // A tar's first name may happen to look like a magic; its checksum may not.
  if (n == kBlockBytes && (is_zero_block(block) || has_valid_checksum(block))) return Format{};
  for (const Magic& magic : kMagics)
    if (head.starts_with(magic.bytes)) return magic.format;
  if (is_zstd_skippable(head)) return Format{Container::kTar, Compression::kZstd};
  for (const Unsupported& kind : kUnsupported)
    if (head.starts_with(kind.bytes))
      return {Code::kNotSupported,
              fmt::format("{} archives are not supported; tar (plain, gzip, zstd, xz, bzip2) and "
                          "zip with stored members are",
                          kind.name)};
  return {
      Code::kBadFormat,
      fmt::format("not an archive: the first {} bytes are neither a tar header nor the magic of "
                  "gzip, zstd, xz, bzip2 or zip",
                  n)};
}

}  // namespace tarn::archive
