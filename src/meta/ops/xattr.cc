#include <fmt/format.h>

#include "base/limits.h"
#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

Status check_attribute(std::string_view name, size_t value_bytes) {
  if (name.empty() || name.size() > limits::kNameBytesMax) {
    return {Code::kRangeTooSmall,
            fmt::format("the name of an extended attribute has 1 to {} bytes, not {}",
                        limits::kNameBytesMax, name.size())};
  }
  if (name.find('\0') != name.npos) {
    return {Code::kInvalidArgument, "the name of an extended attribute has a NUL in it"};
  }
  if (value_bytes > limits::kXattrValueBytesMax) {
    return {Code::kRangeTooSmall, fmt::format("extended attribute '{}' of {} bytes is over {}",
                                              name, value_bytes, limits::kXattrValueBytesMax)};
  }
  return {};
}

Status no_attribute(Ino ino, std::string_view name) {
  return {Code::kNoAttribute, fmt::format("inode {} has no attribute '{}'", ino.value, name)};
}

/// Writes the inode's part of a change: ctime, and that it has attributes.
Result<InodeRow> note_change(kv::Transaction& txn, const Context& context, InodeRow row,
                             bool has_xattrs) {
  if (row.is_directory()) {
    // The delta conflicts with nobody, but the row must not end unseen: then the attribute would
    // outlive it.
    TARN_TRY(txn.get_tracked(ino_key(Prefix::kUnlinked, row.ino)));
    DirectoryDelta delta;
    delta.changed = context.now;
    delta.has_xattrs = has_xattrs;
    return change_directory(txn, context, std::move(row), std::move(delta));
  }
  row.ctime = context.now;
  row.has_xattrs = row.has_xattrs || has_xattrs;
  put_file(txn, row);
  return row;
}

/// Bytes of the list of names as listxattr returns it.
Result<size_t> list_bytes(kv::Transaction& txn, Ino ino) {
  TARN_ASSIGN(std::vector<std::string> names, list_xattrs(txn, ino));
  size_t bytes = 0;
  for (const std::string& name : names) bytes += name.size() + 1;
  return bytes;
}

}  // namespace

Result<std::string> get_xattr(kv::Transaction& txn, Ino ino, std::string_view name) {
  TARN_TRY(check_attribute(name, 0));
  TARN_ASSIGN(auto stored, txn.get(xattr_key(ino, name)));
  if (!stored) return no_attribute(ino, name);
  if (!stored->starts_with(mark())) {
    return Status{Code::kCorrupt, fmt::format("attribute '{}' of inode {} has version {}", name,
                                              ino.value, static_cast<int>((*stored)[0]))};
  }
  return stored->substr(mark().size());
}

Result<std::vector<std::string>> list_xattrs(kv::Transaction& txn, Ino ino) {
  std::vector<std::string> names;
  std::string begin = xattr_key(ino, {});
  TARN_TRY(txn.scan(kv::Range::prefix(begin), [&](std::string_view key, std::string_view) {
    names.emplace_back(key.substr(begin.size()));
    return true;
  }));
  return names;
}

Status set_xattr(kv::Transaction& txn, const Context& context, Ino ino, std::string_view name,
                 std::string_view value, XattrMode mode) {
  TARN_TRY(check_attribute(name, value.size()));
  TARN_ASSIGN(InodeRow row, get_inode(txn, ino));
  std::string key = xattr_key(ino, name);
  TARN_ASSIGN(auto present, txn.get(key));
  if (present && mode == XattrMode::kCreate) {
    return {Code::kExists, fmt::format("inode {} has an attribute '{}' already", ino.value, name)};
  }
  if (!present && mode == XattrMode::kReplace) return no_attribute(ino, name);
  if (!present && row.has_xattrs) {
    TARN_ASSIGN(size_t bytes, list_bytes(txn, ino));
    if (bytes + name.size() + 1 > limits::kXattrListBytesMax) {
      return {Code::kRangeTooSmall,
              fmt::format("the names of inode {}'s attributes would take {} bytes, the limit is {}",
                          ino.value, bytes + name.size() + 1, limits::kXattrListBytesMax)};
    }
  }
  std::string stored(mark());
  txn.put(key, stored.append(value));
  TARN_ASSIGN(row, note_change(txn, context, std::move(row), true));
  append(txn, change_of(context, ChangeKind::kXattr, row));
  return {};
}

Status remove_xattr(kv::Transaction& txn, const Context& context, Ino ino, std::string_view name) {
  TARN_TRY(check_attribute(name, 0));
  TARN_ASSIGN(InodeRow row, get_inode(txn, ino));
  std::string key = xattr_key(ino, name);
  TARN_ASSIGN(auto present, txn.get(key));
  if (!present) return no_attribute(ino, name);
  txn.erase(key);
  TARN_ASSIGN(row, note_change(txn, context, std::move(row), false));
  append(txn, change_of(context, ChangeKind::kXattr, row));
  return {};
}

}  // namespace tarn::meta
