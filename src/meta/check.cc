// The check of all metadata rows against each other, on one snapshot. Keeps about 300 bytes an
// inode in memory.
#include <map>

#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

struct Seen {
  InodeRow row;
  uint64_t names = 0;           // entries that lead here
  uint64_t entries = 0;         // of a directory
  uint64_t subdirectories = 0;  // of a directory
  bool is_alive = false;
  bool is_unlinked = false;
  bool is_unsettled = false;
  bool is_rooted = false;  // a directory known to lead to the root
};

class Checker {
 public:
  explicit Checker(kv::Store& store) : txn_(store.begin()) {}

  Result<std::vector<Finding>> run() {
    TARN_TRY(read_inodes());
    TARN_TRY(read_entries());
    TARN_TRY(read_tables());
    for (auto& [ino, seen] : inodes_) {
      if (seen.row.is_directory()) {
        judge_directory(seen);
      } else {
        judge_file(seen);
      }
      if (seen.is_unlinked != (seen.row.nlink == 0)) {
        found(ino, "has {} links and is {}listed as unlinked", seen.row.nlink,
              seen.is_unlinked ? "" : "not ");
      }
    }
    TARN_TRY(judge_usage());
    return std::move(findings_);
  }

 private:
  template <class... Args>
  void found(Ino ino, fmt::format_string<Args...> format, Args&&... args) {
    findings_.push_back({ino, fmt::format(format, std::forward<Args>(args)...)});
  }

  Seen* seen(Ino ino) {
    auto it = inodes_.find(ino);
    return it == inodes_.end() ? nullptr : &it->second;
  }

  Status read_inodes() {
    return scan(Prefix::kInode, [&](std::string_view key, std::string_view value) {
      Ino ino = ino_of_key(key);
      Result<InodeRow> row = decode_inode(ino, value);
      if (!row) {
        found(ino, "{}", row.status().message());
        return;
      }
      row->content.clear();
      inodes_[ino].row = std::move(*row);
    });
  }

  Status read_entries() {
    return scan(Prefix::kEntry, [&](std::string_view key, std::string_view value) {
      Ino parent = ino_of_key(key);
      std::string key_name(key.size() < 9 ? std::string_view{} : key.substr(9));
      Result<EntryRow> entry = decode_entry(parent, key_name, value);
      if (!entry) {
        found(parent, "{}", entry.status().message());
        return;
      }
      Seen* dir = seen(parent);
      if (!dir || !dir->row.is_directory()) {
        found(parent, "has an entry '{}' but is no directory", key_name);
      } else {
        ++dir->entries;
        if (entry->is_directory()) ++dir->subdirectories;
      }
      judge_entry(parent, key_name, *entry);
      judge_twin(parent, key_name, *entry);
    });
  }

  void judge_entry(Ino parent, const std::string& key_name, const EntryRow& entry) {
    std::string name = key_name.substr(0, key_name.size() - (entry.is_directory() ? 1 : 0));
    if (!check_name(name) || key_name != key_name_of(name, entry.is_directory())) {
      found(parent, "has an entry with key '{}', which does not fit its type", key_name);
    }
    Seen* inode = seen(entry.ino);
    if (!inode) {
      found(entry.ino, "is missing, but entry '{}' of directory {} names it", key_name,
            parent.value);
      return;
    }
    ++inode->names;
    const InodeRow& row = inode->row;
    if ((row.mode & S_IFMT) != entry.type_mode) {
      found(entry.ino, "has mode {:o}, but entry '{}' of directory {} says type {:o}", row.mode,
            key_name, parent.value, entry.type_mode);
    }
    bool is_placed = !row.is_linked;
    if (is_placed && (row.parent != parent || row.name != name)) {
      found(entry.ino, "says it is '{}' in directory {}, but is '{}' in {}", row.name,
            row.parent.value, name, parent.value);
    }
    if (entry.is_directory()) return;
    if (entry.is_linked != row.is_linked) {
      found(entry.ino, "and its entry '{}' of directory {} differ on having several links",
            key_name, parent.value);
    } else if (is_placed && (!entry.attributes || *entry.attributes != listed_attributes(row))) {
      found(entry.ino, "has other attributes in its entry '{}' of directory {}", key_name,
            parent.value);
    }
  }

  /// `a` and `a/` are both there only when the file is hidden, and a file is hidden only then.
  void judge_twin(Ino parent, const std::string& key_name, const EntryRow& entry) {
    if (!entry.is_directory() && !entry.is_hidden) return;
    std::string sibling = entry.is_directory() ? key_name.substr(0, key_name.size() - 1)
                                               : key_name_of(key_name, true);
    Result<std::optional<EntryRow>> other = get_entry(*txn_, parent, sibling, Tracking::kPlain);
    if (!other) return;  // reported when the scan comes to that row
    if (entry.is_directory() && *other && !(*other)->is_hidden) {
      found(parent, "has '{}' both as a file and as a directory", sibling);
    }
    if (!entry.is_directory() && !*other) {
      found(parent, "has a hidden file '{}' without a directory of that name", key_name);
    }
  }

