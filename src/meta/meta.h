// Metadata operations: inodes, directory entries, extended attributes, the change log.
//
// Each function works inside the caller's kv transaction and does not commit, so that a caller
// joins it with changes of its own; the caller runs it under kv::transact and syncs where
// durability is promised. Names are checked here (empty, '.', '..', '/', NUL, over
// limits::kNameBytesMax). Permissions are not: room fs does. One file an operation in meta/ops/.
// Isolation: each directory has a *guard* and an *alive* key, changes of a
// directory's row are merges, creating operations track the sibling key.
//
// Errors, beside those named below: kNotFound, kExists, kNotDirectory, kIsDirectory, kNameTooLong,
// kInvalidArgument, kCorrupt (a row that cannot be decoded), and the store's own. Thread rules: as
// Transaction.
#pragma once

#include <functional>

#include "kv/kv.h"
#include "meta/types.h"

namespace tarn::meta {

/// The merge function that every store of Tarn is opened with: folds directory-row deltas and
/// counters.
kv::MergeFunction merge_function();

/// Makes the root directory (kRootIno, 0755, the given owner) when the store is empty.
Status format(kv::Store& store, uint32_t uid, uint32_t gid, TimeNs now);

/// Hands out inode, blob and handle-sequence numbers in blocks that are durable before use.
/// Thread-safe.
class IdAllocator {
 public:
  enum class Kind : uint8_t { kInode = 1, kBlob = 2 };
  IdAllocator(kv::Store& store, Kind kind);
  ~IdAllocator();
  Result<uint64_t> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// --- reading

/// The entry's inode. kNotFound when there is none, also when `parent` is no directory. Hidden
/// files are not seen unless `see_hidden`, which makes the file win over the directory of the same
/// name. Probes the file's key, then the directory's: one round trip for a file, two for a
/// directory or nothing.
Result<InodeRow> lookup(kv::Transaction& txn, Ino parent, std::string_view name,
                        bool see_hidden = false);
/// The inode row. kStale when there is none.
Result<InodeRow> get_inode(kv::Transaction& txn, Ino ino);
Result<InodeRow> get_inode_tracked(kv::Transaction& txn, Ino ino);
/// Entries of `dir` in key order after `after` (an entry's key name: sub-directories end in '/';
/// empty = from the start). With `with_attributes` every entry's `attributes` is filled: from the
/// entry row, or, for directories and files with several links, by one more read each. The visitor
/// returns false to stop and may use `txn`. Entries that `txn` itself added are not seen. kStale or
/// kNotDirectory when `dir` is neither.
Status read_directory(kv::Transaction& txn, Ino dir, std::string_view after, bool with_attributes,
                      bool see_hidden, const std::function<bool(const DirectoryEntry&)>& visitor);
/// The key name of an entry, as `after` wants it: "a" for files, "a/" for directories.
std::string key_name(const DirectoryEntry& entry);
/// Path components from the root to `ino` (directories and files with one link); kNotFound
/// otherwise.
Result<std::vector<std::string>> path_of(kv::Transaction& txn, Ino ino);

// --- changing; each appends one change-log record

struct NewInode {
  Ino ino;  // from IdAllocator
  uint32_t mode = 0;
  uint32_t uid = 0, gid = 0, rdev = 0;
  uint64_t size = 0, blocks = 0;
  Origin origin = Origin::kPosix;
  ContentState state = ContentState::kSettled;
  std::string content;  // symlinks: encoded by room content too
  GrantStamp grant;
  std::string etag;
  Digests digests;
  bool is_s3_written = false;
  Twin twin = Twin::kRefuse;
  std::optional<TimeNs> atime, mtime, ctime;                // default: Context::now
  std::vector<std::pair<std::string, std::string>> xattrs;  // stored with it
};
/// New file, directory, symlink or node. kExists when either sibling key (`a`, `a/`) exists.
Result<InodeRow> create(kv::Transaction& txn, const Context& context, Ino parent,
                        std::string_view name, const NewInode& inode);
/// New file without a name (O_TMPFILE, S3 PUT in progress): nlink 0, listed in the table of
/// unlinked inodes.
Result<InodeRow> create_unnamed(kv::Transaction& txn, const Context& context,
                                const NewInode& inode);

struct Removed {
  InodeRow inode;  // as after the removal; nlink 0: it now stands in the table of unlinked inodes
  std::optional<InodeRow> uncovered;  // rmdir: a hidden file of that name, visible from now on
};
Result<Removed> unlink(kv::Transaction& txn, const Context& context, Ino parent,
                       std::string_view name);
/// kNotEmpty when it has entries, as of the transaction's snapshot: what this same transaction
/// added to the directory or removed from it is not seen. A hidden file of the same name becomes
/// visible.
Result<Removed> rmdir(kv::Transaction& txn, const Context& context, Ino parent,
                      std::string_view name);
/// After an S3 delete has, in this same transaction, removed the entry `removed_key_name` (empty:
/// none) of `dir`: removes `dir` if it is implied, empty and not `is_in_use` (open or someone's
/// cwd), then its parent in the same way, and so on upwards. Returns what was removed, deepest
/// first.
Result<std::vector<Removed>> remove_implied(kv::Transaction& txn, const Context& context, Ino dir,
                                            std::string_view removed_key_name,
                                            const std::function<bool(Ino)>& is_in_use);
/// New name for a file; the inode becomes is_linked. kTooManyLinks, kNotPermitted for directories,
/// kNotFound for one without a name (see place).
Result<InodeRow> link(kv::Transaction& txn, const Context& context, Ino ino, Ino parent,
                      std::string_view name);

struct RenameOptions {
  bool no_replace = false;
  bool exchange = false;
};
struct Renamed {
  InodeRow moved;
  std::optional<InodeRow> replaced;   // as after it (nlink 0: now unlinked); exchange: the other
  std::optional<InodeRow> uncovered;  // a hidden file of the old name, visible from now on
};
/// kNotEmpty, kInvalidArgument (a directory into itself, or both options), kExists (no_replace; or
/// exchange of a directory, beside which a hidden file stands, with a file). Two names of one file:
/// nothing happens, as POSIX. Hidden files stay where they are.
Result<Renamed> rename(kv::Transaction& txn, const Context& context, Ino source_parent,
                       std::string_view source_name, Ino target_parent,
                       std::string_view target_name, RenameOptions options);
/// Puts the unnamed inode `ino` at (parent, name), replacing a file there if `may_replace`, in one
/// step. kNotFound when `ino` has a name; kIsDirectory when a directory is there and `twin`
/// refuses.
Result<Renamed> place(kv::Transaction& txn, const Context& context, Ino ino, Ino parent,
                      std::string_view name, bool may_replace, Twin twin = Twin::kRefuse);

/// kIsDirectory for a size of a directory, kNotDirectory for an origin of a file. Needs no more
/// than the read of the row, and for a directory never conflicts with what happens in it.
Result<InodeRow> set_attributes(kv::Transaction& txn, const Context& context, Ino ino,
                                const AttributeChange& change);
/// Changes the row's bytes; tracked, so it conflicts with any other writer of the row. With
/// `require` the change is made only if `require(row)`; otherwise kPreconditionFailed.
Result<InodeRow> set_content(kv::Transaction& txn, const Context& context, Ino ino,
                             const ContentChange& change,
                             const std::function<bool(const InodeRow&)>& require = {});

// --- extended attributes, kept beside the inode: namespaces are the caller's business

/// kNoAttribute, also when there is no such inode.
Result<std::string> get_xattr(kv::Transaction& txn, Ino ino, std::string_view name);
Result<std::vector<std::string>> list_xattrs(kv::Transaction& txn, Ino ino);
enum class XattrMode : uint8_t { kEither, kCreate, kReplace };
/// kExists, kNoAttribute by mode; kRangeTooSmall over the limits. Updates ctime.
Status set_xattr(kv::Transaction& txn, const Context& context, Ino ino, std::string_view name,
                 std::string_view value, XattrMode mode);
Status remove_xattr(kv::Transaction& txn, const Context& context, Ino ino, std::string_view name);

// --- unlinked and unsettled inodes

/// Ends an unlinked inode: erases its row, xattrs and table entry. The caller releases its content
/// in the same transaction. kNotFound when it is not in the table.
Result<InodeRow> forget(kv::Transaction& txn, const Context& context, Ino ino);
/// Inodes in the table of unlinked ones / inodes whose state is not settled (kept by create and
/// set_content).
Status read_unlinked(kv::Transaction& txn, const std::function<bool(Ino)>& visitor);
Status read_unsettled(kv::Transaction& txn, const std::function<bool(Ino)>& visitor);

// --- counters and log

struct Usage {
  int64_t bytes = 0;  // sum of sizes of files
  int64_t inodes = 0;
};
Result<Usage> usage(kv::Transaction& txn);

Result<ChangeRecord> decode_change(const kv::LogEntry& entry);
/// The newest records of the kernel's requests of `connection`, at most `records_max` log records
/// back.
Result<std::vector<ChangeRecord>> recent_requests(kv::Store& store, uint64_t connection,
                                                  uint64_t records_max);
/// Followers' persisted positions; 0 before the first.
Result<Stamp> get_cursor(kv::Transaction& txn, std::string_view follower);
void set_cursor(kv::Transaction& txn, std::string_view follower, Stamp stamp);

/// Finds and explains inconsistencies of the rows (orphans, wrong counts, entries without inodes,
/// ...).
struct Finding {
  Ino ino;
  std::string what;
};
Result<std::vector<Finding>> check(kv::Store& store);

}  // namespace tarn::meta
