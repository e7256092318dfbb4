// The RocksDB engine on a disk that is full: a small tmpfs, when root may mount one.
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include <gtest/gtest.h>

#include "base/file.h"
#include "kv/kv.h"
#include "kv/test_engines.h"

namespace tarn::kv {
namespace {

using test::merge_rows;
using test::TemporaryDirectory;

class RocksDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::mount("tarn_kv_test", directory_.path().c_str(), "tmpfs", 0, "size=12m") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs here: " << last_errno("mount").to_string();
    }
    is_mounted_ = true;
    store_ = open().value();
  }
  void TearDown() override {
    store_.reset();
    if (is_mounted_) ::umount2(directory_.path().c_str(), MNT_DETACH);
  }

  Result<std::unique_ptr<Store>> open() {
    return open_rocks(
        {.path = directory_.path() + "/meta", .cache_bytes = 4 << 20, .memtable_bytes = 512 << 10},
        merge_rows);
  }
  std::string filler() const { return directory_.path() + "/filler"; }

  /// Takes all but about `spare` bytes of the disk.
  void fill(uint64_t spare) {
    uint64_t free = std::filesystem::space(directory_.path()).available;
    if (free <= spare) return;
    UniqueFd file = open_at(AT_FDCWD, filler(), O_RDWR | O_CREAT | O_APPEND).value();
    std::string block(4096, 'f');
    for (uint64_t bytes = 0; bytes + block.size() <= free - spare; bytes += block.size()) {
      if (!write_all(file.get(), as_bytes(block)).is_ok()) return;
    }
  }
  void make_room() { std::filesystem::remove(filler()); }

  /// 1,000 bytes that do not compress.
  static std::string noise(int i) {
    std::mt19937 random(static_cast<unsigned>(i));
    std::string out(1000, '\0');
    for (char& c : out) c = static_cast<char>(1 + random() % 255);
    return out;
  }

  Result<Committed> commit(int i) {
    return transact(*store_, [&](Transaction& t) {
      t.put("row" + std::to_string(100'000 + i), noise(i));
      t.merge("sum", "1");
      t.append_log(std::to_string(i));
      return Status();
    });
  }
  /// A flush that waited for room may need a moment before the memtables are free again.
  Result<Committed> commit_with_patience(int i) {
    for (int tries = 0; tries < 100; ++tries) {
      auto result = commit(i);
      if (!result.is(Code::kNoSpace)) return result;
      ::usleep(20'000);
    }
    return commit(i);
  }
  /// Commits until the disk is full; returns how many of all commits so far were acknowledged.
  int commit_until_full(int done) {
    for (int i = 0; i < 20'000; ++i) {
      auto result = commit(done + 1);
      if (!result.is_ok()) {
        EXPECT_EQ(result.code(), Code::kNoSpace) << result.status().to_string();
        return done;
      }
      ++done;
    }
    ADD_FAILURE() << "the disk never filled";
    return done;
  }
  void expect_exactly(int count) {
    auto t = store_->begin();
    int rows = 0, records = 0;
    uint64_t last = 0;
    EXPECT_TRUE(t->scan(Range::prefix("row"), [&](std::string_view key, std::string_view) {
                   EXPECT_EQ(key, "row" + std::to_string(100'000 + ++rows));
                   return true;
                 }).is_ok());
    EXPECT_TRUE(store_
                    ->read_log(Stamp(0),
                               [&](const LogEntry& entry) {
                                 EXPECT_EQ(entry.record, std::to_string(++records));
                                 EXPECT_GT(entry.stamp.value, last);
                                 last = entry.stamp.value;
                                 return true;
                               })
                    .is_ok());
    EXPECT_EQ(rows, count);
    EXPECT_EQ(records, count);
    EXPECT_EQ(t->get("sum").value(), std::to_string(count));
  }
  void reopen() {
    store_.reset();
    store_ = open().value();
  }

  TemporaryDirectory directory_;
  bool is_mounted_ = false;
  std::unique_ptr<Store> store_;
};

TEST_F(RocksDisk, AFullDiskIsNoSpaceAndCommitsGoOnWhenThereIsRoom) {
  int done = 0;
  for (int round = 0; round < 3; ++round) {
    fill(700 << 10);
    done = commit_until_full(done);
    // Reads and snapshots go on. A refused commit applies nothing; one may still get through on
    // room that a compaction gave back.
    expect_exactly(done);
    fill(0);
    for (int i = 0; i < 3; ++i) done = commit_until_full(done);
    expect_exactly(done);
    make_room();
    auto result = commit_with_patience(done + 1);
    ASSERT_TRUE(result.is_ok()) << result.status().to_string();
    ++done;
    EXPECT_TRUE(store_->sync(result->stamp).is_ok());
    expect_exactly(done);
  }
  EXPECT_GT(done, 100);
  reopen();
  expect_exactly(done);
}

TEST_F(RocksDisk, AFullDiskRightAfterAFlushToo) {
  // Nothing is in the memtable when the first write to the log fails: the log has to be replaced
  // all the same.
  int done = 0;
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(commit(++done).is_ok());
    }
    // A compaction that found no room is tried again after a second.
    Status settled = store_->settle();
    for (int tries = 0; settled.is(Code::kNoSpace) && tries < 100; ++tries) {
      ::usleep(50'000);
      settled = store_->settle();
    }
    ASSERT_TRUE(settled.is_ok()) << settled.to_string();
    fill(0);
    // What was reserved before the disk filled may still be used.
    for (int i = 0; i < 3; ++i) done = commit_until_full(done);
    expect_exactly(done);
    make_room();
    for (int i = 0; i < 20; ++i) {
      auto result = commit_with_patience(done + 1);
      ASSERT_TRUE(result.is_ok()) << result.status().to_string();
      ++done;
    }
    expect_exactly(done);
  }
  reopen();
  expect_exactly(done);
}

TEST_F(RocksDisk, OpeningWithoutRoomIsNoSpaceAndLosesNothing) {
  fill(1 << 20);
  int done = commit_until_full(0);
  store_.reset();
  fill(0);
  auto full = open();
  EXPECT_EQ(full.code(), Code::kNoSpace) << full.status().to_string();
  make_room();
  store_ = open().value();
  expect_exactly(done);
}

TEST_F(RocksDisk, ACrashWhileTheDiskIsFullLosesNothing) {
  int done = 0;
  fill(1 << 20);
  done = commit_until_full(done);
  // A copy of the files as they are is what a kill at this moment would leave.
  TemporaryDirectory copy;
  std::filesystem::copy(directory_.path() + "/meta", copy.path() + "/meta",
                        std::filesystem::copy_options::recursive);
  store_.reset();
  store_ = open_rocks({.path = copy.path() + "/meta"}, merge_rows).value();
  expect_exactly(done);
  store_.reset();
}

}  // namespace
}  // namespace tarn::kv
