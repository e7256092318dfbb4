#include "kv/write_set.h"

#include <fmt/format.h>

namespace tarn::kv {

void check_key(std::string_view key) {
  CHECK(!key.empty(), "a key must not be empty");
  CHECK(key.front() != '\0', "keys that start with byte 0x00 are reserved for the engine");
}

std::optional<std::string> fold(const MergeFunction& merge, std::string_view key,
                                std::optional<std::string_view> existing,
                                const std::vector<std::string_view>& operands) {
  std::optional<std::string> row = merge(key, existing, operands);
  if (row && row->empty()) row.reset();
  return row;
}

std::optional<std::string> linked_key(std::string_view row, const Link& link) {
  constexpr size_t kIdBytes = 8;
  if (row.size() < kIdBytes || link.offset > row.size() - kIdBytes) return std::nullopt;
  std::string key(link.prefix);
  key.append(row.substr(link.offset, kIdBytes));
  return key;
}

void WriteSet::put(std::string_view key, std::string_view value, bool is_checked) {
  check_key(key);
  CHECK(!value.empty(), fmt::format("the value put at a key of {} bytes is empty", key.size()));
  Entry& entry = entries_[std::string(key)];
  entry.base = Base::kValue;
  entry.value = value;
  entry.operands.clear();
  entry.is_checked |= is_checked;
}

void WriteSet::erase(std::string_view key, bool is_checked) {
  check_key(key);
  Entry& entry = entries_[std::string(key)];
  entry.base = Base::kErased;
  entry.value.clear();
  entry.operands.clear();
  entry.is_checked |= is_checked;
}

void WriteSet::merge(std::string_view key, std::string_view operand) {
  check_key(key);
  entries_[std::string(key)].operands.emplace_back(operand);
}

const WriteSet::Entry* WriteSet::find(std::string_view key) const {
  auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : &it->second;
}

uint64_t WriteSet::row_count() const {
  uint64_t count = records_.size();
  for (const auto& [key, entry] : entries_) {
    count += (entry.base != Base::kCommitted ? 1 : 0) + entry.operands.size();
  }
  return count;
}

std::optional<std::string> resolve(const MergeFunction& merge, std::string_view key,
                                   const WriteSet::Entry& entry,
                                   std::optional<std::string> committed) {
  if (entry.base == WriteSet::Base::kValue) committed = entry.value;
  if (entry.base == WriteSet::Base::kErased) committed.reset();
  if (entry.operands.empty()) return committed;
  std::vector<std::string_view> operands(entry.operands.begin(), entry.operands.end());
  return fold(merge, key, committed, operands);
}

}  // namespace tarn::kv
