// What metadata rows hold: the types of inodes, directory entries, log records and changes to them.
//
// The encoding is in meta/rows.h and docs/FORMAT.md. `content` bytes are opaque here: the room
// `content` encodes where a file's bytes are. Plain values, no sharing.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace tarn::meta {

/// Parent of trees under construction (room fs); no path leads to it, and it is never listed.
inline constexpr Ino kStagingIno{2};

/// State of an inode's current generation: open = a writer may exist, ask the
/// file; closed = size known, data perhaps not on disk; settled = data synced, digests valid.
enum class ContentState : uint8_t { kOpen = 1, kClosed = 2, kSettled = 3 };

/// How a directory came to be: by POSIX (listed as `d/` only while empty), by a deeper S3 key
/// (never listed), by PUT of `d/` (always listed).
enum class Origin : uint8_t { kPosix = 1, kImplied = 2, kExplicit = 3 };

/// Size and times of a backing file when writing was granted or Tarn last changed it; an unchanged
/// ctime at the last close means that nothing was written. Nanoseconds and bytes.
struct GrantStamp {
  uint64_t size = 0;
  TimeNs mtime = 0;
  TimeNs ctime = 0;
  bool operator==(const GrantStamp&) const = default;
};

struct Digests {
  std::string md5;        // 16 bytes or empty when not known
  std::string crc64nvme;  // 8 bytes, big-endian, or empty
  std::string sha256;     // 32 bytes or empty
  bool operator==(const Digests&) const = default;
};

struct InodeRow {
  Ino ino;
  uint32_t mode = 0;  // S_IFMT bits and permission bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev = 0;
  uint32_t nlink = 0;
  uint64_t size = 0;    // directories: number of entries
  uint64_t blocks = 0;  // 512-byte units
  TimeNs atime = 0, mtime = 0, ctime = 0, btime = 0;

  // Where it hangs: a directory's parent always; a file's while it has exactly one link and was
  // never hard-linked (is_linked false), else none. A file's attributes are then copied to that
  // entry row.
  Ino parent;
  std::string name;
  bool is_linked = false;  // has or had several hard links: entries are read through this row
  bool is_hidden = false;  // file hidden from the mount by a directory of the same name (S3 only)
  bool is_sealed = false;
  bool is_s3_written = false;  // last written by S3
  bool has_xattrs = false;  // false: it never had an extended attribute, so none need be looked for
  Origin origin = Origin::kPosix;

  Generation generation;
  ContentState state = ContentState::kSettled;
  std::string content;  // encoded by room content; empty for directories and special files
  GrantStamp grant;     // meaningful while state is kOpen
  std::string etag;     // as S3 shows it, without quotes; empty until fixed
  Digests digests;      // valid only when state is kSettled

  // Places for later: kept by every rewrite of the row.
  uint64_t version_id = 0, project_id = 0, node_id = 0, session_id = 0, key_id = 0;

  bool is_directory() const { return S_ISDIR(mode); }
  bool is_regular() const { return S_ISREG(mode); }
  bool is_symlink() const { return S_ISLNK(mode); }
  bool operator==(const InodeRow&) const = default;
};

/// One directory entry. For an entry whose inode is a directory or is_linked, `attributes` is
/// absent in the row and must be read from the inode (read_directory does it).
struct DirectoryEntry {
  std::string name;  // without the trailing '/' of sub-directories
  Ino ino;
  uint32_t type_mode = 0;  // S_IFMT bits
  bool is_linked = false;
  bool is_hidden = false;
  std::optional<InodeRow>
      attributes;  // content, xattrs and digests left empty; etag and state filled
};

/// A request of the kernel's, so that a RESENT one is recognised. All zero for other callers.
struct Request {
  uint64_t connection = 0;
  uint64_t unique = 0;  // without the resend bit
  bool is_resent = false;
  bool is_from_kernel() const { return unique != 0; }
  bool operator==(const Request&) const = default;
};

/// What every mutating operation is told.
struct Context {
  TimeNs now = 0;
  Request request;
  uint64_t node_id = 0;
  /// False for S3's operations: they see hidden files, and leave an implied directory implied.
  /// True: hidden files do not exist, and a directory that is changed becomes one of POSIX.
  bool is_posix = true;
};

/// What a new name does when the sibling key has an entry (`a` beside `a/`): refuse with kExists,
/// or, for S3, leave the directory to be seen and the file hidden. Hiding needs a file that S3
/// wrote last; that it has no open handle is the caller's to know.
enum class Twin : uint8_t { kRefuse, kHide };

enum class ChangeKind : uint8_t {
  kCreate = 1,  // any new inode: file, directory, symlink, node
  kLink = 2,
  kUnlink = 3,
  kRmdir = 4,
  kRename = 5,
  kSetattr = 6,
  kContent = 7,  // a generation changed state, size, digests
  kXattr = 8,
  kExchange = 9,
  kForget = 10,  // an unlinked inode ended
  kExtract = 11,
};

/// A record of the change log. Fields that do not apply are zero or empty.
struct ChangeRecord {
  Stamp stamp;  // filled when read
  ChangeKind kind = ChangeKind::kCreate;
  Ino ino;
  Generation generation;
  Ino parent_before, parent_after;
  std::string name_before, name_after;
  Ino replaced;  // inode whose last name or one of whose names the operation took
  uint64_t size = 0;
  std::string etag;
  Request request;
  uint64_t node_id = 0;
  TimeNs time = 0;
};

/// Attributes to change; absent members stay. `ctime` becomes Context::now unless given.
struct AttributeChange {
  std::optional<uint32_t> mode;  // permission bits only
  std::optional<uint32_t> uid, gid;
  std::optional<uint64_t> size, blocks;
  std::optional<TimeNs> atime, mtime, ctime, btime;
  std::optional<bool> is_sealed;
  std::optional<Origin> origin;  // directories only
};

/// A change of an inode's bytes; absent members stay.
struct ContentChange {
  std::optional<Generation> generation;
  std::optional<ContentState> state;
  std::optional<std::string> content;
  std::optional<GrantStamp> grant;
  std::optional<uint64_t> size, blocks;
  std::optional<TimeNs> mtime, ctime, atime;
  std::optional<std::string> etag;
  std::optional<Digests> digests;
  std::optional<bool> is_s3_written;
  std::optional<uint32_t> mode;  // permission bits (set-id cleared by a write)
};

}  // namespace tarn::meta
