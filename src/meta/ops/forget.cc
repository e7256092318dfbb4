#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {

Result<InodeRow> forget(kv::Transaction& txn, const Context& context, Ino ino) {
  std::string unlinked = ino_key(Prefix::kUnlinked, ino);
  TARN_ASSIGN(auto is_listed, txn.get(unlinked));
  if (!is_listed) {
    return Status{Code::kNotFound, fmt::format("inode {} is not an unlinked one", ino.value)};
  }
  TARN_ASSIGN(InodeRow row, get_inode(txn, ino));
  // Both erases conflict with whoever gives the inode a name, an attribute or new bytes meanwhile.
  txn.erase(unlinked);
  txn.erase(ino_key(Prefix::kInode, ino));
  if (row.state != ContentState::kSettled) txn.erase_blind(ino_key(Prefix::kUnsettled, ino));
  if (row.has_xattrs) {
    TARN_ASSIGN(std::vector<std::string> names, list_xattrs(txn, ino));
    for (const std::string& name : names) txn.erase(xattr_key(ino, name));
  }
  merge_usage(txn, -static_cast<int64_t>(counted_bytes(row)), -1);
  append(txn, change_of(context, ChangeKind::kForget, row));
  return row;
}

}  // namespace tarn::meta
