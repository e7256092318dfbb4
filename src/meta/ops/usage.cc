// Counters, and the folding of rows that are changed by deltas.
#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

Status fold(kv::Transaction& txn, const std::string& key) {
  TARN_ASSIGN(auto value, txn.get_tracked(key));
  if (value) txn.put(key, *value);
  return {};
}

}  // namespace

Result<Usage> usage(kv::Transaction& txn) {
  TARN_ASSIGN(auto value, txn.get(usage_key()));
  if (!value) return Usage{};
  TARN_ASSIGN(std::vector<int64_t> counters, decode_counters(*value));
  counters.resize(2);
  return Usage{.bytes = counters[0], .inodes = counters[1]};
}

Status fold_directory(kv::Transaction& txn, Ino dir) {
  return fold(txn, ino_key(Prefix::kInode, dir));
}

Status fold_usage(kv::Transaction& txn) {
  return fold(txn, usage_key());
}

}  // namespace tarn::meta
