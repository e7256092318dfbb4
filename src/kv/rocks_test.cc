// What only the RocksDB engine promises: restarts, locks, durability, and rows that merges made
// absent.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include "base/coding.h"
#include "base/file.h"
#include "kv/kv.h"
#include "kv/test_engines.h"

namespace tarn::kv {
namespace {

namespace filesystem = std::filesystem;
using test::merge_rows;
using test::TemporaryDirectory;
using ::testing::HasSubstr;

constexpr const char* kChildPath = "TARN_KV_TEST_CHILD";

Result<std::unique_ptr<Store>> open_small(const std::string& path) {
  return open_rocks({.path = path, .cache_bytes = 8 << 20, .memtable_bytes = 256 << 10},
                    merge_rows);
}

std::string row_key(uint64_t i) {
  std::string key = "row";
  append_be64(key, i);
  return key;
}

/// Commit `i` of a sequence: a row, a counter that is merged, and a record that names the row.
Stamp commit_one(Store& store, uint64_t i, size_t bytes = 50) {
  return transact(store,
                  [&](Transaction& t) {
                    t.put(row_key(i), std::string(bytes, 'v'));
                    t.merge("sum", "1");
                    t.append_log(std::to_string(i));
                    return Status();
                  })
      .value()
      .stamp;
}

/// Rows 1..n without a gap, the counter n, and n records in order with growing stamps. Returns n.
uint64_t check_prefix(Store& store) {
  auto t = store.begin();
  uint64_t count = 0;
  EXPECT_TRUE(t->scan(Range::prefix("row"), [&](std::string_view key, std::string_view) {
                 EXPECT_EQ(key, row_key(++count));
                 return true;
               }).is_ok());
  EXPECT_EQ(t->get("sum").value().value_or("0"), std::to_string(count));
  uint64_t records = 0, last = 0;
  EXPECT_TRUE(store
                  .read_log(Stamp(0),
                            [&](const LogEntry& entry) {
                              EXPECT_EQ(entry.record, std::to_string(++records));
                              EXPECT_GT(entry.stamp.value, last);
                              last = entry.stamp.value;
                              return true;
                            })
                  .is_ok());
  EXPECT_EQ(records, count);
  EXPECT_GE(store.head().value, last);
  return count;
}

/// This program again, running only `test`, with `path` for it in the environment.
pid_t spawn(const std::string& test, const std::string& path, int output) {
  pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::setenv(kChildPath, path.c_str(), 1);
  ::dup2(output, STDOUT_FILENO);
  std::string filter = "--gtest_filter=" + test;
  ::execl("/proc/self/exe", "kv_test", filter.c_str(), "--gtest_also_run_disabled_tests",
          static_cast<char*>(nullptr));
  ::_exit(127);
}

/// Reads lines that start with `mark` until the pipe ends or `enough` says so; returns the last
/// one's number.
template <class Enough>
uint64_t last_number(int fd, std::string_view mark, Enough enough) {
  std::string text;
  uint64_t number = 0;
  char buffer[4096];
  while (true) {
    ssize_t bytes = ::read(fd, buffer, sizeof buffer);
    if (bytes <= 0) return number;
    text.append(buffer, static_cast<size_t>(bytes));
    for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
      if (text.starts_with(mark)) number = std::stoull(text.substr(mark.size(), end - mark.size()));
      text.erase(0, end + 1);
    }
    if (enough(number)) return number;
  }
}

TEST(RocksChild, DISABLED_Writes) {
  const char* path = std::getenv(kChildPath);
  if (path == nullptr) GTEST_SKIP() << "runs as a child of RocksRestart only";
  auto store = open_small(path).value();
  uint64_t i = check_prefix(*store);
  while (true) {
    Stamp stamp = commit_one(*store, ++i);
    if (i % 7 != 0) continue;
    if (!store->sync(stamp).is_ok()) std::abort();
    std::string line = "ACK " + std::to_string(i) + "\n";
    if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) std::abort();
  }
}

TEST(RocksChild, DISABLED_HoldsTheLock) {
  const char* path = std::getenv(kChildPath);
  if (path == nullptr) GTEST_SKIP() << "runs as a child of RocksLock only";
  auto store = open_small(path).value();
  std::string line = "ACK 1\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) std::abort();
  ::pause();
}

