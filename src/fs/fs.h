// The file system: handles, permissions and POSIX semantics over meta and content.
//
// Synchronous and thread-safe: every operation may be called from any thread, and returns when its
// effect is visible to all. What is durable when: see docs/SEMANTICS.md (fsync of a file or
// directory waits for a barrier over all that was acknowledged before). The kernel's FUSE requests,
// S3 and extract all come here.
//
// Node ids are inode numbers; fs keeps no table of them. Handles are kept in shared memory
// (HandleTable), so that a new process takes open files over. A RESENT request (Caller::request)
// whose change-log record exists is answered from the record and not executed again.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "content/content.h"
#include "fs/types.h"
#include "kv/kv.h"

namespace tarn::fs {

/// Told of changes that another observer's cache must learn of (the mount's kernel caches). Called
/// after the commit with no lock held, never from the thread that answers a kernel request on the
/// same inode unless the change came from that request (then `origin` is that request and the mount
/// does nothing).
class Invalidator {
 public:
  virtual ~Invalidator() = default;
  virtual void invalidate_entry(Ino parent, const std::string& name,
                                const meta::Request& origin) = 0;
  virtual void invalidate_inode(Ino ino, const meta::Request& origin) = 0;
};

struct FsOptions {
  content::Attacher* attacher = nullptr;  // null: nothing is opened direct
  content::Holder* holder = nullptr;      // of unnamed files that nothing is attached to
  int handle_table_fd = -1;               // memfd that outlives a worker; -1: private memory
  bool is_take_over = false;              // handles in the table are adopted
  uint64_t connection = 0;                // of the kernel connection, for resent requests
  bool has_background = true;
};

class FileSystem {
 public:
  /// Opens the file system on an open root and store (formatting an empty store; owner =
  /// root_uid:root_gid).
  static Result<std::unique_ptr<FileSystem>> open(content::Root& root, kv::Store& store,
                                                  FsOptions options, uint32_t root_uid = 0,
                                                  uint32_t root_gid = 0);
  virtual ~FileSystem() = default;
  /// Ends all handles, settles and makes everything durable.
  virtual Status close() = 0;
  virtual void set_invalidator(Invalidator* invalidator) = 0;

  // --- names and attributes
  virtual Result<Attributes> lookup(const Caller&, Ino parent, std::string_view name) = 0;
  virtual Result<Attributes> get_attributes(const Caller&, Ino ino) = 0;
  virtual Result<Attributes> set_attributes(const Caller&, Ino ino, const SetAttributes& change,
                                            std::optional<Fh> fh) = 0;
  virtual Result<std::string> readlink(const Caller&, Ino ino) = 0;
  virtual Result<Attributes> mknod(const Caller&, Ino parent, std::string_view name, uint32_t mode,
                                   uint32_t rdev) = 0;
  virtual Result<Attributes> mkdir(const Caller&, Ino parent, std::string_view name,
                                   uint32_t mode) = 0;
  virtual Result<Attributes> symlink(const Caller&, Ino parent, std::string_view name,
                                     std::string_view target) = 0;
  virtual Result<Attributes> link(const Caller&, Ino ino, Ino parent, std::string_view name) = 0;
  virtual Status unlink(const Caller&, Ino parent, std::string_view name) = 0;
  virtual Status rmdir(const Caller&, Ino parent, std::string_view name) = 0;
  virtual Status rename(const Caller&, Ino source_parent, std::string_view source_name,
                        Ino target_parent, std::string_view target_name, RenameFlags flags) = 0;
  /// access(2): `mask` of R_OK, W_OK, X_OK.
  virtual Status access(const Caller&, Ino ino, int mask) = 0;
  virtual Result<StatFs> statfs() = 0;
  /// The kernel dropped the inode; an unlinked one without handles ends.
  virtual void forget(Ino ino) = 0;

  // --- files. `flags` are open(2) flags.
  virtual Result<Opened> open(const Caller&, Ino ino, int flags) = 0;
  virtual Result<Created> create(const Caller&, Ino parent, std::string_view name, uint32_t mode,
                                 int flags) = 0;
  /// O_TMPFILE.
  virtual Result<Created> create_unnamed(const Caller&, Ino parent, uint32_t mode, int flags) = 0;
  virtual Result<size_t> read(Fh fh, uint64_t offset, std::span<std::byte> out) = 0;
  virtual Result<size_t> write(const Caller&, Fh fh, uint64_t offset,
                               std::span<const std::byte> data) = 0;
  virtual Result<uint64_t> seek(Fh fh, uint64_t offset, int whence) = 0;
  virtual Status allocate(const Caller&, Fh fh, int mode, uint64_t offset, uint64_t length) = 0;
  virtual Result<uint64_t> copy_range(const Caller&, Fh source, uint64_t source_offset, Fh target,
                                      uint64_t target_offset, uint64_t length) = 0;
  virtual Status flush(const Caller&, Fh fh) = 0;
  virtual Status fsync(Fh fh, bool data_only) = 0;
  virtual Status release(Fh fh) = 0;
  /// True when `open` of that inode with `flags` ends quickly (no copy, no sync): the mount answers
  /// such opens on the queue thread and sends the others to the pool.
  virtual bool open_is_quick(Ino ino, int flags) = 0;

  // --- directories
  virtual Result<Fh> open_directory(const Caller&, Ino ino) = 0;
  /// Items after cookie `after` (0: from the start, '.' and '..' included) until the visitor
  /// returns false.
  virtual Status read_directory(const Caller&, Fh fh, uint64_t after, bool with_attributes,
                                const std::function<bool(const DirectoryItem&)>& visitor) = 0;
  virtual Status fsync_directory(Fh fh) = 0;
  virtual Status release_directory(Fh fh) = 0;

  // --- extended attributes; user.tarn.{md5,crc64nvme,sha256,etag,generation,state} are computed
  virtual Result<std::string> get_xattr(const Caller&, Ino ino, std::string_view name) = 0;
  virtual Result<std::vector<std::string>> list_xattrs(const Caller&, Ino ino) = 0;
  /// `flags`: 0, XATTR_CREATE or XATTR_REPLACE.
  virtual Status set_xattr(const Caller&, Ino ino, std::string_view name, std::string_view value,
                           int flags) = 0;
  virtual Status remove_xattr(const Caller&, Ino ino, std::string_view name) = 0;

  // --- whole-system
  /// Everything acknowledged before is durable when it returns (`tarn sync`).
  virtual Status sync() = 0;
  struct OpenCounts {
    uint64_t handles = 0, inodes_direct = 0, inodes_served = 0, pending = 0;
  };
  virtual OpenCounts open_counts() = 0;
  /// Ids of the Attacher that handles use; after a take-over all others of the dead process may go.
  virtual std::vector<int32_t> attachments() = 0;
  virtual content::Content& content() = 0;
  virtual kv::Store& store() = 0;
};

}  // namespace tarn::fs
