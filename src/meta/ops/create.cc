#include <fmt/format.h>

#include "base/limits.h"
#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

Result<InodeRow> row_of(const Context& context, const NewInode& inode) {
  if ((inode.mode & S_IFMT) == 0 || !inode.ino) {
    return Status{Code::kInvalidArgument,
                  fmt::format("a new inode needs a number and a type, not {} and mode {:o}",
                              inode.ino.value, inode.mode)};
  }
  InodeRow row;
  row.ino = inode.ino;
  row.mode = inode.mode;
  row.uid = inode.uid;
  row.gid = inode.gid;
  row.rdev = inode.rdev;
  row.atime = inode.atime.value_or(context.now);
  row.mtime = inode.mtime.value_or(context.now);
  row.ctime = inode.ctime.value_or(context.now);
  row.btime = context.now;
  row.node_id = context.node_id;
  row.has_xattrs = !inode.xattrs.empty();
  if (row.is_directory()) {
    row.nlink = 2;
    row.origin = inode.origin;
    return row;
  }
  row.nlink = 1;
  row.size = inode.size;
  row.blocks = inode.blocks;
  row.generation = Generation{1};
  row.content = inode.content;
  row.is_s3_written = inode.is_s3_written;
  row.etag = inode.etag;
  row.digests = inode.digests;
  if (row.is_regular()) {
    row.state = inode.state;
    row.grant = inode.grant;
  }
  return row;
}

/// The rows that every new inode has beside its own. The number is new, so that nothing can
/// conflict.
Status put_beside(kv::Transaction& txn, const InodeRow& row, const NewInode& inode) {
  if (row.state != ContentState::kSettled) {
    txn.put_blind(ino_key(Prefix::kUnsettled, row.ino), mark());
  }
  for (const auto& [name, value] : inode.xattrs) {
    if (name.empty() || name.size() > limits::kNameBytesMax ||
        value.size() > limits::kXattrValueBytesMax) {
      return {Code::kRangeTooSmall,
              fmt::format("extended attribute '{}' of {} bytes is over a limit ({}, {})", name,
                          value.size(), limits::kNameBytesMax, limits::kXattrValueBytesMax)};
    }
    std::string stored(mark());
    txn.put_blind(xattr_key(row.ino, name), stored.append(value));
  }
  merge_usage(txn, static_cast<int64_t>(counted_bytes(row)), 1);
  return {};
}

}  // namespace

Result<InodeRow> create(kv::Transaction& txn, const Context& context, Ino parent,
                        std::string_view name, const NewInode& inode) {
  TARN_TRY(check_name(name));
  TARN_ASSIGN(InodeRow row, row_of(context, inode));
  row.parent = parent;
  row.name = name;
  bool is_directory = row.is_directory();
  TARN_TRY(admit(txn, parent));
  TARN_ASSIGN(row.is_hidden, claim_name(txn, parent, name, is_directory, inode.twin));
  put_entry(txn, parent, name, entry_of(row));
  txn.put_blind(ino_key(Prefix::kInode, row.ino), encode_inode(row));
  if (is_directory) txn.put_blind(ino_key(Prefix::kAlive, row.ino), mark());
  TARN_TRY(put_beside(txn, row, inode));
  merge_directory(txn, parent, entries_changed(context, 1, is_directory ? 1 : 0));
  ChangeRecord record = change_of(context, ChangeKind::kCreate, row);
  record.parent_after = parent;
  record.name_after = name;
  append(txn, record);
  return row;
}

Result<InodeRow> create_unnamed(kv::Transaction& txn, const Context& context,
                                const NewInode& inode) {
  TARN_ASSIGN(InodeRow row, row_of(context, inode));
  if (row.is_directory()) {
    return Status{Code::kIsDirectory, "a directory cannot be without a name"};
  }
  row.nlink = 0;
  txn.put_blind(ino_key(Prefix::kInode, row.ino), encode_inode(row));
  txn.put_blind(ino_key(Prefix::kUnlinked, row.ino), encode_number(context.node_id));
  TARN_TRY(put_beside(txn, row, inode));
  append(txn, change_of(context, ChangeKind::kCreate, row));
  return row;
}

}  // namespace tarn::meta
