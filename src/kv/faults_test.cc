#include "kv/faults.h"

#include <gtest/gtest.h>

#include "kv/test_engines.h"

namespace tarn::kv {
namespace {

class Faults : public ::testing::Test {
 protected:
  Result<Stamp> write(std::string_view key) {
    auto t = store_->begin();
    t->put_blind(key, "1");
    t->append_log(key);
    return t->commit();
  }
  bool has(std::string_view key) { return store_->begin()->get(key).value().has_value(); }
  int records() {
    int count = 0;
    EXPECT_TRUE(store_->read_log(Stamp(0), [&](const LogEntry&) { return ++count > 0; }).is_ok());
    return count;
  }

  std::unique_ptr<FaultStore> store_ = FaultStore::wrap(open_memory(test::merge_rows));
};

TEST_F(Faults, EachCommitFaultAnswersItsCodeAndAppliesAsItSays) {
  struct Case {
    Fault fault;
    Code code;
    bool is_applied;
  };
  int applied = 0;
  for (const Case& c : {Case{Fault::kConflict, Code::kConflict, false},
                        Case{Fault::kUnknownApplied, Code::kUnknownOutcome, true},
                        Case{Fault::kUnknownNotApplied, Code::kUnknownOutcome, false},
                        Case{Fault::kDiskErrorOnCommit, Code::kIo, false},
                        Case{Fault::kNoSpaceOnCommit, Code::kNoSpace, false}}) {
    std::string key = "fault " + std::to_string(static_cast<int>(c.fault));
    store_->arm(c.fault);
    EXPECT_EQ(write(key).code(), c.code);
    EXPECT_EQ(has(key), c.is_applied) << key;
    applied += c.is_applied ? 1 : 0;
    EXPECT_EQ(records(), applied);
    EXPECT_TRUE(write(key).is_ok()) << "a fault disarms itself";
    ++applied;
  }
  EXPECT_EQ(store_->fired(), 5u);
}

TEST_F(Faults, FiresOnTheNthMatchingCall) {
  store_->arm(Fault::kDiskErrorOnCommit, 3);
  EXPECT_TRUE(write("a").is_ok());
  EXPECT_TRUE(store_->begin()->commit().is_ok()) << "a commit without writes does not count";
  EXPECT_TRUE(write("b").is_ok());
  EXPECT_EQ(store_->fired(), 0u);
  EXPECT_EQ(write("c").code(), Code::kIo);
  EXPECT_TRUE(write("d").is_ok());
  EXPECT_EQ(store_->fired(), 1u);
}

TEST_F(Faults, StickyFaultsStayUntilDisarmed) {
  store_->arm(Fault::kNoSpaceOnCommit, 2, true);
  EXPECT_TRUE(write("a").is_ok());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(write("b").code(), Code::kNoSpace);
  EXPECT_EQ(store_->fired(), 5u);
  store_->disarm();
  EXPECT_TRUE(write("b").is_ok());
}

TEST_F(Faults, ReadsFail) {
  ASSERT_TRUE(write("a").is_ok());
  store_->arm(Fault::kDiskErrorOnRead, 1, true);
  auto t = store_->begin();
  EXPECT_EQ(t->get("a").code(), Code::kIo);
  EXPECT_EQ(t->get_tracked("a").code(), Code::kIo);
  EXPECT_EQ(t->get_linked("a", {0, "I"}).code(), Code::kIo);
  EXPECT_EQ(t->scan({"", ""}, [](auto, auto) { return true; }).code(), Code::kIo);
  t->put("b", "1");
  EXPECT_TRUE(t->commit().is_ok()) << "only reads fail";
  store_->disarm();
  EXPECT_TRUE(has("b"));
}

TEST_F(Faults, SyncFailsOnce) {
  Stamp stamp = write("a").value();
  store_->arm(Fault::kDiskErrorOnSync);
  EXPECT_EQ(store_->sync(stamp).code(), Code::kIo);
  EXPECT_TRUE(store_->sync(stamp).is_ok());
}

TEST_F(Faults, TransactRetriesAnInjectedConflictAndReturnsAnUnknownOutcome) {
  store_->arm(Fault::kConflict);
  int runs = 0;
  auto body = [&](Transaction& t) {
    ++runs;
    t.put("k", std::to_string(runs));
    return Status();
  };
  EXPECT_TRUE(transact(*store_, body).is_ok());
  EXPECT_EQ(runs, 2);
  store_->arm(Fault::kUnknownApplied);
  EXPECT_EQ(transact(*store_, body).code(), Code::kUnknownOutcome);
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(store_->begin()->get("k").value(), "3");
}

TEST_F(Faults, AConflictIsInjectedIntoATrackedReadAlone) {
  store_->arm(Fault::kConflict);
  auto t = store_->begin();
  EXPECT_EQ(t->get_tracked("a").value(), std::nullopt);
  EXPECT_EQ(t->commit().code(), Code::kConflict);
}

}  // namespace
}  // namespace tarn::kv
