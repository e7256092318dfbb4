// What kind of archive a Source holds, told from its first bytes.
//
// Names and suffixes are not looked at. A compressed stream is assumed to hold a tar: whether it
// does shows at the first header. Thread-safe.
#pragma once

#include <string_view>

#include "archive/source.h"
#include "base/status.h"

namespace tarn::archive {

enum class Container { kTar, kZip };
enum class Compression { kNone, kGzip, kZstd, kXz, kBzip2 };

struct Format {
  Container container = Container::kTar;
  Compression compression = Compression::kNone;

  /// True where members are ranges of the archive itself.
  bool is_plain() const { return compression == Compression::kNone; }
  bool operator==(const Format&) const = default;
};

/// "tar", "tar+gzip", "zip" ...
std::string_view format_name(Format format);

/// Reads at most 512 bytes. NotSupported names a format that is known but not read (7z, rar, lz4
/// ...); BadFormat when it is no archive at all, or empty.
Result<Format> detect(Source& source);

}  // namespace tarn::archive
