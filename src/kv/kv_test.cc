// The contract of kv.h, statement by statement, on every engine.
#include "kv/kv.h"

#include <atomic>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/coding.h"
#include "kv/test_engines.h"

namespace tarn::kv {
namespace {

using test::KvTest;
using ::testing::ElementsAre;
using ::testing::Pair;

template <class E>
class Contract : public KvTest<E> {};
TYPED_TEST_SUITE(Contract, test::Engines, test::EngineNames);

using Write = std::function<void(Transaction&, std::string_view key)>;
struct NamedWrite {
  const char* name;
  bool is_blind;
  Write apply;
};
// Every way to write a row.
const NamedWrite kWrites[] = {
    {"put", false, [](Transaction& t, std::string_view key) { t.put(key, "new"); }},
    {"erase", false, [](Transaction& t, std::string_view key) { t.erase(key); }},
    {"put_blind", true, [](Transaction& t, std::string_view key) { t.put_blind(key, "new"); }},
    {"erase_blind", true, [](Transaction& t, std::string_view key) { t.erase_blind(key); }},
    {"merge", true, [](Transaction& t, std::string_view key) { t.merge(key, "+"); }},
    {"merge to absent", true, [](Transaction& t, std::string_view key) { t.merge(key, "!"); }},
};

TEST(Range, PrefixEndsBehindItsLastKey) {
  EXPECT_EQ(Range::prefix("ab").begin, "ab");
  EXPECT_EQ(Range::prefix("ab").end, "ac");
  EXPECT_EQ(Range::prefix("a\xff\xff").end, "b");
  EXPECT_EQ(Range::prefix("\xff\xff").end, "");
  EXPECT_EQ(Range::prefix("a\x7f").end, "a\x80");
}

TYPED_TEST(Contract, GetReadsTheSnapshotAndOwnWrites) {
  this->write("k", "old");
  auto t = this->begin();
  this->write("k", "new");
  EXPECT_EQ(t->get("k").value(), "old");
  EXPECT_EQ(t->get_tracked("absent").value(), std::nullopt);
  t->put_blind("k", "mine");
  EXPECT_EQ(t->get("k").value(), "mine");
  t->merge("k", "+1");
  EXPECT_EQ(t->get("k").value(), "mine+1");
  t->erase_blind("k");
  EXPECT_EQ(t->get_tracked("other").value(), std::nullopt);
  EXPECT_EQ(t->get("k").value(), std::nullopt);
  t->merge("k", "x");
  t->merge("k", "y");
  EXPECT_EQ(t->get("k").value(), "xy");
  t->put_blind("k", "z");
  EXPECT_EQ(t->get("k").value(), "z");
  EXPECT_EQ(this->read("k"), "new");
  ASSERT_TRUE(t->commit().is_ok());
  EXPECT_EQ(this->read("k"), "z");
}

TYPED_TEST(Contract, TheSnapshotIsThatOfBegin) {
  auto t = this->begin();
  this->write("k", "later");
  EXPECT_EQ(t->get("k").value(), std::nullopt);
  t->put("k", "mine");
  EXPECT_EQ(t->commit().code(), Code::kConflict);
}

TYPED_TEST(Contract, PlainGetTakesNoPartInConflicts) {
  this->write("k", "old");
  auto t = this->begin();
  EXPECT_EQ(t->get("k").value(), "old");
  t->put("mine", "1");
  this->write("k", "new");
  EXPECT_TRUE(t->commit().is_ok());
}

TYPED_TEST(Contract, TrackedReadConflictsWithEveryKindOfWrite) {
  for (const NamedWrite& other : kWrites) {
    for (bool is_present : {false, true}) {
      std::string key = std::string(other.name) + (is_present ? " present" : " absent");
      if (is_present) this->write(key, "old");
      auto reader = this->begin(), writer = this->begin();
      EXPECT_EQ(reader->get_tracked(key).value().has_value(), is_present);
      reader->put("mine " + key, "1");
      other.apply(*writer, key);
      ASSERT_TRUE(writer->commit().is_ok());
      EXPECT_EQ(reader->commit().code(), Code::kConflict) << key;
      EXPECT_EQ(this->read("mine " + key), std::nullopt) << "a conflict must apply nothing";
    }
  }
}

TYPED_TEST(Contract, TrackedReadAloneIsCheckedToo) {
  auto reader = this->begin();
  EXPECT_EQ(reader->get_tracked("k").value(), std::nullopt);
  this->write("k", "1");
  EXPECT_EQ(reader->commit().code(), Code::kConflict);
}

TYPED_TEST(Contract, TrackedReadOfAnUntouchedKeyCommits) {
  auto reader = this->begin();
  EXPECT_EQ(reader->get_tracked("k").value(), std::nullopt);
  reader->put("mine", "1");
  this->write("kk", "1");
  this->write("j", "1");
  EXPECT_TRUE(reader->commit().is_ok());
}

TYPED_TEST(Contract, TwoWritersConflictUnlessTheSecondIsBlind) {
  for (const NamedWrite& first : kWrites) {
    for (const NamedWrite& second : kWrites) {
      std::string key = std::string(first.name) + " then " + second.name;
      this->write(key, "old");
      auto one = this->begin(), two = this->begin();
      first.apply(*one, key);
      second.apply(*two, key);
      ASSERT_TRUE(one->commit().is_ok()) << key;
      Result<Stamp> result = two->commit();
      EXPECT_EQ(result.code(), second.is_blind ? Code::kOk : Code::kConflict) << key;
    }
  }
}

TYPED_TEST(Contract, ACheckedWriteStaysCheckedWhenWrittenBlindlyAfterwards) {
  auto t = this->begin();
  t->put("k", "1");
  t->put_blind("k", "2");
  this->write("k", "3");
  EXPECT_EQ(t->commit().code(), Code::kConflict);
  EXPECT_EQ(this->read("k"), "3");
}

TYPED_TEST(Contract, ANewerSnapshotSeesNoConflictWithAnOlderWrite) {
  for (int i = 0; i < 100; ++i) {
    auto t = this->begin();
    EXPECT_EQ(t->get_tracked("k").value().has_value(), i % 2 == 1);
    if (i % 2 == 0) {
      t->put("k", "1");
    } else {
      t->erase("k");
    }
    ASSERT_TRUE(t->commit().is_ok()) << i;
  }
}

TYPED_TEST(Contract, EraseAndRecreateStillConflict) {
  this->write("k", "1");
  auto reader = this->begin();
  EXPECT_EQ(reader->get_tracked("k").value(), "1");
  auto eraser = this->begin();
  eraser->erase("k");
  ASSERT_TRUE(eraser->commit().is_ok());
  this->write("k", "1");
  reader->put("mine", "1");
  EXPECT_EQ(reader->commit().code(), Code::kConflict);
}

TYPED_TEST(Contract, ErasedWhileAnOlderSnapshotLivesConflictsAndIsStillRead) {
  this->write("k", "1");
  auto old = this->begin();
  auto eraser = this->begin();
  eraser->erase("k");
  ASSERT_TRUE(eraser->commit().is_ok());
  for (int i = 0; i < 50; ++i) this->write("other", std::to_string(i));
  EXPECT_EQ(old->get_tracked("k").value(), "1");
  EXPECT_EQ(this->read("k"), std::nullopt);
  old->put("k2", "1");
  EXPECT_EQ(old->commit().code(), Code::kConflict);
}

TYPED_TEST(Contract, LongLivedSnapshotKeepsItsRowsThroughManyWrites) {
  for (int i = 0; i < 20; ++i) this->write("k" + std::to_string(i), "0");
  auto old = this->begin();
  for (int round = 1; round <= 50; ++round) {
    for (int i = 0; i < 20; ++i) this->write("k" + std::to_string(i), std::to_string(round));
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(old->get("k" + std::to_string(i)).value(), "0");
  EXPECT_EQ(this->rows(*old, Range::prefix("k")).size(), 20u);
  EXPECT_EQ(this->read("k7"), "50");
}

TYPED_TEST(Contract, ScanReadsTheSnapshotInByteOrderWithoutOwnWrites) {
  this->write("a", "1");
  this->write("b\xff", "3");
  this->write("b", "2");
  this->write("b\x01", "4");
  this->write("c", "5");
  auto t = this->begin();
  t->put("b0", "mine");
  t->erase("b");
  this->write("b1", "later");
  EXPECT_THAT(this->rows(*t, {"b", "c"}),
              ElementsAre(Pair("b", "2"), Pair("b\x01", "4"), Pair("b\xff", "3")));
  EXPECT_THAT(this->rows(*t, {"", "b"}), ElementsAre(Pair("a", "1")));
  EXPECT_THAT(this->rows(*t, {"c", ""}), ElementsAre(Pair("c", "5")));
  EXPECT_THAT(this->rows(*t, {"", ""}).size(), 5u);
  EXPECT_THAT(this->rows(*t, Range::prefix("b")).size(), 3u);
  EXPECT_THAT(this->rows(*t, {"d", "e"}), ElementsAre());
}

TYPED_TEST(Contract, ScanTracksNothing) {
  this->write("k1", "1");
  auto t = this->begin();
  EXPECT_EQ(this->rows(*t, Range::prefix("k")).size(), 1u);
  t->put("mine", "1");
  this->write("k1", "2");
  this->write("k2", "1");
  EXPECT_TRUE(t->commit().is_ok());
}

TYPED_TEST(Contract, ScanStopsWhenToldAndMayReadInside) {
  for (int i = 0; i < 300; ++i) {
    this->write("k" + std::to_string(1000 + i), std::to_string(i));
  }
  auto t = this->begin();
  int seen = 0;
  ASSERT_TRUE(t->scan(Range::prefix("k"), [&](std::string_view key, std::string_view value) {
                 EXPECT_EQ(t->get(key).value(), value);
                 EXPECT_EQ(value, std::to_string(seen));
                 return ++seen < 200;
               }).is_ok());
  EXPECT_EQ(seen, 200);
  EXPECT_EQ(this->rows(*t, Range::prefix("k")).size(), 300u);
}

TYPED_TEST(Contract, ConcurrentMergesAllCountInCommitOrder) {
  auto a = this->begin(), b = this->begin(), c = this->begin();
  a->merge("m", "a1");
  a->merge("m", "a2");
  b->merge("m", "b");
  c->merge("m", "c");
  EXPECT_EQ(c->get("m").value(), "c");
  ASSERT_TRUE(b->commit().is_ok());
  ASSERT_TRUE(c->commit().is_ok());
  ASSERT_TRUE(a->commit().is_ok());
  EXPECT_EQ(this->read("m"), "bca1a2");
  // More than an engine may hold as operands.
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(transact(*this->store_, [](Transaction& t) {
                  t.merge("m", "x");
                  t.merge("sum", "3");
                  return Status();
                }).is_ok());
  }
  EXPECT_EQ(this->read("m"), "bca1a2" + std::string(100, 'x'));
  EXPECT_EQ(this->read("sum"), "300");
  auto t = this->begin();
  EXPECT_THAT(this->rows(*t, Range::prefix("sum")), ElementsAre(Pair("sum", "300")));
}

TYPED_TEST(Contract, MergeAppliesToWhatIsCommittedNotToTheSnapshot) {
  this->write("m", "old");
  auto t = this->begin();
  t->merge("m", "+");
  EXPECT_EQ(t->get("m").value(), "old+");
  this->write("m", "new");
  ASSERT_TRUE(t->commit().is_ok());
  EXPECT_EQ(this->read("m"), "new+");
}

TYPED_TEST(Contract, ARowThatAMergeLeavesAbsentIsAbsentEverywhere) {
  this->write("m1", "1");
  this->write("m2", "2");
  auto before = this->begin();
  auto t = this->begin();
  t->merge("m1", "!");
  t->merge("m3", "!");
  EXPECT_EQ(t->get("m1").value(), std::nullopt);
  ASSERT_TRUE(t->commit().is_ok());
  auto after = this->begin();
  EXPECT_EQ(after->get("m1").value(), std::nullopt);
  EXPECT_EQ(after->get_tracked("m3").value(), std::nullopt);
  EXPECT_EQ(after->get_linked("m1", {0, "x"}).value().row, std::nullopt);
  EXPECT_THAT(this->rows(*after, Range::prefix("m")), ElementsAre(Pair("m2", "2")));
  EXPECT_EQ(before->get("m1").value(), "1");
  EXPECT_EQ(this->rows(*before, Range::prefix("m")).size(), 2u);
  // The next merge finds no row.
  after->merge("m1", "again");
  ASSERT_TRUE(after->commit().is_ok());
  EXPECT_EQ(this->read("m1"), "again");
  before.reset();
  ASSERT_TRUE(this->store_->settle().is_ok());
  EXPECT_EQ(this->read("m1"), "again");
  EXPECT_EQ(this->read("m3"), std::nullopt);
}

TYPED_TEST(Contract, MergesAfterOwnPutAndEraseStartFromThem) {
  this->write("p", "old");
  this->write("e", "old");
  auto t = this->begin();
  t->put("p", "put");
  t->merge("p", "+");
  t->erase("e");
  t->merge("e", "+");
  ASSERT_TRUE(t->commit().is_ok());
  EXPECT_EQ(this->read("p"), "put+");
  EXPECT_EQ(this->read("e"), "+");
}

TYPED_TEST(Contract, GetLinkedFollowsTheIdInTheRow) {
  std::string id7, id8;
  append_be64(id7, 7);
  append_be64(id8, 8);
  this->write("entry", "F" + id7 + "rest");
  this->write("dangling", "F" + id8);
  this->write("short", "F1234567");
  this->write("I" + id7, "inode");
  auto t = this->begin();
  Link link{1, "I"};
  Linked both = t->get_linked("entry", link).value();
  EXPECT_EQ(both.row, "F" + id7 + "rest");
  EXPECT_EQ(both.linked, "inode");
  EXPECT_EQ(t->get_linked("dangling", link).value().row, "F" + id8);
  EXPECT_EQ(t->get_linked("dangling", link).value().linked, std::nullopt);
  EXPECT_EQ(t->get_linked("short", link).value().row, "F1234567");
  EXPECT_EQ(t->get_linked("short", link).value().linked, std::nullopt);
  EXPECT_EQ(t->get_linked("none", link).value().row, std::nullopt);
  t->merge("I" + id7, "+mine");
  t->put("dangling", "G" + id7);
  EXPECT_EQ(t->get_linked("entry", link).value().linked, "inode+mine");
  EXPECT_EQ(t->get_linked("dangling", link).value().linked, "inode+mine");
  // Plain reads: no part in conflicts.
  auto other = this->begin();
  EXPECT_EQ(other->get_linked("entry", link).value().linked, "inode");
  other->put("mine", "1");
  this->write("entry", "changed");
  EXPECT_TRUE(other->commit().is_ok());
}

TYPED_TEST(Contract, AnAbandonedTransactionLeavesNothing) {
  Stamp before = this->store_->head();
  {
    auto t = this->begin();
    t->put("k", "1");
    t->merge("m", "1");
    t->append_log("record");
  }
  EXPECT_EQ(this->read("k"), std::nullopt);
  EXPECT_EQ(this->read("m"), std::nullopt);
  EXPECT_EQ(this->store_->head(), before);
}

TYPED_TEST(Contract, StampsGrowAndHeadIsTheNewest) {
  Stamp last = this->store_->head();
  for (int i = 0; i < 200; ++i) {
    auto t = this->begin();
    if (i % 3 == 0) t->put("k", std::to_string(i + 1));
    if (i % 3 == 1) t->merge("m", "x");
    if (i % 3 == 2) t->append_log("r");
    Stamp stamp = t->commit().value();
    EXPECT_GT(stamp, last);
    EXPECT_EQ(stamp, this->store_->head());
    last = stamp;
  }
  auto reader = this->begin();
  EXPECT_EQ(reader->get("k").value(), "199");
  EXPECT_EQ(reader->commit().value(), last)
      << "a commit that wrote nothing has the last seen stamp";
}

TYPED_TEST(Contract, TheLogHoldsEachCommitsRecordsUnderItsStamp) {
  auto collect = [&](Stamp after) {
    std::vector<std::pair<uint64_t, std::string>> out;
    EXPECT_TRUE(this->store_
                    ->read_log(after,
                               [&](const LogEntry& entry) {
                                 out.emplace_back(entry.stamp.value, entry.record);
                                 return true;
                               })
                    .is_ok());
    return out;
  };
  EXPECT_THAT(collect(Stamp(0)), ElementsAre());
  std::vector<Stamp> stamps;
  std::string binary("\0\xff,", 3);
  for (int i = 0; i < 3; ++i) {
    auto t = this->begin();
    t->append_log("first " + std::to_string(i));
    if (i == 1) t->append_log(binary);
    if (i == 1) t->append_log("");
    if (i == 2) t->put("k", "1");
    stamps.push_back(t->commit().value());
    this->write("other", std::to_string(i));  // no record
  }
  auto s = [&](int i) { return stamps[static_cast<size_t>(i)].value; };
  EXPECT_THAT(collect(Stamp(0)),
              ElementsAre(Pair(s(0), "first 0"), Pair(s(1), "first 1"), Pair(s(1), binary),
                          Pair(s(1), ""), Pair(s(2), "first 2")));
  EXPECT_THAT(collect(stamps[1]), ElementsAre(Pair(s(2), "first 2")));
  EXPECT_THAT(collect(this->store_->head()), ElementsAre());
  int seen = 0;
  ASSERT_TRUE(
      this->store_->read_log(Stamp(0), [&](const LogEntry&) { return ++seen < 2; }).is_ok());
  EXPECT_EQ(seen, 2);
  ASSERT_TRUE(this->store_->trim_log(stamps[1]).is_ok());
  EXPECT_THAT(collect(Stamp(0)), ElementsAre(Pair(s(2), "first 2")));
  EXPECT_EQ(this->read("k"), "1");
  ASSERT_TRUE(this->store_->trim_log(Stamp(UINT64_MAX)).is_ok());
  EXPECT_THAT(collect(Stamp(0)), ElementsAre());
  // Stamps keep growing after a trim of everything, and rows are untouched.
  auto t = this->begin();
  t->append_log("after");
  Stamp after = t->commit().value();
  EXPECT_GT(after, stamps[2]);
  EXPECT_THAT(collect(Stamp(0)), ElementsAre(Pair(after.value, "after")));
  auto all = this->begin();
  EXPECT_EQ(this->rows(*all, {"", ""}).size(), 2u) << "log rows are in no scan";
}

TYPED_TEST(Contract, AConflictAppendsNoRecord) {
  auto t = this->begin();
  t->put("k", "1");
  t->append_log("lost");
  this->write("k", "2");
  ASSERT_EQ(t->commit().code(), Code::kConflict);
  int records = 0;
  ASSERT_TRUE(
      this->store_->read_log(Stamp(0), [&](const LogEntry&) { return ++records > 0; }).is_ok());
  EXPECT_EQ(records, 0);
}

TYPED_TEST(Contract, LargeTransactionsAreWhole) {
  auto t = this->begin();
  for (int i = 0; i < 5000; ++i) t->put("big" + std::to_string(i), std::string(200, 'x'));
  auto reader = this->begin();
  ASSERT_TRUE(t->commit().is_ok());
  EXPECT_EQ(this->rows(*reader, Range::prefix("big")).size(), 0u);
  auto later = this->begin();
  EXPECT_EQ(this->rows(*later, Range::prefix("big")).size(), 5000u);
}

TYPED_TEST(Contract, SyncReturnsOnceDurable) {
  Stamp stamp = this->write("k", "1");
  EXPECT_TRUE(this->store_->sync(stamp).is_ok());
  EXPECT_TRUE(this->store_->sync(stamp).is_ok());
  EXPECT_TRUE(this->store_->sync(Stamp(stamp.value + 1000)).is_ok()) << "no commit to wait for";
  EXPECT_TRUE(this->store_->settle().is_ok());
  EXPECT_EQ(this->read("k"), "1");
}

TYPED_TEST(Contract, StatisticsCount) {
  Statistics before = this->store_->statistics();
  auto t = this->begin();
  (void)t->get("a").value();
  (void)t->get_tracked("b").value();
  (void)t->get_linked("c", {0, "I"}).value();
  this->rows(*t, Range::prefix("x"));
  t->put("p", "1");
  t->erase("e");
  t->merge("m", "1");
  t->append_log("r");
  auto loser = this->begin();
  loser->put("p", "2");
  ASSERT_TRUE(t->commit().is_ok());
  ASSERT_EQ(loser->commit().code(), Code::kConflict);
  ASSERT_TRUE(this->begin()->commit().is_ok());
  Statistics after = this->store_->statistics();
  EXPECT_EQ(after.reads - before.reads, 4u);
  EXPECT_EQ(after.transactions - before.transactions, 1u);
  EXPECT_EQ(after.rows_written - before.rows_written, 4u);
  EXPECT_EQ(after.conflicts - before.conflicts, 1u);
}

TYPED_TEST(Contract, TransactRunsAgainOnConflictOnly) {
  int runs = 0;
  auto result = transact(*this->store_, [&](Transaction& t) {
    auto row = t.get_tracked("k").value();
    if (++runs < 4) this->write("k", std::to_string(runs));
    t.put("copy", row.value_or("none"));
    return Status();
  });
  ASSERT_TRUE(result.is_ok());
  EXPECT_EQ(runs, 4);
  EXPECT_EQ(this->read("copy"), "3");
  EXPECT_EQ(result->stamp, this->store_->head());

  runs = 0;
  auto failed = transact(*this->store_, [&](Transaction& t) {
    ++runs;
    t.put("never", "1");
    return Status(Code::kNotEmpty, "directory 7 is not empty");
  });
  EXPECT_EQ(failed.code(), Code::kNotEmpty);
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(this->read("never"), std::nullopt);
}

TEST(Transact, GivesUpAfterItsTime) {
  auto store = open_memory(test::merge_rows);
  TimeNs start = Clock::system().monotonic();
  int runs = 0;
  auto result = transact(*store, [&](Transaction& t) {
    t.put("k", "mine");
    auto other = store->begin();
    other->put_blind("k", "theirs " + std::to_string(++runs));
    return other->commit().status();
  });
  TimeNs took = Clock::system().monotonic() - start;
  EXPECT_EQ(result.code(), Code::kAgain) << result.status().to_string();
  EXPECT_GT(runs, 20);
  EXPECT_GE(took, 2 * kSecondNs);
  EXPECT_LT(took, 6 * kSecondNs);
}

TYPED_TEST(Contract, StampsAreInOrderOfVisibilityUnderThreads) {
  // Each commit writes its predecessor's stamp as seen; a reader must never see a row of a commit
  // above the stamp that it is given, nor miss one at or below it.
  constexpr int kThreads = 3, kCommits = 300;
  std::atomic<bool> is_done = false;
  std::thread reader([&] {
    while (!is_done) {
      Stamp before = this->store_->head();
      auto t = this->begin();
      uint64_t newest = 0;
      for (int i = 0; i < kThreads; ++i) {
        if (auto row = t->get("last" + std::to_string(i)).value()) {
          newest = std::max<uint64_t>(newest, std::stoull(*row));
        }
      }
      Stamp seen = t->commit().value();
      EXPECT_GE(seen, before);
      // A row says which stamp was the head when its commit began, which must be in the past.
      EXPECT_LE(newest, seen.value);
      uint64_t last = 0;
      Status status = this->store_->read_log(Stamp(0), [&](const LogEntry& entry) {
        EXPECT_GT(entry.stamp.value, last);
        last = entry.stamp.value;
        return true;
      });
      EXPECT_TRUE(status.is_ok());
      EXPECT_GE(last, before.value) << "a visible commit's record is missing from the log";
    }
  });
  std::vector<std::thread> writers;
  for (int i = 0; i < kThreads; ++i) {
    writers.emplace_back([&, i] {
      Stamp last;
      for (int n = 0; n < kCommits; ++n) {
        auto t = this->begin();
        t->put_blind("last" + std::to_string(i), std::to_string(this->store_->head().value + 1));
        t->append_log("w");
        Stamp stamp = t->commit().value();
        EXPECT_GT(stamp, last);
        EXPECT_GE(this->store_->head(), stamp);
        last = stamp;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  is_done = true;
  reader.join();
  int records = 0;
  ASSERT_TRUE(
      this->store_->read_log(Stamp(0), [&](const LogEntry&) { return ++records > 0; }).is_ok());
  EXPECT_EQ(records, kThreads * kCommits);
}

template <class E>
class ContractDeathTest : public KvTest<E> {};
using DeathEngines = ::testing::Types<test::MemoryEngine, test::RocksEngine>;
TYPED_TEST_SUITE(ContractDeathTest, DeathEngines, test::EngineNames);

TYPED_TEST(ContractDeathTest, BugsOfTheCallerEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "fast");
  EXPECT_DEATH(this->begin()->put("k", ""), "is empty");
  EXPECT_DEATH(this->begin()->put("", "v"), "key must not be empty");
  EXPECT_DEATH(this->begin()->merge(std::string_view("\0L", 2), "v"), "reserved");
  EXPECT_DEATH((void)this->begin()->get(std::string_view("\0L", 2)), "reserved");
  EXPECT_DEATH(
      {
        auto t = this->begin();
        (void)t->commit();
        (void)t->commit();
      },
      "has ended");
}

}  // namespace
}  // namespace tarn::kv
