// What the operations share: finding entries, claiming and giving up names, directory deltas, the
// change log.
//
// Internal to room meta. The functions name which reads are tracked, since that is what isolation
// rests on: whoever adds an entry calls `admit` on the directory and claims the name; whoever
// removes a directory calls `remove_directory`. Thread rules: as kv::Transaction.
#pragma once

#include "meta/keys.h"
#include "meta/meta.h"
#include "meta/rows.h"

namespace tarn::meta {

/// kInvalidArgument for a name that no entry can have, kNameTooLong over the limit.
Status check_name(std::string_view name);

struct Found {
  EntryRow entry;
  InodeRow inode;
};

enum class Tracking : uint8_t { kPlain, kTracked };
Result<std::optional<EntryRow>> get_entry(kv::Transaction& txn, Ino parent,
                                          std::string_view key_name, Tracking tracking);
/// An entry and its inode in one round trip; kCorrupt when the inode is missing.
Result<std::optional<Found>> get_found(kv::Transaction& txn, Ino parent, std::string_view key_name);
/// Probes the file's key, then the directory's. kNotFound when neither is there (to be seen).
Result<Found> find(kv::Transaction& txn, Ino parent, std::string_view name, bool see_hidden);
/// The row of `ino`, or absent.
Result<std::optional<InodeRow>> find_inode(kv::Transaction& txn, Ino ino);

/// To be called before an entry is added to `dir`: tracks *alive*, blind-writes *guard*. kStale,
/// kNotDirectory or, for a removed directory that is still open, kNotFound.
Status admit(kv::Transaction& txn, Ino dir);

/// Claims `name` for a new entry: nothing has it, and nobody makes the sibling key meanwhile.
/// Returns whether the new entry is to be hidden (a file beside a directory, under Twin::kHide).
/// kExists.
Result<bool> claim_name(kv::Transaction& txn, Ino parent, std::string_view name, bool is_directory,
                        Twin twin);

/// Writes a file's inode row and, while it has its only name there, its entry row.
void put_file(kv::Transaction& txn, const InodeRow& row);
/// Writes an entry of any type under `name`.
void put_entry(kv::Transaction& txn, Ino parent, std::string_view name, const EntryRow& entry);

/// Takes one name away from a file and writes its inode row. Without a name left it goes to the
/// unlinked table.
Status drop_link(kv::Transaction& txn, const Context& context, InodeRow& row);
/// Ends a directory whose entry the caller erases: kNotEmpty if it has entries other than
/// `except_key_name`. Returns the row as it is afterwards.
Result<InodeRow> remove_directory(kv::Transaction& txn, const Context& context, InodeRow row,
                                  std::string_view except_key_name = {});
/// When the directory `name` goes away from `parent`: makes a hidden file of that name visible.
Result<std::optional<InodeRow>> uncover(kv::Transaction& txn, Ino parent, std::string_view name);
/// Flags the file of `entry` hidden or visible. Returns its row.
Result<InodeRow> set_hidden(kv::Transaction& txn, Ino parent, std::string_view name, EntryRow entry,
                            bool is_hidden);

/// Delta of a directory in which entries were added or removed.
DirectoryDelta entries_changed(const Context& context, int64_t entries, int64_t subdirectories);
void merge_directory(kv::Transaction& txn, Ino dir, const DirectoryDelta& delta);
/// Merges a change of a directory's attributes and returns the row as it will be. Tracks what makes
/// an implied directory's removal conflict with it.
Result<InodeRow> change_directory(kv::Transaction& txn, const Context& context, InodeRow row,
                                  DirectoryDelta delta);

void merge_usage(kv::Transaction& txn, int64_t bytes, int64_t inodes);
/// Bytes that an inode counts for in Usage.
uint64_t counted_bytes(const InodeRow& row);

/// A record with inode, generation, size, etag and the context filled in.
ChangeRecord change_of(const Context& context, ChangeKind kind, const InodeRow& row);
void append(kv::Transaction& txn, const ChangeRecord& record);

/// The key of the row of `Usage`.
std::string usage_key();

}  // namespace tarn::meta
