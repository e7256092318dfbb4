// Staging: trees under construction, below an unlisted directory, and their way into the real tree.
//
// A staging tree is named after its own inode number below meta::kStagingIno. It either moves into
// its target as a whole (publish), is merged into it under a journal row, or is removed; a start
// finds what a crash left (recover_extracts). Internal to room fs. Thread rules: one tree belongs
// to one thread.
#pragma once

#include <string>
#include <vector>

#include "fs/file_system.h"

namespace tarn::fs {

/// Makes an empty staging tree; returns its inode.
Result<Ino> make_staging(FileSystemImpl& fs);
/// Removes a staging tree with everything in it and releases its content.
Status remove_staging(FileSystemImpl& fs, Ino staging);
/// Moves every top-level entry of `staging` into `target` and drops the empty staging directory, in
/// one transaction. kExists names the entry that stands in the way; nothing has moved then.
Result<Stamp> publish(FileSystemImpl& fs, const Caller& caller, Ino staging, Ino target);
/// Merges `staging` into `target`: directories that both have become one, other names replace.
/// Checked as a whole first (kExists where a directory meets a file), then journalled, then one
/// transaction a directory.
Status merge(FileSystemImpl& fs, const Caller& caller, Ino staging, Ino target);
/// A merge of this tree is journalled: it is to be finished, never removed.
bool has_journal(kv::Transaction& txn, Ino staging);
/// Finishes journalled merges and removes every other staging tree.
Status recover_staging(FileSystemImpl& fs);

}  // namespace tarn::fs
