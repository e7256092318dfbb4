// What a transaction has written so far, for engines that keep it in their own memory until commit.
//
// One entry a key: what the row is set to, if that is known (put or erased), and the merge operands
// that came after. `resolve` lays an entry over a committed row. Keys and values are checked here,
// so that every engine refuses the same ones: an empty key, a key that starts with byte 0x00
// (reserved for engines) and an empty value are bugs of the caller. A plain value; belongs to one
// transaction.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kv/kv.h"

namespace tarn::kv {

/// Ends the process when `key` is empty or in the range that engines keep for themselves.
void check_key(std::string_view key);

/// `merge` with an empty result read as absent; nullopt operands are never passed.
std::optional<std::string> fold(const MergeFunction& merge, std::string_view key,
                                std::optional<std::string_view> existing,
                                const std::vector<std::string_view>& operands);

/// Reads the id that `link` points to in `row` and makes the linked row's key; absent when `row` is
/// too short.
std::optional<std::string> linked_key(std::string_view row, const Link& link);

class WriteSet {
 public:
  enum class Base { kCommitted, kValue, kErased };
  struct Entry {
    Base base = Base::kCommitted;
    std::string value;                  // of kValue
    std::vector<std::string> operands;  // oldest first, applied after `base`
    bool is_checked = false;            // another's write since the snapshot is a conflict
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  void put(std::string_view key, std::string_view value, bool is_checked);
  void erase(std::string_view key, bool is_checked);
  void merge(std::string_view key, std::string_view operand);
  void append_log(std::string_view record) { records_.emplace_back(record); }

  bool is_empty() const { return entries_.empty() && records_.empty(); }
  const Entries& entries() const { return entries_; }
  const std::vector<std::string>& records() const { return records_; }
  /// The entry of `key`, or nullptr. Lives until the next write.
  const Entry* find(std::string_view key) const;
  /// Rows and records as Statistics::rows_written counts them.
  uint64_t row_count() const;

 private:
  Entries entries_;
  std::vector<std::string> records_;
};

/// The row of `key` as `entry` leaves it, given what is committed.
std::optional<std::string> resolve(const MergeFunction& merge, std::string_view key,
                                   const WriteSet::Entry& entry,
                                   std::optional<std::string> committed);

}  // namespace tarn::kv
