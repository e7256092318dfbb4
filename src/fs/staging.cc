#include "fs/staging.h"

#include <sys/stat.h>

#include <unordered_map>

#include <fmt/format.h>

#include "base/coding.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "fs/uploads.h"

namespace tarn::fs {
namespace {

// Entries removed or moved in one transaction of a larger job.
constexpr size_t kBatch = 512;

std::string staging_name(Ino staging) {
  return std::to_string(staging.value);
}

/// The journal row of a merge (prefix 'j', see meta/key_prefix.def): value is the target's inode,
/// big-endian.
std::string journal_key(Ino staging) {
  std::string key = "j";
  append_be64(key, staging.value);
  return key;
}

Result<std::vector<meta::DirectoryEntry>> entries_of(kv::Transaction& txn, Ino directory,
                                                     size_t entries_max) {
  std::vector<meta::DirectoryEntry> entries;
  TARN_TRY(meta::read_directory(txn, directory, "", true, true, [&](const meta::DirectoryEntry& e) {
    entries.push_back(e);
    return entries.size() < entries_max;
  }));
  return entries;
}

/// Ends an inode whose last name is gone, with its content, in the transaction that took the name.
Status end_inode(FileSystemImpl& fs, kv::Transaction& txn, const meta::InodeRow& row) {
  auto ended = meta::forget(txn, fs.context(Caller{}), row.ino);
  if (!ended.is_ok()) return ended.status();
  if (!ended->is_regular()) return {};
  TARN_ASSIGN(content::Descriptor descriptor, content::decode(ended->content));
  return fs.content().release(txn, row.ino, ended->generation, descriptor);
}

Status remove_children(FileSystemImpl& fs, Ino directory) {
  while (true) {
    std::vector<meta::DirectoryEntry> entries;
    {
      auto txn = fs.store().begin();
      TARN_ASSIGN(entries, entries_of(*txn, directory, kBatch));
    }
    if (entries.empty()) return {};
    for (const meta::DirectoryEntry& e : entries) {
      if (S_ISDIR(e.type_mode)) TARN_TRY(remove_children(fs, e.ino));
    }
    TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
      for (const meta::DirectoryEntry& e : entries) {
        const meta::Context context = fs.context(Caller{});
        Result<meta::Removed> removed = S_ISDIR(e.type_mode)
                                            ? meta::rmdir(txn, context, directory, e.name)
                                            : meta::unlink(txn, context, directory, e.name);
        if (!removed.is_ok()) return removed.status();
        if (removed->inode.nlink == 0 || removed->inode.is_directory()) {
          TARN_TRY(end_inode(fs, txn, removed->inode));
        }
      }
      return {};
    }));
    fs.content().released(stamp);
  }
}

Status check_merge(kv::Transaction& txn, Ino staging, Ino target, const std::string& path) {
  TARN_ASSIGN(auto entries, entries_of(txn, staging, SIZE_MAX));
  for (const meta::DirectoryEntry& e : entries) {
    auto there = meta::lookup(txn, target, e.name);
    if (there.is(Code::kNotFound)) continue;
    if (!there.is_ok()) return there.status();
    const std::string full = path.empty() ? e.name : path + "/" + e.name;
    if (there->is_directory() != S_ISDIR(e.type_mode)) {
      return Status(Code::kExists, fmt::format("'{}' is a {} in the archive and a {} in the target",
                                               full, S_ISDIR(e.type_mode) ? "directory" : "file",
                                               there->is_directory() ? "directory" : "file"));
    }
    if (there->is_directory()) TARN_TRY(check_merge(txn, e.ino, there->ino, full));
  }
  return {};
}

/// Moves what `staging` has into `target`, one transaction a directory (more for very large ones),
/// children of shared directories first; running it again after a crash goes on where it stopped.
Status merge_directory(FileSystemImpl& fs, const Caller& caller, Ino staging, Ino target) {
  while (true) {
    std::vector<meta::DirectoryEntry> entries;
    std::vector<std::pair<Ino, Ino>> shared;
    std::unordered_map<Ino, meta::InodeRow> directories;  // as they were before their children left
    {
      auto txn = fs.store().begin();
      TARN_ASSIGN(entries, entries_of(*txn, staging, kBatch));
      for (const meta::DirectoryEntry& e : entries) {
        if (!S_ISDIR(e.type_mode)) continue;
        auto there = meta::lookup(*txn, target, e.name);
        if (!there.is_ok()) continue;
        shared.emplace_back(e.ino, there->ino);
        TARN_ASSIGN(directories[e.ino], meta::get_inode(*txn, e.ino));
      }
    }
    if (entries.empty()) return {};
    for (auto [from, to] : shared) TARN_TRY(merge_directory(fs, caller, from, to));
    std::vector<meta::InodeRow> replaced;
    TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
      replaced.clear();
      const meta::Context context = fs.context(Caller{});
      for (const meta::DirectoryEntry& e : entries) {
        auto there = meta::lookup(txn, target, e.name);
        if (!there.is_ok() && !there.is(Code::kNotFound)) return there.status();
        if (there.is_ok() && there->is_directory()) {
          // Its children have moved; its attributes are those of the archive, as tar does.
          const meta::InodeRow& row = directories[e.ino];
          meta::AttributeChange change;
          change.mode = row.mode & 07777u;
          change.uid = row.uid;
          change.gid = row.gid;
          change.mtime = row.mtime;
          TARN_TRY(meta::set_attributes(txn, context, there->ino, change));
          TARN_ASSIGN(meta::Removed removed, meta::rmdir(txn, context, staging, e.name));
          TARN_TRY(end_inode(fs, txn, removed.inode));
          continue;
        }
        TARN_ASSIGN(meta::Renamed renamed,
                    meta::rename(txn, context, staging, e.name, target, e.name, {}));
        if (renamed.replaced && renamed.replaced->nlink == 0) {
          replaced.push_back(*renamed.replaced);
        }
      }
      return {};
    }));
    TARN_KILL_POINT("fs.extract.after_merge_step");
    fs.content().released(stamp);
    for (const meta::InodeRow& row : replaced) {
      fs.note_unlinked(row);
      fs.forget(row.ino);
    }
    for (const meta::DirectoryEntry& e : entries) fs.invalidate_entry(target, e.name, Caller{});
  }
}

