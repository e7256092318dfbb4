// Manifests of digests as md5sum, sha256sum and their BSD relatives write them.
//
//   d41d8cd98f00b204e9800998ecf8427e  data/empty        GNU; '*' in place of the second space:
//   binary
//   \d41d8cd98f00b204e9800998ecf8427e  a\nb             a backslash in front: \n, \r, \\ in the
//   name MD5 (data/empty) = d41d8cd98f00b204e9800998ecf8427e BSD
//
// 16 hexadecimal digits are a CRC-64/NVME, 32 an MD5, 64 a SHA-256. Plain functions; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tarn::app {

struct ManifestLine {
  std::string hex;  // lower case
  std::string path;
  bool operator==(const ManifestLine&) const = default;
};

/// kBadFormat names the line; empty lines and lines that start with '#' are passed over.
Result<std::vector<ManifestLine>> parse_manifest(std::string_view text);
/// One line as md5sum prints it, newline included.
std::string format_manifest_line(const std::string& hex, const std::string& path);

}  // namespace tarn::app
