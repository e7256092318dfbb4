#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

void apply(InodeRow& row, const ContentChange& change) {
  if (change.generation) row.generation = *change.generation;
  if (change.state) row.state = *change.state;
  if (change.content) row.content = *change.content;
  if (change.grant) row.grant = *change.grant;
  if (change.size) row.size = *change.size;
  if (change.blocks) row.blocks = *change.blocks;
  if (change.mtime) row.mtime = *change.mtime;
  if (change.ctime) row.ctime = *change.ctime;
  if (change.atime) row.atime = *change.atime;
  if (change.etag) row.etag = *change.etag;
  if (change.digests) row.digests = *change.digests;
  if (change.is_s3_written) row.is_s3_written = *change.is_s3_written;
  if (change.mode) row.mode = (row.mode & S_IFMT) | (*change.mode & 07777);
}

}  // namespace

Result<InodeRow> set_content(kv::Transaction& txn, const Context& context, Ino ino,
                             const ContentChange& change,
                             const std::function<bool(const InodeRow&)>& require) {
  TARN_ASSIGN(InodeRow row, get_inode_tracked(txn, ino));
  if (row.is_directory()) {
    return Status{Code::kIsDirectory, fmt::format("inode {} is a directory", ino.value)};
  }
  if (require && !require(row)) {
    return Status{Code::kPreconditionFailed,
                  fmt::format("inode {} is in generation {}, state {}, not as required", ino.value,
                              row.generation.value, static_cast<int>(row.state))};
  }
  auto bytes_before = static_cast<int64_t>(counted_bytes(row));
  bool was_settled = row.state == ContentState::kSettled;
  apply(row, change);
  bool is_settled = row.state == ContentState::kSettled;
  put_file(txn, row);
  // The row is tracked, so the table follows it without being read.
  std::string unsettled = ino_key(Prefix::kUnsettled, ino);
  if (was_settled && !is_settled) txn.put_blind(unsettled, mark());
  if (!was_settled && is_settled) txn.erase_blind(unsettled);
  merge_usage(txn, static_cast<int64_t>(counted_bytes(row)) - bytes_before, 0);
  append(txn, change_of(context, ChangeKind::kContent, row));
  return row;
}

}  // namespace tarn::meta
