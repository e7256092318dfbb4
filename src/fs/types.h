// What room fs takes and gives: callers, attributes, open results. Plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "content/content.h"
#include "meta/types.h"

namespace tarn::fs {

/// On whose behalf an operation runs. With `is_checked_by_kernel` (the mount, default_permissions)
/// permission bits, ACLs and the sticky bit were checked already; for every other caller fs checks
/// them itself.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
  uint32_t umask = 022;
  bool is_checked_by_kernel = false;
  meta::Request request;
};

/// stat(2)'s view, after live_attributes: right for every observer while a writer is open.
struct Attributes {
  Ino ino;
  Generation generation;
  uint32_t mode = 0, nlink = 0, uid = 0, gid = 0, rdev = 0;
  uint64_t size = 0, blocks = 0;
  TimeNs atime = 0, mtime = 0, ctime = 0, btime = 0;
  bool is_settled = true;
  bool is_sealed = false;
};

/// Attributes to set; absent members stay. `*_now` use the clock.
struct SetAttributes {
  std::optional<uint32_t> mode, uid, gid;
  std::optional<uint64_t> size;
  std::optional<TimeNs> atime, mtime, ctime;
  bool atime_now = false, mtime_now = false;
  /// A change of the bytes or of the owner: the set-user-id bit goes, and the set-group-id bit
  /// unless the group may not run the file and the caller is in it or root. Not of directories.
  bool clears_set_id = false;
};

/// How a handle's reads and writes travel.
enum class Path : uint8_t {
  kServed,  // through read() and write()
  kDirect,  // the kernel uses `backing` itself
};

struct Opened {
  Fh fh;
  Path path = Path::kServed;
  content::LocalFileRef backing;  // kDirect: attachment() is registered
  bool may_keep_cache = false;    // served: pages cached at an earlier open are still right
};

struct Created {
  Attributes attributes;
  Opened opened;
};

struct DirectoryItem {
  std::string name;
  Ino ino;
  uint32_t type_mode = 0;                // S_IFMT bits
  uint64_t next = 0;                     // cookie: continue after this item
  std::optional<Attributes> attributes;  // when asked for
};

struct StatFs {
  uint64_t blocks = 0, blocks_free = 0, block_bytes = 4096;
  uint64_t files = 0, files_free = 0;
  uint32_t name_bytes_max = 255;
};

struct RenameFlags {
  bool no_replace = false, exchange = false;
};

}  // namespace tarn::fs
