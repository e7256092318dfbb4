#include "meta/ops/rename.h"

#include <fmt/format.h>

namespace tarn::meta {

Status take_rename_guard(kv::Transaction& txn) {
  std::string key = prefixed(Prefix::kRenameGuard);
  TARN_TRY(txn.get_tracked(key));
  txn.put(key, mark());
  return {};
}

Status check_no_loop(kv::Transaction& txn, Ino dir, Ino below) {
  for (Ino at = below;;) {
    if (at == dir) {
      return {Code::kInvalidArgument, fmt::format("directory {} cannot move into itself, below {}",
                                                  dir.value, below.value)};
    }
    if (at == kRootIno || at == kStagingIno) return {};
    TARN_ASSIGN(auto row, find_inode(txn, at));
    // Not under the root: what `below` was when it was found has ended.
    if (!row || !row->parent) return {};
    at = row->parent;
  }
}

InodeRow move_to(kv::Transaction& txn, const Context& context, const Found& found, Ino parent,
                 std::string_view name) {
  InodeRow row = found.inode;
  if (row.is_directory()) {
    DirectoryDelta delta;
    delta.changed = context.now;
    delta.place.emplace(parent, name);
    merge_directory(txn, row.ino, delta);
    apply_delta(row, delta);
    put_entry(txn, parent, name, entry_of(row));
    return row;
  }
  row.ctime = context.now;
  if (!row.is_linked) {
    row.parent = parent;
    row.name = name;
  }
  put_file(txn, row);
  if (row.is_linked) put_entry(txn, parent, name, entry_of(row));
  return row;
}

namespace {

/// What stands at the target name and is to be replaced; tracks the sibling key. kExists under
/// no_replace, kIsDirectory and kNotDirectory when the types do not fit.
Result<std::optional<Found>> find_target(kv::Transaction& txn, Ino parent, std::string_view name,
                                         bool is_directory, bool no_replace) {
  TARN_ASSIGN(auto own, get_found(txn, parent, key_name_of(name, is_directory)));
  TARN_ASSIGN(auto sibling,
              get_entry(txn, parent, key_name_of(name, !is_directory), Tracking::kTracked));
  bool is_sibling_seen = sibling && !sibling->is_hidden;
  bool is_own_seen = own && !own->entry.is_hidden;
  if (no_replace && (is_sibling_seen || is_own_seen)) {
    return Status{Code::kExists,
                  fmt::format("directory {} has an entry '{}' already", parent.value, name)};
  }
  if (is_sibling_seen) {
    return is_directory
               ? Status{Code::kNotDirectory,
                        fmt::format("'{}' in directory {} is no directory", name, parent.value)}
               : Status{Code::kIsDirectory,
                        fmt::format("'{}' in directory {} is a directory", name, parent.value)};
  }
  return own;
}

struct Names {
  Ino source_parent, target_parent;
  std::string_view source_name, target_name;
};

void move_counts(kv::Transaction& txn, const Context& context, const Names& names,
                 bool is_directory, bool is_replacing) {
  int64_t one = is_directory ? 1 : 0;
  int64_t added = is_replacing ? 0 : 1;
  if (names.source_parent == names.target_parent) {
    merge_directory(txn, names.source_parent,
                    entries_changed(context, added - 1, is_replacing ? -one : 0));
    return;
  }
  merge_directory(txn, names.source_parent, entries_changed(context, -1, -one));
  merge_directory(txn, names.target_parent,
                  entries_changed(context, added, is_replacing ? 0 : one));
}

Result<Renamed> rename_found(kv::Transaction& txn, const Context& context, const Names& names,
                             const Found& source, bool no_replace) {
  bool is_directory = source.inode.is_directory();
  TARN_TRY(admit(txn, names.target_parent));
  if (is_directory && names.source_parent != names.target_parent) {
    TARN_TRY(take_rename_guard(txn));
    TARN_TRY(check_no_loop(txn, source.inode.ino, names.target_parent));
  }
  TARN_ASSIGN(auto target,
              find_target(txn, names.target_parent, names.target_name, is_directory, no_replace));
  Renamed renamed;
  if (target && target->inode.ino == source.inode.ino) {
    renamed.moved = source.inode;
    return renamed;
  }
  ChangeRecord record = change_of(context, ChangeKind::kRename, source.inode);
  if (target) {
    record.replaced = target->inode.ino;
    if (is_directory) {
      TARN_ASSIGN(renamed.replaced, remove_directory(txn, context, std::move(target->inode)));
    } else {
      TARN_TRY(drop_link(txn, context, target->inode));
      renamed.replaced = std::move(target->inode);
    }
  }
  txn.erase(entry_key(names.source_parent, key_name_of(names.source_name, is_directory)));
  if (is_directory) {
    TARN_ASSIGN(renamed.uncovered, uncover(txn, names.source_parent, names.source_name));
  }
  renamed.moved = move_to(txn, context, source, names.target_parent, names.target_name);
  move_counts(txn, context, names, is_directory, renamed.replaced.has_value());
  record.parent_before = names.source_parent;
  record.name_before = names.source_name;
  record.parent_after = names.target_parent;
  record.name_after = names.target_name;
  append(txn, record);
  return renamed;
}

}  // namespace

Result<Renamed> rename(kv::Transaction& txn, const Context& context, Ino source_parent,
                       std::string_view source_name, Ino target_parent,
                       std::string_view target_name, RenameOptions options) {
  TARN_TRY(check_name(source_name));
  TARN_TRY(check_name(target_name));
  if (options.no_replace && options.exchange) {
    return Status{Code::kInvalidArgument,
                  "a rename either replaces nothing or exchanges, not both"};
  }
  if (options.exchange) {
    return exchange(txn, context, source_parent, source_name, target_parent, target_name);
  }
  TARN_ASSIGN(Found source, find(txn, source_parent, source_name, false));
  if (source_parent == target_parent && source_name == target_name) {
    if (options.no_replace) {
      return Status{Code::kExists, fmt::format("directory {} has an entry '{}' already",
                                               target_parent.value, target_name)};
    }
    return Renamed{.moved = std::move(source.inode), .replaced = {}, .uncovered = {}};
  }
  Names names{source_parent, target_parent, source_name, target_name};
  return rename_found(txn, context, names, source, options.no_replace);
}

}  // namespace tarn::meta
