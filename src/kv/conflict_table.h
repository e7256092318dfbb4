// Which keys were written lately, and by which commit: what an optimistic commit is checked
// against.
//
// A set-associative table of key hashes of fixed size (4 MiB). A bucket that is full drops its
// oldest key and remembers that key's stamp as its floor; a key that is not found is taken to be as
// new as the floor. So an answer is never too old: a snapshot that is older than what the table
// remembers sees conflicts that may not exist (and is tried again), never the other way round. It
// remembers about 200,000 written keys. Not thread-safe: the commit mutex guards it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tarn::kv {

/// The hash of a key that the table works with. Two keys of one hash count as one key.
uint64_t conflict_hash(std::string_view key);

class ConflictTable {
 public:
  ConflictTable();

  /// The stamp of the newest write of the key, or a later one; 0 when nothing in its bucket was
  /// ever written.
  uint64_t newest_write(uint64_t hash) const;
  /// Notes a write; stamps must not fall from call to call.
  void note(uint64_t hash, uint64_t stamp);

 private:
  static constexpr size_t kWays = 7;
  struct alignas(64) Bucket {
    uint64_t floor = 0;
    std::array<uint64_t, kWays> hashes{};
    std::array<uint64_t, kWays> stamps{};  // 0: the way is free
  };
  size_t index(uint64_t hash) const { return hash & (buckets_.size() - 1); }

  std::vector<Bucket> buckets_;
};

}  // namespace tarn::kv
