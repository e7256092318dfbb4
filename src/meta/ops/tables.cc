// The tables of unlinked and of unsettled inodes: one row an inode.
#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

Status read_table(kv::Transaction& txn, Prefix prefix, const std::function<bool(Ino)>& visitor) {
  return txn.scan(kv::Range::prefix(prefixed(prefix)),
                  [&](std::string_view key, std::string_view) { return visitor(ino_of_key(key)); });
}

}  // namespace

Status read_unlinked(kv::Transaction& txn, const std::function<bool(Ino)>& visitor) {
  return read_table(txn, Prefix::kUnlinked, visitor);
}

Status read_unsettled(kv::Transaction& txn, const std::function<bool(Ino)>& visitor) {
  return read_table(txn, Prefix::kUnsettled, visitor);
}

}  // namespace tarn::meta