  Status read_tables() {
    TARN_TRY(scan(Prefix::kAlive, [&](std::string_view key, std::string_view) {
      mark_seen(key, "an alive row", &Seen::is_alive);
    }));
    TARN_TRY(scan(Prefix::kUnlinked, [&](std::string_view key, std::string_view) {
      mark_seen(key, "a row of unlinked inodes", &Seen::is_unlinked);
    }));
    TARN_TRY(scan(Prefix::kUnsettled, [&](std::string_view key, std::string_view) {
      mark_seen(key, "a row of unsettled inodes", &Seen::is_unsettled);
    }));
    TARN_TRY(scan(Prefix::kGuard, [&](std::string_view key, std::string_view) {
      Seen* inode = seen(ino_of_key(key));
      if (!inode || !inode->is_alive) {
        found(ino_of_key(key), "has a guard row but is no living directory");
      }
    }));
    return scan(Prefix::kXattr, [&](std::string_view key, std::string_view) {
      Seen* inode = seen(ino_of_key(key));
      std::string_view name = key.size() < 9 ? std::string_view{} : key.substr(9);
      if (!inode || !inode->row.has_xattrs) {
        found(ino_of_key(key), "has an extended attribute '{}' that its row does not know of",
              name);
      }
    });
  }

  void mark_seen(std::string_view key, std::string_view what, bool Seen::* flag) {
    if (Seen* inode = seen(ino_of_key(key))) {
      inode->*flag = true;
    } else {
      found(ino_of_key(key), "is missing, but has {}", what);
    }
  }

  static bool is_top(Ino ino) { return ino == kRootIno || ino == kStagingIno; }

  void judge_file(const Seen& s) {
    Ino ino = s.row.ino;
    if (s.names != s.row.nlink) {
      found(ino, "has {} links and {} entries", s.row.nlink, s.names);
    }
    if (s.is_alive) found(ino, "is no directory but has an alive row");
    if (s.is_unsettled != (s.row.state != ContentState::kSettled)) {
      found(ino, "is in state {} and {}listed as unsettled", static_cast<int>(s.row.state),
            s.is_unsettled ? "" : "not ");
    }
  }

  void judge_directory(Seen& s) {
    Ino ino = s.row.ino;
    bool is_removed = s.row.nlink == 0;
    uint64_t names = is_top(ino) || is_removed ? 0 : 1;
    if (s.names != names) found(ino, "is a directory with {} entries, not {}", s.names, names);
    if (s.row.size != s.entries) {
      found(ino, "counts {} entries and has {}", s.row.size, s.entries);
    }
    uint64_t links = is_removed ? 0 : 2 + s.subdirectories;
    if (s.row.nlink != links) {
      found(ino, "has {} links and {} sub-directories", s.row.nlink, s.subdirectories);
    }
    if (s.is_alive == is_removed) {
      found(ino, "has {} links and {} alive row", s.row.nlink, s.is_alive ? "an" : "no");
    }
    if (s.is_unsettled) found(ino, "is a directory but listed as unsettled");
    if (!is_removed) judge_root_path(s);
  }

  void judge_root_path(Seen& start) {
    std::vector<Seen*> path;
    for (Seen* at = &start; !at->is_rooted && !is_top(at->row.ino);) {
      path.push_back(at);
      Seen* parent = seen(at->row.parent);
      if (!parent || parent->row.nlink == 0 || path.size() > inodes_.size()) {
        found(start.row.ino, "does not lead up to the root: stops at {}", at->row.ino.value);
        return;
      }
      at = parent;
    }
    for (Seen* at : path) at->is_rooted = true;
  }

  Status judge_usage() {
    Usage counted;
    for (const auto& [ino, seen] : inodes_) {
      if (ino == kStagingIno) continue;
      counted.bytes += static_cast<int64_t>(counted_bytes(seen.row));
      ++counted.inodes;
    }
    TARN_ASSIGN(Usage stored, usage(*txn_));
    if (stored.bytes != counted.bytes || stored.inodes != counted.inodes) {
      found(kRootIno, "the counters say {} bytes in {} inodes, the rows {} in {}", stored.bytes,
            stored.inodes, counted.bytes, counted.inodes);
    }
    if (!seen(kRootIno)) found(kRootIno, "the root directory is missing");
    return {};
  }

  Status scan(Prefix prefix,
              const std::function<void(std::string_view, std::string_view)>& visitor) {
    return txn_->scan(kv::Range::prefix(prefixed(prefix)),
                      [&](std::string_view key, std::string_view value) {
                        visitor(key, value);
                        return true;
                      });
  }

  std::unique_ptr<kv::Transaction> txn_;
  std::map<Ino, Seen> inodes_;
  std::vector<Finding> findings_;
};

}  // namespace

Result<std::vector<Finding>> check(kv::Store& store) {
  return Checker(store).run();
}

}  // namespace tarn::meta
