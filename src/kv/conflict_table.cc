#include "kv/conflict_table.h"

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace tarn::kv {
namespace {

constexpr size_t kBuckets = 1 << 15;  // of 128 bytes; a power of two

}  // namespace

uint64_t conflict_hash(std::string_view key) {
  return std::hash<std::string_view>{}(key);
}

ConflictTable::ConflictTable() : buckets_(kBuckets) {
  static_assert(sizeof(Bucket) == 128);
}

uint64_t ConflictTable::newest_write(uint64_t hash) const {
  const Bucket& bucket = buckets_[index(hash)];
  for (size_t way = 0; way < kWays; ++way) {
    if (bucket.hashes[way] == hash && bucket.stamps[way] != 0) return bucket.stamps[way];
  }
  return bucket.floor;
}

void ConflictTable::note(uint64_t hash, uint64_t stamp) {
  DCHECK(stamp != 0);
  Bucket& bucket = buckets_[index(hash)];
  size_t oldest = 0;
  for (size_t way = 0; way < kWays; ++way) {
    if (bucket.hashes[way] == hash && bucket.stamps[way] != 0) {
      bucket.stamps[way] = stamp;
      return;
    }
    if (bucket.stamps[way] < bucket.stamps[oldest]) oldest = way;
  }
  bucket.floor = std::max(bucket.floor, bucket.stamps[oldest]);
  bucket.hashes[oldest] = hash;
  bucket.stamps[oldest] = stamp;
}

}  // namespace tarn::kv
