// Member: one entry of an archive, as the reader of the archive gives it out.
//
// Plain values. Names are the archive's bytes, never converted through a locale: they may be no
// UTF-8. Offsets are bytes in the archive for a plain archive, and bytes in the decompressed stream
// for a compressed one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace tarn::archive {

enum class MemberType : uint8_t {
  kFile,
  kDirectory,
  kSymlink,
  kHardlink,
  kCharDevice,
  kBlockDevice,
  kFifo,
};
/// "file", "directory", "symbolic link" ...
std::string_view member_type_name(MemberType type);

/// A stretch of stored bytes of a sparse file: `length` bytes at `archive_offset` of the archive
/// belong at `logical_offset` of the file. What no extent covers reads as zeros.
struct Extent {
  uint64_t archive_offset = 0;
  uint64_t logical_offset = 0;
  uint64_t length = 0;
  bool operator==(const Extent&) const = default;
};

struct Xattr {
  std::string name;  ///< with its namespace, as in "user.comment"
  std::string value;
  bool operator==(const Xattr&) const = default;
};

struct Member {
  /// Relative, without "." , ".." and empty segments, without '/' at either end. Empty only for a
  /// directory entry of the extraction directory itself ("./").
  std::string path;
  MemberType type = MemberType::kFile;
  uint32_t mode = 0;  ///< permission, set-id and sticky bits (07777)
  uint32_t uid = 0, gid = 0;
  std::string uname, gname;  ///< empty when the archive has none
  TimeNs mtime = 0;          ///< nanoseconds since the epoch
  std::optional<TimeNs> atime, ctime;
  uint64_t size = 0;  ///< logical bytes of a file; 0 for every other type
  /// Symlink: its target, as stored. Hard link: the normalised path of an earlier member.
  std::string link_target;
  std::vector<Xattr> xattrs;  ///< POSIX ACLs included, as system.posix_acl_access / _default
  uint32_t device_major = 0, device_minor = 0;

  uint64_t header_offset = 0;  ///< of the first header block that belongs to it
  uint64_t data_offset = 0;    ///< of its first stored byte
  uint64_t stored_bytes = 0;   ///< bytes stored at data_offset; less than `size` when sparse
  bool is_sparse = false;
  std::vector<Extent> extents;  ///< ascending; for sparse files only
  /// An earlier member has this path: this one takes its place (tar's rule: the last one wins). A
  /// directory over a directory replaces attributes only.
  bool replaces_earlier = false;
};

}  // namespace tarn::archive
