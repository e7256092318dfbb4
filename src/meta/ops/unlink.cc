#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {

Result<Removed> unlink(kv::Transaction& txn, const Context& context, Ino parent,
                       std::string_view name) {
  TARN_TRY(check_name(name));
  TARN_ASSIGN(auto found, get_found(txn, parent, key_name_of(name, false)));
  if (!found || (found->entry.is_hidden && context.is_posix)) {
    TARN_ASSIGN(auto directory, get_entry(txn, parent, key_name_of(name, true), Tracking::kPlain));
    if (directory) {
      return Status{Code::kIsDirectory,
                    fmt::format("'{}' in directory {} is a directory", name, parent.value)};
    }
    return Status{Code::kNotFound,
                  fmt::format("no entry '{}' in directory {}", name, parent.value)};
  }
  Removed removed{.inode = std::move(found->inode), .uncovered = std::nullopt};
  txn.erase(entry_key(parent, key_name_of(name, false)));
  TARN_TRY(drop_link(txn, context, removed.inode));
  merge_directory(txn, parent, entries_changed(context, -1, 0));
  ChangeRecord record = change_of(context, ChangeKind::kUnlink, removed.inode);
  record.parent_before = parent;
  record.name_before = name;
  append(txn, record);
  return removed;
}

}  // namespace tarn::meta
