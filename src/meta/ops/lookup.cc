#include "meta/ops/support.h"

namespace tarn::meta {

Result<InodeRow> lookup(kv::Transaction& txn, Ino parent, std::string_view name, bool see_hidden) {
  TARN_TRY(check_name(name));
  TARN_ASSIGN(Found found, find(txn, parent, name, see_hidden));
  found.inode.is_hidden = found.entry.is_hidden;
  return std::move(found.inode);
}

}  // namespace tarn::meta
