#include "meta/ops/support.h"

namespace tarn::meta {

Result<Usage> usage(kv::Transaction& txn) {
  TARN_ASSIGN(auto value, txn.get(usage_key()));
  if (!value) return Usage{};
  TARN_ASSIGN(std::vector<int64_t> counters, decode_counters(*value));
  counters.resize(2);
  return Usage{.bytes = counters[0], .inodes = counters[1]};
}

}  // namespace tarn::meta
