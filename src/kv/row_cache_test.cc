#include "kv/row_cache.h"

#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kv/conflict_table.h"

namespace tarn::kv {
namespace {

class Rows : public ::testing::Test {
 protected:
  std::optional<RowCache::Row> find(std::string_view key, uint64_t snapshot) {
    return cache_.find(conflict_hash(key), key, snapshot);
  }
  void offer(std::string_view key, const RowCache::Row& row, uint64_t snapshot) {
    cache_.offer(conflict_hash(key), key, row, snapshot);
  }
  void note(std::string_view key, const RowCache::Row& row, uint64_t stamp) {
    cache_.note(conflict_hash(key), key, row, stamp);
  }
  void forget(std::string_view key, uint64_t stamp) {
    cache_.forget(conflict_hash(key), key, stamp);
  }

  RowCache cache_;
};

TEST_F(Rows, AreSeenFromTheirStampOn) {
  EXPECT_FALSE(find("a", 100));
  note("a", "one", 10);
  EXPECT_FALSE(find("a", 9));
  EXPECT_EQ(find("a", 10), RowCache::Row("one"));
  note("a", std::nullopt, 20);
  EXPECT_FALSE(find("a", 15)) << "an older version is RocksDB's to tell";
  ASSERT_TRUE(find("a", 20));
  EXPECT_EQ(*find("a", 20), std::nullopt);
}

TEST_F(Rows, OfferedAfterAWriteAreRefused) {
  note("a", "new", 10);
  forget("a", 10);
  offer("a", "old", 9);
  EXPECT_FALSE(find("a", 20));
  offer("a", "new", 10);
  EXPECT_EQ(find("a", 20), RowCache::Row("new"));
  offer("a", "other", 15);
  EXPECT_EQ(find("a", 20), RowCache::Row("new")) << "nothing was written: both are the same row";
}

TEST_F(Rows, ThatAreLongAreNotKept) {
  const std::string longest(RowCache::kValueBytesMax, 'x');
  note("a", longest, 1);
  EXPECT_EQ(find("a", 1), RowCache::Row(longest));
  note("a", longest + "x", 2);
  EXPECT_FALSE(find("a", 2));
  offer("a", longest, 1);
  EXPECT_FALSE(find("a", 2));
}

// Against a history: whatever the cache answers is what the snapshot sees.
TEST_F(Rows, NeverTellAnotherVersion) {
  constexpr int kKeys = 100'000;  // more than it can hold
  std::mt19937_64 random(3);
  std::vector<std::vector<std::pair<uint64_t, RowCache::Row>>> history(kKeys);
  auto version = [&](int key, uint64_t snapshot) {
    RowCache::Row row;
    for (const auto& [stamp, value] : history[static_cast<size_t>(key)]) {
      if (stamp <= snapshot) row = value;
    }
    return row;
  };
  uint64_t answered = 0;
  for (uint64_t stamp = 1; stamp <= 300'000; ++stamp) {
    // Some keys are hot.
    const int key = static_cast<int>(random() % (random() % 2 == 0 ? 1000 : kKeys));
    const std::string name = "row" + std::to_string(key);
    RowCache::Row row;
    if (random() % 4 != 0) row = std::to_string(stamp);
    if (random() % 10 == 0) {
      forget(name, stamp);
    } else {
      note(name, row, stamp);
    }
    history[static_cast<size_t>(key)].emplace_back(stamp, row);
    for (int i = 0; i < 3; ++i) {
      const int other = static_cast<int>(random() % (i == 0 ? 1000 : kKeys));
      const uint64_t snapshot = stamp - std::min<uint64_t>(stamp, random() % 50);
      const std::string wanted = "row" + std::to_string(other);
      if (auto found = find(wanted, snapshot)) {
        ++answered;
        ASSERT_EQ(*found, version(other, snapshot)) << wanted << " at " << snapshot;
      } else {
        offer(wanted, version(other, snapshot), snapshot);
      }
    }
  }
  EXPECT_GT(answered, 200'000u);
}

}  // namespace
}  // namespace tarn::kv
