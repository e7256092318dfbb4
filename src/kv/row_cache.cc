#include "kv/row_cache.h"

#include <algorithm>

namespace tarn::kv {
namespace {

bool is_kept(const RowCache::Row& row) {
  return !row || row->size() <= RowCache::kValueBytesMax;
}

}  // namespace

RowCache::RowCache() : memory_(new std::array<Stripe, kStripes>), stripes_(*memory_) {}

std::optional<RowCache::Row> RowCache::find(uint64_t hash, std::string_view key,
                                            uint64_t snapshot) const {
  Stripe& home = stripe(hash);
  MutexLock lock(home.mutex);
  Way* way = way_of(bucket(home, hash), key);
  if (way == nullptr || way->stamp > snapshot) return std::nullopt;
  way->was_used = true;
  return way->row;
}

void RowCache::offer(uint64_t hash, std::string_view key, const Row& row, uint64_t snapshot) {
  if (!is_kept(row)) return;
  Stripe& home = stripe(hash);
  MutexLock lock(home.mutex);
  Bucket& place = bucket(home, hash);
  if (place.written > snapshot || way_of(place, key) != nullptr) return;
  store(place, key, row, snapshot);
}

void RowCache::note(uint64_t hash, std::string_view key, const Row& row, uint64_t stamp) {
  if (!is_kept(row)) return forget(hash, key, stamp);
  Stripe& home = stripe(hash);
  MutexLock lock(home.mutex);
  Bucket& place = bucket(home, hash);
  place.written = std::max(place.written, stamp);
  store(place, key, row, stamp);
}

void RowCache::forget(uint64_t hash, std::string_view key, uint64_t stamp) {
  Stripe& home = stripe(hash);
  MutexLock lock(home.mutex);
  Bucket& place = bucket(home, hash);
  place.written = std::max(place.written, stamp);
  if (Way* way = way_of(place, key)) *way = Way{};
}

RowCache::Way* RowCache::way_of(Bucket& bucket, std::string_view key) {
  for (Way& way : bucket.ways) {
    if (way.key == key) return &way;
  }
  return nullptr;
}

/// In the place of the key, a free one, or the oldest of those that nobody asked for lately.
void RowCache::store(Bucket& bucket, std::string_view key, const Row& row, uint64_t stamp) {
  Way* chosen = way_of(bucket, key);
  if (chosen == nullptr) chosen = way_of(bucket, {});
  if (chosen == nullptr) {
    if (std::ranges::all_of(bucket.ways, &Way::was_used)) {
      for (Way& way : bucket.ways) way.was_used = false;
    }
    for (Way& way : bucket.ways) {
      if (!way.was_used && (chosen == nullptr || way.stamp < chosen->stamp)) chosen = &way;
    }
    chosen->was_used = false;
  }
  chosen->key = key;
  chosen->row = row;
  chosen->stamp = stamp;
}

}  // namespace tarn::kv
