#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

Result<InodeRow> set_of_directory(kv::Transaction& txn, const Context& context, InodeRow row,
                                  const AttributeChange& change) {
  if (change.size || change.blocks) {
    return Status{Code::kIsDirectory,
                  fmt::format("inode {} is a directory and has no size to set", row.ino.value)};
  }
  DirectoryDelta delta;
  delta.changed = change.ctime ? std::nullopt : std::optional(context.now);
  delta.mode = change.mode;
  delta.uid = change.uid;
  delta.gid = change.gid;
  delta.atime = change.atime;
  delta.mtime = change.mtime;
  delta.ctime = change.ctime;
  delta.btime = change.btime;
  delta.is_sealed = change.is_sealed;
  delta.origin = change.origin;
  return change_directory(txn, context, std::move(row), std::move(delta));
}

void apply(InodeRow& row, const Context& context, const AttributeChange& change) {
  if (change.mode) row.mode = (row.mode & S_IFMT) | (*change.mode & 07777);
  if (change.uid) row.uid = *change.uid;
  if (change.gid) row.gid = *change.gid;
  if (change.size) row.size = *change.size;
  if (change.blocks) row.blocks = *change.blocks;
  if (change.atime) row.atime = *change.atime;
  if (change.mtime) row.mtime = *change.mtime;
  if (change.btime) row.btime = *change.btime;
  if (change.is_sealed) row.is_sealed = *change.is_sealed;
  row.ctime = change.ctime.value_or(context.now);
}

}  // namespace

Result<InodeRow> set_attributes(kv::Transaction& txn, const Context& context, Ino ino,
                                const AttributeChange& change) {
  TARN_ASSIGN(InodeRow row, get_inode(txn, ino));
  if (row.is_directory()) {
    TARN_ASSIGN(row, set_of_directory(txn, context, std::move(row), change));
  } else {
    if (change.origin) {
      return Status{Code::kNotDirectory, fmt::format("inode {} is no directory", ino.value)};
    }
    auto bytes_before = static_cast<int64_t>(counted_bytes(row));
    apply(row, context, change);
    // The put conflicts with any other writer of the row since the snapshot that it was read in.
    put_file(txn, row);
    merge_usage(txn, static_cast<int64_t>(counted_bytes(row)) - bytes_before, 0);
  }
  append(txn, change_of(context, ChangeKind::kSetattr, row));
  return row;
}

}  // namespace tarn::meta