TEST(RocksRestart, RowsLogAndStampsSurvive) {
  TemporaryDirectory directory;
  Stamp last;
  for (int run = 0; run < 5; ++run) {
    auto store = open_small(directory.path()).value();
    EXPECT_EQ(check_prefix(*store), static_cast<uint64_t>(run) * 100);
    EXPECT_GE(store->head(), last);
    for (uint64_t i = 1; i <= 100; ++i) {
      Stamp stamp = commit_one(*store, static_cast<uint64_t>(run) * 100 + i);
      ASSERT_GT(stamp, last);
      last = stamp;
    }
    if (run == 3) {
      ASSERT_TRUE(store->settle().is_ok());
    }
  }
  auto store = open_small(directory.path()).value();
  EXPECT_EQ(check_prefix(*store), 500u);
  ASSERT_TRUE(store->trim_log(Stamp(UINT64_MAX)).is_ok());
  Stamp head = store->head();
  store.reset();
  store = open_small(directory.path()).value();
  EXPECT_GE(store->head(), head) << "with no record left the stamps must not start again";
  EXPECT_GT(commit_one(*store, 501), last);
}

TEST(RocksRestart, AKilledWriterLosesNothingThatWasSynced) {
  TemporaryDirectory directory;
  std::mt19937 random(11);
  uint64_t before = 0;
  for (int round = 0; round < 4; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    UniqueFd in(ends[0]), out(ends[1]);
    pid_t pid = spawn("RocksChild.DISABLED_Writes", directory.path(), out.get());
    ASSERT_GT(pid, 0);
    out.reset();
    uint64_t enough = before + 20 + random() % 2000;
    last_number(in.get(), "ACK ", [&](uint64_t n) { return n >= enough; });
    ::kill(pid, SIGKILL);
    uint64_t acknowledged =
        std::max(before, last_number(in.get(), "ACK ", [](uint64_t) { return false; }));
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself: " << status;
    auto store = open_small(directory.path()).value();
    uint64_t count = check_prefix(*store);
    EXPECT_GE(count, acknowledged);
    EXPECT_GE(count, enough);
    before = count;
  }
}

TEST(RocksRestart, ATornEndOfTheLogLeavesAPrefixOfHistory) {
  // What a power cut leaves of pages that were not synced: cut short, zeros, or old bytes in the
  // middle.
  TemporaryDirectory directory;
  std::string original = directory.path() + "/original";
  uint64_t synced = 0;
  {
    auto store = open_small(original).value();
    for (uint64_t i = 1; i <= 300; ++i) {
      Stamp stamp = commit_one(*store, i);
      if (i == 100) {
        ASSERT_TRUE(store->sync(stamp).is_ok());
      }
    }
    synced = 100;
    // As it is on disk while the store is open, which is what a cut would leave.
    filesystem::copy(original, directory.path() + "/cut");
  }
  std::string wal;
  for (const auto& file : filesystem::directory_iterator(directory.path() + "/cut")) {
    if (file.path().extension() == ".log" && file.file_size() > 0) wal = file.path().filename();
  }
  ASSERT_FALSE(wal.empty());
  std::string whole = read_file(directory.path() + "/cut/" + wal, 1 << 24).value();
  std::mt19937 random(5);
  for (int round = 0; round < 24; ++round) {
    std::string work = directory.path() + "/work";
    filesystem::remove_all(work);
    filesystem::copy(directory.path() + "/cut", work);
    // The first third holds what was synced (each commit has the same size).
    size_t at = whole.size() / 3 + 200 + random() % (whole.size() - whole.size() / 3 - 200);
    std::string damaged = whole;
    if (round % 3 == 0) damaged.resize(at);
    if (round % 3 == 1)
      std::fill(damaged.begin() + static_cast<std::ptrdiff_t>(at), damaged.end(), '\0');
    if (round % 3 == 2) {
      size_t length = std::min<size_t>(damaged.size() - at, 600);
      damaged.replace(at, length, std::string(length, '\0'));
    }
    ASSERT_TRUE(replace_file(work + "/" + wal, damaged).is_ok());
    auto store = open_small(work);
    ASSERT_TRUE(store.is_ok()) << round << " " << store.status().to_string();
    uint64_t count = check_prefix(**store);
    EXPECT_GE(count, synced) << round;
    EXPECT_LT(count, 300u) << round;
    // Life goes on, and a further restart keeps both.
    Stamp head = (*store)->head();
    EXPECT_GT(commit_one(**store, count + 1), head);
    store = Status(Code::kStale, "closed");
    auto again = open_small(work).value();
    EXPECT_EQ(check_prefix(*again), count + 1);
  }
}

