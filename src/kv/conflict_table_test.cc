#include "kv/conflict_table.h"

#include <random>
#include <string>
#include <unordered_map>

#include <gtest/gtest.h>

namespace tarn::kv {
namespace {

TEST(ConflictTable, RemembersExactlyWhileItHasRoom) {
  ConflictTable table;
  for (uint64_t i = 0; i < 20'000; ++i) table.note(conflict_hash(std::to_string(i)), i + 1);
  for (uint64_t i = 0; i < 20'000; ++i) {
    ASSERT_EQ(table.newest_write(conflict_hash(std::to_string(i))), i + 1);
  }
  int guesses = 0;
  for (int i = 0; i < 20'000; ++i) {
    guesses += table.newest_write(conflict_hash("absent" + std::to_string(i))) != 0 ? 1 : 0;
  }
  EXPECT_EQ(guesses, 0);
}

TEST(ConflictTable, NeverAnswersTooOldHoweverMuchIsWritten) {
  ConflictTable table;
  std::mt19937_64 random(7);
  std::unordered_map<uint64_t, uint64_t> truth;
  constexpr uint64_t kWrites = 1'500'000;
  for (uint64_t stamp = 1; stamp <= kWrites; ++stamp) {
    uint64_t hash = conflict_hash(std::to_string(random() % 600'000));
    table.note(hash, stamp);
    truth[hash] = stamp;
  }
  uint64_t exact = 0;
  for (const auto& [hash, stamp] : truth) {
    ASSERT_GE(table.newest_write(hash), stamp);
    exact += table.newest_write(hash) == stamp ? 1 : 0;
  }
  EXPECT_GT(exact, 150'000u);
  // A snapshot that is 100,000 written keys old is still answered almost exactly.
  int wrong = 0;
  for (int i = 0; i < 10'000; ++i) {
    uint64_t hash = conflict_hash("untouched" + std::to_string(i));
    wrong += table.newest_write(hash) > kWrites - 100'000 ? 1 : 0;
  }
  EXPECT_LT(wrong, 1500);
}

TEST(ConflictTable, HashZeroIsAKeyLikeAnyOther) {
  ConflictTable table;
  EXPECT_EQ(table.newest_write(0), 0u);
  table.note(0, 5);
  EXPECT_EQ(table.newest_write(0), 5u);
  table.note(0, 9);
  EXPECT_EQ(table.newest_write(0), 9u);
}

}  // namespace
}  // namespace tarn::kv