Status drop_staging_directory(FileSystemImpl& fs, kv::Transaction& txn, Ino staging) {
  TARN_ASSIGN(meta::Removed removed,
              meta::rmdir(txn, fs.context(Caller{}), meta::kStagingIno, staging_name(staging)));
  return end_inode(fs, txn, removed.inode);
}

Status finish_merge(FileSystemImpl& fs, const Caller& caller, Ino staging, Ino target) {
  TARN_TRY(merge_directory(fs, caller, staging, target));
  TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
    TARN_TRY(drop_staging_directory(fs, txn, staging));
    txn.erase(journal_key(staging));
    return {};
  }));
  return fs.store().sync(stamp);
}

}  // namespace

bool has_journal(kv::Transaction& txn, Ino staging) {
  auto row = txn.get(journal_key(staging));
  return !row.is_ok() || row->has_value();
}

Result<Ino> make_staging(FileSystemImpl& fs) {
  TARN_ASSIGN(uint64_t number, fs.inode_ids_->next());
  meta::NewInode directory;
  directory.ino = Ino(number);
  directory.mode = S_IFDIR | 0700;
  TARN_TRY(fs.transact([&](kv::Transaction& txn) -> Status {
    return detail::as_status(meta::create(txn, fs.context(Caller{}), meta::kStagingIno,
                                          staging_name(directory.ino), directory));
  }));
  return directory.ino;
}

Status remove_staging(FileSystemImpl& fs, Ino staging) {
  TARN_TRY(remove_children(fs, staging));
  TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
    return drop_staging_directory(fs, txn, staging);
  }));
  fs.content().released(stamp);
  return {};
}

Result<Stamp> publish(FileSystemImpl& fs, const Caller& caller, Ino staging, Ino target) {
  std::vector<std::string> names;
  TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
    names.clear();
    TARN_TRY(fs.check_parent(txn, caller, target));
    TARN_ASSIGN(auto entries, entries_of(txn, staging, SIZE_MAX));
    meta::RenameOptions options;
    options.no_replace = true;
    for (const meta::DirectoryEntry& e : entries) {
      auto moved =
          meta::rename(txn, fs.context(Caller{}), staging, e.name, target, e.name, options);
      if (moved.is(Code::kExists)) {
        return Status(Code::kExists,
                      fmt::format("'{}' exists in the target; remove it or use --merge", e.name));
      }
      if (!moved.is_ok()) return moved.status();
      names.push_back(e.name);
    }
    return {};
  }));
  // Emptiness is judged by the snapshot, so the empty directory goes in a transaction of its own.
  Status dropped = detail::as_status(
      fs.transact([&](kv::Transaction& txn) { return drop_staging_directory(fs, txn, staging); }));
  if (!dropped.is_ok()) {
    log_warn("fs.extract", "tree={} {}", staging.value, dropped.to_string());
  }
  for (const std::string& name : names) fs.invalidate_entry(target, name, Caller{});
  fs.invalidate_inode(target, Caller{});
  return stamp;
}

Status merge(FileSystemImpl& fs, const Caller& caller, Ino staging, Ino target) {
  {
    auto txn = fs.store().begin();
    TARN_TRY(fs.check_parent(*txn, caller, target));
    TARN_TRY(check_merge(*txn, staging, target, ""));
  }
  TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
    std::string value;
    append_be64(value, target.value);
    txn.put(journal_key(staging), value);
    return {};
  }));
  TARN_TRY(fs.store().sync(stamp));
  TARN_KILL_POINT("fs.extract.after_journal");
  return finish_merge(fs, caller, staging, target);
}

Status recover_staging(FileSystemImpl& fs) {
  std::vector<meta::DirectoryEntry> left;
  {
    auto txn = fs.store().begin();
    TARN_ASSIGN(left, entries_of(*txn, meta::kStagingIno, SIZE_MAX));
  }
  for (const meta::DirectoryEntry& tree : left) {
    std::optional<std::string> journal;
    {
      auto txn = fs.store().begin();
      TARN_ASSIGN(journal, txn->get(journal_key(tree.ino)));
    }
    if (journal) {
      log_info("fs.extract", "finishing the interrupted merge {}", tree.ino.value);
      TARN_TRY(finish_merge(fs, Caller{}, tree.ino, Ino(read_be64(*journal))));
    } else if (is_upload(*fs.store().begin(), tree.ino)) {
      continue;  // its client goes on or aborts it
    } else {
      log_info("fs.extract", "removing the unfinished tree {}", tree.ino.value);
      TARN_TRY(remove_staging(fs, tree.ino));
    }
  }
  return {};
}

}  // namespace tarn::fs