TEST(RocksLock, AnotherProcessIsNamed) {
  TemporaryDirectory directory;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd in(ends[0]), out(ends[1]);
  pid_t pid = spawn("RocksChild.DISABLED_HoldsTheLock", directory.path(), out.get());
  ASSERT_GT(pid, 0);
  out.reset();
  ASSERT_EQ(last_number(in.get(), "ACK ", [](uint64_t n) { return n == 1; }), 1u);
  auto second = open_small(directory.path());
  EXPECT_EQ(second.code(), Code::kBusy);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("process " + std::to_string(pid)));
  ::kill(pid, SIGKILL);
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  EXPECT_TRUE(open_small(directory.path()).is_ok()) << "the lock dies with its holder";
}

TEST(RocksLock, OnceAProcess) {
  TemporaryDirectory directory;
  auto store = open_small(directory.path()).value();
  auto second = open_small(directory.path());
  EXPECT_EQ(second.code(), Code::kBusy);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("already open in this process"));
  commit_one(*store, 1);
  EXPECT_EQ(check_prefix(*store), 1u);
}

TEST(RocksOpen, DamageIsCorrupt) {
  TemporaryDirectory directory;
  {
    auto store = open_small(directory.path()).value();
    commit_one(*store, 1);
    ASSERT_TRUE(store->settle().is_ok());
  }
  ASSERT_TRUE(replace_file(directory.path() + "/CURRENT", "MANIFEST-gone\n").is_ok());
  auto damaged = open_small(directory.path());
  EXPECT_FALSE(damaged.is_ok());
  EXPECT_TRUE(damaged.is(Code::kCorrupt) || damaged.is(Code::kIo)) << damaged.status().to_string();
  auto file = open_small("/proc/self/status/meta");
  EXPECT_FALSE(file.is_ok());
}

TEST(RocksMerge, CompactionDropsRowsThatMergesMadeAbsent) {
  TemporaryDirectory directory;
  {
    auto store = open_small(directory.path()).value();
    for (uint64_t i = 0; i < 50; ++i) commit_one(*store, i + 1);
    for (uint64_t i = 0; i < 40; ++i) {
      ASSERT_TRUE(transact(*store, [&](Transaction& t) {
                    t.merge(row_key(i + 1), "!");
                    return Status();
                  }).is_ok());
    }
    // The first pass folds the operands, the next meets the empty rows.
    for (int pass = 0; pass < 3; ++pass) ASSERT_TRUE(store->settle().is_ok());
    auto t = store->begin();
    int rows = 0;
    ASSERT_TRUE(t->scan(Range::prefix("row"), [&](auto, auto) { return ++rows > 0; }).is_ok());
    EXPECT_EQ(rows, 10);
  }
  rocksdb::DB* db = nullptr;
  ASSERT_TRUE(rocksdb::DB::OpenForReadOnly({}, directory.path(), &db).ok());
  std::unique_ptr<rocksdb::DB> owner(db);
  std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}));
  int rows = 0;
  for (it->Seek("row"); it->Valid() && it->key().starts_with("row"); it->Next()) ++rows;
  EXPECT_EQ(rows, 10);
}

TEST(RocksSync, OneFlushServesAllWaiters) {
  TemporaryDirectory directory;
  auto store = open_small(directory.path()).value();
  Stamp stamp = commit_one(*store, 1);
  ASSERT_TRUE(store->sync(stamp).is_ok());
  uint64_t syncs = store->statistics().syncs;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store->sync(stamp).is_ok());
  EXPECT_EQ(store->statistics().syncs, syncs) << "a durable stamp needs no flush";

  std::vector<std::thread> threads;
  std::atomic<uint64_t> next = 1;
  constexpr uint64_t kThreads = 16, kEach = 40;
  for (uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&] {
      for (uint64_t i = 0; i < kEach; ++i) {
        Stamp mine = commit_one(*store, ++next);
        ASSERT_TRUE(store->sync(mine).is_ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(store->statistics().syncs - syncs, kThreads * kEach);
  EXPECT_GT(store->statistics().wal_bytes, kThreads * kEach * 50);
}

TEST(RocksSpace, LogFilesDoNotPileUpNorPreallocate) {
  TemporaryDirectory directory;
  auto store = open_small(directory.path()).value();
  for (uint64_t i = 1; i <= 4000; ++i)
    commit_one(*store, i, 2000);  // 8 MB through a 256 KiB memtable
  uint64_t log_bytes = 0;
  for (const auto& file : filesystem::directory_iterator(directory.path())) {
    struct stat info{};
    if (file.path().extension() == ".log" && ::stat(file.path().c_str(), &info) == 0) {
      log_bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    }
  }
  EXPECT_LT(log_bytes, 4u << 20);
}

}  // namespace
}  // namespace tarn::kv
