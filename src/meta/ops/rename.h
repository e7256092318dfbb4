// What rename.cc and exchange.cc share: moving a directory without making a loop.
//
// Internal to room meta. Thread rules: as kv::Transaction.
#pragma once

#include "meta/ops/support.h"

namespace tarn::meta {

/// Serialises moves of directories from one parent to another: of two under way, one commits.
/// Renames within one directory change nobody's ancestors and need it not.
Status take_rename_guard(kv::Transaction& txn);
/// kInvalidArgument when `dir` is `below` or one of its ancestors. Under the rename guard.
Status check_no_loop(kv::Transaction& txn, Ino dir, Ino below);

/// rename with RenameOptions::exchange.
Result<Renamed> exchange(kv::Transaction& txn, const Context& context, Ino source_parent,
                         std::string_view source_name, Ino target_parent,
                         std::string_view target_name);

/// Gives the inode of `found` the place (parent, name): entry row, inode row or delta, ctime.
InodeRow move_to(kv::Transaction& txn, const Context& context, const Found& found, Ino parent,
                 std::string_view name);

}  // namespace tarn::meta
