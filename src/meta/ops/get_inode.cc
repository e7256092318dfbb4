#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

Result<InodeRow> decode(Ino ino, const Result<std::optional<std::string>>& value) {
  if (!value) return value.status();
  if (!value->has_value()) {
    return Status{Code::kStale, fmt::format("inode {} is no more", ino.value)};
  }
  return decode_inode(ino, **value);
}

}  // namespace

Result<InodeRow> get_inode(kv::Transaction& txn, Ino ino) {
  return decode(ino, txn.get(ino_key(Prefix::kInode, ino)));
}

Result<InodeRow> get_inode_tracked(kv::Transaction& txn, Ino ino) {
  return decode(ino, txn.get_tracked(ino_key(Prefix::kInode, ino)));
}

}  // namespace tarn::meta
