#include <fmt/format.h>

#include "base/limits.h"
#include "meta/ops/support.h"

namespace tarn::meta {

Result<InodeRow> link(kv::Transaction& txn, const Context& context, Ino ino, Ino parent,
                      std::string_view name) {
  TARN_TRY(check_name(name));
  TARN_ASSIGN(InodeRow row, get_inode(txn, ino));
  if (row.is_directory()) {
    return Status{Code::kNotPermitted, fmt::format("inode {} is a directory", ino.value)};
  }
  if (row.nlink == 0) {
    return Status{Code::kNotFound, fmt::format("inode {} has no name any more", ino.value)};
  }
  if (row.nlink >= limits::kLinksMax) {
    return Status{Code::kTooManyLinks, fmt::format("inode {} has {} links, the limit is {}",
                                                   ino.value, row.nlink, limits::kLinksMax)};
  }
  TARN_TRY(admit(txn, parent));
  TARN_TRY(claim_name(txn, parent, name, false, Twin::kRefuse));
  if (!row.is_linked) {
    // From now on the first entry, too, is read through the inode.
    EntryRow first = entry_of(row);
    first.is_linked = true;
    first.attributes.reset();
    put_entry(txn, row.parent, row.name, first);
    row.is_linked = true;
    row.is_hidden = false;
    row.parent = {};
    row.name.clear();
  }
  ++row.nlink;
  row.ctime = context.now;
  put_file(txn, row);
  put_entry(txn, parent, name, entry_of(row));
  merge_directory(txn, parent, entries_changed(context, 1, 0));
  ChangeRecord record = change_of(context, ChangeKind::kLink, row);
  record.parent_after = parent;
  record.name_after = name;
  append(txn, record);
  return row;
}

}  // namespace tarn::meta
