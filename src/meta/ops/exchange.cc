#include <fmt/format.h>

#include "meta/ops/rename.h"

namespace tarn::meta {
namespace {

/// `found` goes to a name whose present holder is of the other type: that holder's key is given up,
/// and the key that is needed must be free. A hidden file beside a directory makes it taken.
/// Both keys are written, so that no other writer of either gets by unseen.
Status change_key(kv::Transaction& txn, Ino parent, std::string_view name, const Found& found) {
  bool is_directory = found.inode.is_directory();
  txn.erase(entry_key(parent, key_name_of(name, !is_directory)));
  TARN_ASSIGN(auto present,
              get_entry(txn, parent, key_name_of(name, is_directory), Tracking::kPlain));
  if (!present) return {};
  return {Code::kExists,
          fmt::format("a hidden file has the name '{}' in directory {}", name, parent.value)};
}

Status check_loops(kv::Transaction& txn, const Found& source, Ino source_parent,
                   const Found& target, Ino target_parent) {
  bool is_any = source.inode.is_directory() || target.inode.is_directory();
  if (!is_any || source_parent == target_parent) return {};
  TARN_TRY(take_rename_guard(txn));
  if (source.inode.is_directory()) {
    TARN_TRY(check_no_loop(txn, source.inode.ino, target_parent));
  }
  if (target.inode.is_directory()) {
    TARN_TRY(check_no_loop(txn, target.inode.ino, source_parent));
  }
  return {};
}

}  // namespace

Result<Renamed> exchange(kv::Transaction& txn, const Context& context, Ino source_parent,
                         std::string_view source_name, Ino target_parent,
                         std::string_view target_name) {
  TARN_ASSIGN(Found source, find(txn, source_parent, source_name, false));
  TARN_ASSIGN(Found target, find(txn, target_parent, target_name, false));
  Renamed renamed{.moved = source.inode, .replaced = target.inode, .uncovered = {}};
  if (source.inode.ino == target.inode.ino) return renamed;
  TARN_TRY(check_loops(txn, source, source_parent, target, target_parent));
  TARN_TRY(admit(txn, source_parent));
  TARN_TRY(admit(txn, target_parent));
  bool is_source_directory = source.inode.is_directory();
  bool is_target_directory = target.inode.is_directory();
  if (is_source_directory != is_target_directory) {
    TARN_TRY(change_key(txn, target_parent, target_name, source));
    TARN_TRY(change_key(txn, source_parent, source_name, target));
  }
  renamed.moved = move_to(txn, context, source, target_parent, target_name);
  renamed.replaced = move_to(txn, context, target, source_parent, source_name);
  if (source_parent == target_parent) {
    merge_directory(txn, source_parent, entries_changed(context, 0, 0));
  } else {
    int64_t gained = (is_target_directory ? 1 : 0) - (is_source_directory ? 1 : 0);
    merge_directory(txn, source_parent, entries_changed(context, 0, gained));
    merge_directory(txn, target_parent, entries_changed(context, 0, -gained));
  }
  ChangeRecord record = change_of(context, ChangeKind::kExchange, source.inode);
  record.parent_before = source_parent;
  record.name_before = source_name;
  record.parent_after = target_parent;
  record.name_after = target_name;
  record.replaced = target.inode.ino;
  append(txn, record);
  return renamed;
}

}  // namespace tarn::meta
