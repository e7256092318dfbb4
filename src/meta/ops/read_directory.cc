#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {

std::string key_name(const DirectoryEntry& entry) {
  return key_name_of(entry.name, S_ISDIR(entry.type_mode));
}

namespace {

Result<DirectoryEntry> entry_of_row(kv::Transaction& txn, Ino dir, std::string_view key_name,
                                    EntryRow row, bool with_attributes) {
  bool is_directory = row.is_directory();
  DirectoryEntry entry{.name = std::string(key_name.substr(0, key_name.size() - is_directory)),
                       .ino = row.ino,
                       .type_mode = row.type_mode,
                       .is_linked = row.is_linked,
                       .is_hidden = row.is_hidden,
                       .attributes = std::nullopt};
  if (!with_attributes) return entry;
  if (row.attributes) {
    entry.attributes = std::move(row.attributes);
    return entry;
  }
  TARN_ASSIGN(auto inode, find_inode(txn, row.ino));
  if (!inode) {
    return Status{Code::kCorrupt,
                  fmt::format("entry '{}' of directory {} names inode {}, which is missing",
                              key_name, dir.value, row.ino.value)};
  }
  entry.attributes = listed_attributes(*inode);
  entry.attributes->is_hidden = row.is_hidden;
  return entry;
}

}  // namespace

Status read_directory(kv::Transaction& txn, Ino dir, std::string_view after, bool with_attributes,
                      bool see_hidden, const std::function<bool(const DirectoryEntry&)>& visitor) {
  std::string begin = entry_key(dir, {});
  kv::Range range = kv::Range::prefix(begin);
  if (!after.empty()) {
    range.begin.append(after);
    range.begin.push_back('\0');
  }
  Status failed;
  bool is_any = false;
  auto visit = [&](std::string_view key, std::string_view value) {
    is_any = true;
    std::string_view key_name = key.substr(begin.size());
    Result<EntryRow> row = decode_entry(dir, key_name, value);
    if (row && row->is_hidden && !see_hidden) return true;
    Result<DirectoryEntry> entry =
        row ? entry_of_row(txn, dir, key_name, std::move(*row), with_attributes)
            : Result<DirectoryEntry>(row.status());
    if (entry) return visitor(*entry);
    failed = entry.status();
    return false;
  };
  TARN_TRY(txn.scan(range, visit));
  TARN_TRY(failed);
  if (is_any || !after.empty()) return {};
  // Nothing there: an empty directory, a removed one, or none at all.
  TARN_ASSIGN(InodeRow row, get_inode(txn, dir));
  if (row.is_directory()) return {};
  return {Code::kNotDirectory, fmt::format("inode {} is no directory", dir.value)};
}

}  // namespace tarn::meta
