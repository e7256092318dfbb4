// Encodings of metadata rows, of merge operands and of change records.
//
// Every value starts with a version byte. A decoder refuses a version that it does not know and a
// value that ends early (kCorrupt), and ignores bytes after the fields that it knows, so that later
// fields are added at the end. An entry row has its inode number in 8 big-endian bytes at offset 1,
// for kv::Link. docs/FORMAT.md has the byte tables; rows_test.cc pins them byte for byte. Integers
// are LEB128 varints unless said otherwise; "signed" is zigzag. Plain values, no sharing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kv/kv.h"
#include "meta/types.h"

namespace tarn::meta {

inline constexpr uint8_t kRowVersion = 1;

/// The row of an inode of any type; the inode number is in the key.
std::string encode_inode(const InodeRow& row);
Result<InodeRow> decode_inode(Ino ino, std::string_view value);

/// A directory entry's row. `attributes` is there unless the inode is a directory or has several
/// links.
struct EntryRow {
  Ino ino;
  uint32_t type_mode = 0;  // S_IFMT bits
  bool is_linked = false;
  bool is_hidden = false;
  std::optional<InodeRow> attributes;

  bool is_directory() const { return S_ISDIR(type_mode); }
};
std::string encode_entry(const EntryRow& entry);
/// `parent` and `key_name` are those of the row's key; they go into the attributes.
Result<EntryRow> decode_entry(Ino parent, std::string_view key_name, std::string_view value);
/// Where kv::Transaction::get_linked finds an entry's inode.
kv::Link inode_link();

/// What an entry row keeps of an inode: everything but content, grant stamp and digests.
InodeRow listed_attributes(const InodeRow& row);
/// The entry row for `row` under its only or first name; `is_hidden` is taken from the row.
EntryRow entry_of(const InodeRow& row);

/// A change of a directory's row that never conflicts: a merge operand. Absent members change
/// nothing.
struct DirectoryDelta {
  int64_t nlink = 0;
  int64_t entries = 0;
  std::optional<TimeNs> touched;  // entries changed: mtime and ctime become at least this
  std::optional<TimeNs> changed;  // attributes changed: ctime becomes at least this
  std::optional<uint32_t> mode;   // permission bits
  std::optional<uint32_t> uid, gid;
  std::optional<TimeNs> atime, mtime, ctime, btime;
  std::optional<std::pair<Ino, std::string>> place;  // parent and name
  std::optional<Origin> origin;
  std::optional<bool> is_sealed;
  bool is_promoted = false;  // an implied directory becomes one of POSIX
  bool has_xattrs = false;
  bool is_removed = false;  // no links, no parent
};
std::string encode_delta(const DirectoryDelta& delta);
Result<DirectoryDelta> decode_delta(std::string_view operand);
/// Applies in commit order. mtime moves only forward, for clocks are read before commits are
/// ordered, unless it was set into the future (mtime above ctime): then it becomes `touched`, as on
/// local file systems.
void apply_delta(InodeRow& row, const DirectoryDelta& delta);

/// A row of counters, and the operand that is added to it, element by element.
std::string encode_counters(const std::vector<int64_t>& counters);
Result<std::vector<int64_t>> decode_counters(std::string_view value);

std::string encode_change(const ChangeRecord& record);
Result<ChangeRecord> decode_change_record(std::string_view value);

/// Rows that are a single number, and rows that are only a mark.
std::string encode_number(uint64_t number);
Result<uint64_t> decode_number(std::string_view value);
std::string_view mark();

}  // namespace tarn::meta
