// The merge function of every store of Tarn. It must not fail: an operand or row that cannot be
// decoded leaves the row as it is, and `check` reports what then does not add up.
#include "meta/keys.h"
#include "meta/meta.h"
#include "meta/rows.h"

namespace tarn::meta {
namespace {

std::optional<std::string> merge_inode(std::string_view key, std::string_view existing,
                                       const std::vector<std::string_view>& operands) {
  Result<InodeRow> row = decode_inode(ino_of_key(key), existing);
  if (!row) return std::string(existing);
  for (std::string_view operand : operands) {
    if (Result<DirectoryDelta> delta = decode_delta(operand)) apply_delta(*row, *delta);
  }
  return encode_inode(*row);
}

std::string merge_counters(std::optional<std::string_view> existing,
                           const std::vector<std::string_view>& operands) {
  std::vector<int64_t> sums;
  auto add = [&](std::string_view row) {
    Result<std::vector<int64_t>> deltas = decode_counters(row);
    if (!deltas) return;
    if (sums.size() < deltas->size()) sums.resize(deltas->size());
    for (size_t i = 0; i < deltas->size(); ++i) sums[i] += (*deltas)[i];
  };
  if (existing) add(*existing);
  for (std::string_view operand : operands) add(operand);
  return encode_counters(sums);
}

}  // namespace

kv::MergeFunction merge_function() {
  return [](std::string_view key, std::optional<std::string_view> existing,
            const std::vector<std::string_view>& operands) -> std::optional<std::string> {
    char prefix = key.empty() ? '\0' : key[0];
    if (prefix == static_cast<char>(Prefix::kCounter)) return merge_counters(existing, operands);
    // A delta that comes after the directory's end finds no row and must not make one.
    if (!existing) return std::nullopt;
    if (prefix == static_cast<char>(Prefix::kInode)) return merge_inode(key, *existing, operands);
    return std::string(*existing);
  };
}

}  // namespace tarn::meta
