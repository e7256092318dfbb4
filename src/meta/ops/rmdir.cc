#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

// Deletes of the last entries of one directory must see each other, so that one of them finds it
// empty. With more entries than this there cannot be as many deletes under way, and nothing need be
// tracked.
constexpr uint64_t kTrackedEntriesMax = 256;

Result<Removed> remove_named(kv::Transaction& txn, const Context& context, Ino parent,
                             const std::string& name, InodeRow row,
                             std::string_view except_key_name) {
  ChangeRecord record = change_of(context, ChangeKind::kRmdir, row);
  record.parent_before = parent;
  record.name_before = name;
  Removed removed;
  TARN_ASSIGN(removed.inode, remove_directory(txn, context, std::move(row), except_key_name));
  TARN_ASSIGN(removed.uncovered, uncover(txn, parent, name));
  txn.erase(entry_key(parent, key_name_of(name, true)));
  merge_directory(txn, parent, entries_changed(context, -1, -1));
  append(txn, record);
  return removed;
}

}  // namespace

Result<Removed> rmdir(kv::Transaction& txn, const Context& context, Ino parent,
                      std::string_view name) {
  TARN_TRY(check_name(name));
  TARN_ASSIGN(auto found, get_found(txn, parent, key_name_of(name, true)));
  if (found) {
    return remove_named(txn, context, parent, std::string(name), std::move(found->inode), {});
  }
  TARN_ASSIGN(auto file, get_entry(txn, parent, name, Tracking::kPlain));
  if (file) {
    return Status{Code::kNotDirectory,
                  fmt::format("'{}' in directory {} is no directory", name, parent.value)};
  }
  return Status{Code::kNotFound, fmt::format("no entry '{}' in directory {}", name, parent.value)};
}

Result<std::vector<Removed>> remove_implied(kv::Transaction& txn, const Context& context, Ino dir,
                                            std::string_view removed_key_name,
                                            const std::function<bool(Ino)>& is_in_use) {
  std::vector<Removed> out;
  std::string except(removed_key_name);
  while (dir != kRootIno) {
    TARN_ASSIGN(auto seen, find_inode(txn, dir));
    if (!seen || !seen->is_directory() || seen->origin != Origin::kImplied || seen->nlink == 0 ||
        seen->size > kTrackedEntriesMax || is_in_use(dir)) {
      break;
    }
    // Also tracks what would make it a directory of POSIX in the meantime.
    TARN_ASSIGN(InodeRow row, get_inode_tracked(txn, dir));
    Ino parent = row.parent;
    std::string name = row.name;
    Result<Removed> removed = remove_named(txn, context, parent, name, std::move(row), except);
    if (removed.is(Code::kNotEmpty)) break;
    TARN_TRY(removed);
    out.push_back(std::move(*removed));
    dir = parent;
    except = key_name_of(name, true);
  }
  return out;
}

}  // namespace tarn::meta
