// Options and limits of reading an archive.
//
// The defaults are the safe ones: an archive that names anything outside the directory it is
// extracted into is refused, and so is one that is not whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "base/limits.h"

namespace tarn::archive {

struct Limits {
  /// Members of one archive. The names seen cost at most 46 bytes of memory each.
  uint64_t members_max = 50'000'000;
  /// Stored bytes of all members together: what extracting will need on disk.
  uint64_t stored_bytes_max = uint64_t{1} << 60;
  /// Logical size of one file: what a signed 64-bit file offset can hold.
  uint64_t file_bytes_max = INT64_MAX;
  /// Special headers of one member together (pax records, long names, sparse maps). Real ones are a
  /// few KiB; a sparse map of 100,000 extents is 2 MiB.
  uint64_t header_bytes_max = 4 * limits::kMiB;
  /// Decompressed bytes for each compressed one; 0: no limit. Looked at after 64 MiB. Zeros reach
  /// 1,032 in gzip and more in zstd, so a limit is for callers that expect ordinary data.
  uint64_t ratio_max = 0;
  /// Padding after the end marker: tar's largest blocking factor makes 32 MiB.
  uint64_t padding_bytes_max = 64 * limits::kMiB;
  /// Window of a zstd frame (log2 of bytes): zstd's own default for decompression, 128 MiB.
  int zstd_window_log_max = 27;
  /// Central directory of a zip, which is held in memory.
  uint64_t zip_directory_bytes_max = 256 * limits::kMiB;
};

struct Options {
  Limits limits;
  /// "/etc/a" becomes "etc/a" (as GNU tar does); otherwise an absolute name is an error.
  bool strip_leading_slash = false;
  /// Symlinks may point out of the extraction directory.
  bool allow_external_symlinks = false;
  /// An archive may stop without its end marker (two zero blocks).
  bool allow_missing_end = false;
  /// Whatever follows the end marker or the compressed stream is ignored, as GNU tar does.
  bool ignore_trailing_data = false;
  /// Runs every member through a Validator. Off only for a caller that has its own.
  bool validate_members = true;
  /// Sees each byte of a compressed archive once, in order, as it is in the Source, to its very
  /// end. Called on the Reader's own thread, between reading and decompressing: hand the work over
  /// when it is slow. Never called after next() gave nothing or the Reader is destroyed. Not called
  /// for plain archives.
  std::function<void(std::span<const std::byte>)> on_raw;
  /// Turns a user's (false) or group's (true) name in an ACL into its id. Default: getpwnam_r,
  /// getgrnam_r.
  std::function<std::optional<uint32_t>(std::string_view name, bool is_group)> resolve_name;
};

}  // namespace tarn::archive
