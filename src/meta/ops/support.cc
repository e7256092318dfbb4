#include "meta/ops/support.h"

#include <fmt/format.h>

#include "base/limits.h"

namespace tarn::meta {

Status check_name(std::string_view name) {
  if (name.size() > limits::kNameBytesMax) {
    return {Code::kNameTooLong, fmt::format("a name of {} bytes is over the limit of {}",
                                            name.size(), limits::kNameBytesMax)};
  }
  if (name.empty() || name == "." || name == "..") {
    return {Code::kInvalidArgument, fmt::format("'{}' cannot be the name of an entry", name)};
  }
  if (name.find('/') != name.npos || name.find('\0') != name.npos) {
    return {Code::kInvalidArgument, fmt::format("name '{}' has a '/' or a NUL in it", name)};
  }
  return {};
}

Result<std::optional<EntryRow>> get_entry(kv::Transaction& txn, Ino parent,
                                          std::string_view key_name, Tracking tracking) {
  std::string key = entry_key(parent, key_name);
  TARN_ASSIGN(auto value, tracking == Tracking::kTracked ? txn.get_tracked(key) : txn.get(key));
  if (!value) return std::optional<EntryRow>{};
  TARN_ASSIGN(EntryRow entry, decode_entry(parent, key_name, *value));
  return std::optional<EntryRow>{std::move(entry)};
}

Result<std::optional<Found>> get_found(kv::Transaction& txn, Ino parent,
                                       std::string_view key_name) {
  TARN_ASSIGN(auto linked, txn.get_linked(entry_key(parent, key_name), inode_link()));
  if (!linked.row) return std::optional<Found>{};
  TARN_ASSIGN(EntryRow entry, decode_entry(parent, key_name, *linked.row));
  if (!linked.linked) {
    return Status{Code::kCorrupt,
                  fmt::format("entry '{}' of directory {} names inode {}, which is missing",
                              key_name, parent.value, entry.ino.value)};
  }
  TARN_ASSIGN(InodeRow inode, decode_inode(entry.ino, *linked.linked));
  return std::optional<Found>{Found{std::move(entry), std::move(inode)}};
}

Result<Found> find(kv::Transaction& txn, Ino parent, std::string_view name, bool see_hidden) {
  TARN_ASSIGN(auto file, get_found(txn, parent, key_name_of(name, false)));
  if (file && (see_hidden || !file->entry.is_hidden)) return std::move(*file);
  TARN_ASSIGN(auto directory, get_found(txn, parent, key_name_of(name, true)));
  if (directory) return std::move(*directory);
  return Status{Code::kNotFound, fmt::format("no entry '{}' in directory {}", name, parent.value)};
}

Result<std::optional<InodeRow>> find_inode(kv::Transaction& txn, Ino ino) {
  TARN_ASSIGN(auto value, txn.get(ino_key(Prefix::kInode, ino)));
  if (!value) return std::optional<InodeRow>{};
  TARN_ASSIGN(InodeRow row, decode_inode(ino, *value));
  return std::optional<InodeRow>{std::move(row)};
}

Status admit(kv::Transaction& txn, Ino dir) {
  TARN_ASSIGN(auto alive, txn.get_tracked(ino_key(Prefix::kAlive, dir)));
  if (alive) {
    txn.put_blind(ino_key(Prefix::kGuard, dir), mark());
    return {};
  }
  TARN_ASSIGN(InodeRow row, get_inode(txn, dir));
  if (!row.is_directory()) {
    return {Code::kNotDirectory, fmt::format("inode {} is no directory", dir.value)};
  }
  return {Code::kNotFound, fmt::format("directory {} has been removed", dir.value)};
}

Result<bool> claim_name(kv::Transaction& txn, Ino parent, std::string_view name, bool is_directory,
                        Twin twin) {
  Status exists{Code::kExists,
                fmt::format("directory {} has an entry '{}' already", parent.value, name)};
  // The key itself needs no tracking: the put that follows conflicts with any other write of it.
  TARN_ASSIGN(auto own, get_entry(txn, parent, key_name_of(name, is_directory), Tracking::kPlain));
  if (own) return exists;
  TARN_ASSIGN(auto sibling,
              get_entry(txn, parent, key_name_of(name, !is_directory), Tracking::kTracked));
  if (!sibling) return false;
  if (twin == Twin::kRefuse) return exists;
  if (!is_directory) return true;
  bool is_s3_written = false;
  if (sibling->attributes) {
    is_s3_written = sibling->attributes->is_s3_written;
  } else {
    TARN_ASSIGN(InodeRow file, get_inode(txn, sibling->ino));
    is_s3_written = file.is_s3_written;
  }
  if (!is_s3_written) {
    return exists.with_context(
        fmt::format("file {} was not last written by S3", sibling->ino.value));
  }
  TARN_TRY(set_hidden(txn, parent, name, std::move(*sibling), true));
  return false;
}

void put_entry(kv::Transaction& txn, Ino parent, std::string_view name, const EntryRow& entry) {
  txn.put(entry_key(parent, key_name_of(name, entry.is_directory())), encode_entry(entry));
}

void put_file(kv::Transaction& txn, const InodeRow& row) {
  txn.put(ino_key(Prefix::kInode, row.ino), encode_inode(row));
  if (row.parent) put_entry(txn, row.parent, row.name, entry_of(row));
}

Status drop_link(kv::Transaction& txn, const Context& context, InodeRow& row) {
  if (row.nlink == 0) {
    return {Code::kCorrupt, fmt::format("inode {} has an entry but no links", row.ino.value)};
  }
  --row.nlink;
  row.ctime = context.now;
  row.parent = {};
  row.name.clear();
  row.is_hidden = false;
  if (row.nlink == 0) {
    txn.put_blind(ino_key(Prefix::kUnlinked, row.ino), encode_number(context.node_id));
  }
  txn.put(ino_key(Prefix::kInode, row.ino), encode_inode(row));
  return {};
}

Result<InodeRow> remove_directory(kv::Transaction& txn, const Context& context, InodeRow row,
                                  std::string_view except_key_name) {
  std::string guard = ino_key(Prefix::kGuard, row.ino);
  TARN_ASSIGN(auto guarded, txn.get_tracked(guard));
  bool is_empty = true;
  std::string begin = entry_key(row.ino, {});
  TARN_TRY(txn.scan(kv::Range::prefix(begin), [&](std::string_view key, std::string_view) {
    bool is_excepted = !except_key_name.empty() && key.substr(begin.size()) == except_key_name;
    is_empty = is_excepted;
    return is_empty;
  }));
  if (!is_empty) {
    return Status{Code::kNotEmpty, fmt::format("directory {} has entries", row.ino.value)};
  }
  txn.erase(ino_key(Prefix::kAlive, row.ino));
  if (guarded) txn.erase(guard);
  txn.put_blind(ino_key(Prefix::kUnlinked, row.ino), encode_number(context.node_id));
  DirectoryDelta delta;
  delta.changed = context.now;
  delta.is_removed = true;
  merge_directory(txn, row.ino, delta);
  apply_delta(row, delta);
  return row;
}

Result<std::optional<InodeRow>> uncover(kv::Transaction& txn, Ino parent, std::string_view name) {
  TARN_ASSIGN(auto file, get_entry(txn, parent, name, Tracking::kTracked));
  if (!file || !file->is_hidden) return std::optional<InodeRow>{};
  TARN_ASSIGN(InodeRow row, set_hidden(txn, parent, name, std::move(*file), false));
  return std::optional<InodeRow>{std::move(row)};
}

Result<InodeRow> set_hidden(kv::Transaction& txn, Ino parent, std::string_view name, EntryRow entry,
                            bool is_hidden) {
  TARN_ASSIGN(InodeRow row, get_inode(txn, entry.ino));
  if (row.is_linked) {
    // Only this name is hidden; the inode's others are seen.
    entry.is_hidden = is_hidden;
    put_entry(txn, parent, name, entry);
  } else {
    row.is_hidden = is_hidden;
    put_file(txn, row);
  }
  return row;
}

DirectoryDelta entries_changed(const Context& context, int64_t entries, int64_t subdirectories) {
  DirectoryDelta delta;
  delta.nlink = subdirectories;
  delta.entries = entries;
  delta.touched = context.now;
  delta.is_promoted = context.is_posix;
  return delta;
}

void merge_directory(kv::Transaction& txn, Ino dir, const DirectoryDelta& delta) {
  txn.merge(ino_key(Prefix::kInode, dir), encode_delta(delta));
}

Result<InodeRow> change_directory(kv::Transaction& txn, const Context& context, InodeRow row,
                                  DirectoryDelta delta) {
  if (context.is_posix && row.origin == Origin::kImplied) {
    // A removal of the implied directory in the meantime must not swallow this change.
    TARN_TRY(txn.get_tracked(ino_key(Prefix::kAlive, row.ino)));
    delta.is_promoted = true;
  }
  merge_directory(txn, row.ino, delta);
  apply_delta(row, delta);
  return row;
}

std::string usage_key() {
  return prefixed(Prefix::kCounter, "usage");
}

void merge_usage(kv::Transaction& txn, int64_t bytes, int64_t inodes) {
  if (bytes == 0 && inodes == 0) return;
  txn.merge(usage_key(), encode_counters({bytes, inodes}));
}

uint64_t counted_bytes(const InodeRow& row) {
  return row.is_directory() ? 0 : row.size;
}

ChangeRecord change_of(const Context& context, ChangeKind kind, const InodeRow& row) {
  return {.stamp = {},
          .kind = kind,
          .ino = row.ino,
          .generation = row.generation,
          .parent_before = {},
          .parent_after = {},
          .name_before = {},
          .name_after = {},
          .replaced = {},
          .size = row.is_directory() ? 0 : row.size,
          .etag = row.etag,
          .request = context.request,
          .node_id = context.node_id,
          .time = context.now};
}

void append(kv::Transaction& txn, const ChangeRecord& record) {
  txn.append_log(encode_change(record));
}

}  // namespace tarn::meta
