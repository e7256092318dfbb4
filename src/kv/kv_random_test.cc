// Random histories on every engine: against a model, one step at a time, and under threads.
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "kv/kv.h"
#include "kv/test_engines.h"

namespace tarn::kv {
namespace {

using test::KvTest;

template <class E>
class Random : public KvTest<E> {};
TYPED_TEST_SUITE(Random, test::Engines, test::EngineNames);

using State = std::map<std::string, std::string>;

// What kv.h says, in the plainest form: whole copies of the state, and the set of keys of every
// commit.
class Model {
 public:
  struct Step {
    std::string key;
    enum Kind { kPut, kErase, kMerge } kind;
    std::string value;
  };
  struct Txn {
    size_t snapshot;
    std::set<std::string> checked;
    std::vector<Step> steps;
  };

  Txn begin() const { return {states_.size() - 1, {}, {}}; }
  std::optional<std::string> get(const Txn& txn, const std::string& key) const {
    State state = states_[txn.snapshot];
    apply(state, txn.steps);
    auto it = state.find(key);
    return it == state.end() ? std::nullopt : std::optional(it->second);
  }
  const State& snapshot(const Txn& txn) const { return states_[txn.snapshot]; }
  /// False: conflict.
  bool commit(const Txn& txn) {
    for (size_t commit = txn.snapshot + 1; commit < states_.size(); ++commit) {
      for (const std::string& key : writes_[commit]) {
        if (txn.checked.contains(key)) return false;
      }
    }
    if (txn.steps.empty()) return true;
    State state = states_.back();
    apply(state, txn.steps);
    std::set<std::string> written;
    for (const Step& step : txn.steps) written.insert(step.key);
    states_.push_back(std::move(state));
    writes_.push_back(std::move(written));
    return true;
  }

 private:
  static void apply(State& state, const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      auto it = state.find(step.key);
      if (step.kind == Step::kPut) state[step.key] = step.value;
      if (step.kind == Step::kErase) state.erase(step.key);
      if (step.kind == Step::kMerge) {
        std::optional<std::string_view> existing;
        if (it != state.end()) existing = it->second;
        auto row = test::merge_rows(step.key, existing, {step.value});
        if (row) {
          state[step.key] = *row;
        } else {
          state.erase(step.key);
        }
      }
    }
  }

  std::vector<State> states_{State()};
  std::vector<std::set<std::string>> writes_{{}};
};

struct Pair {
  std::unique_ptr<Transaction> real;
  Model::Txn model;
};

/// One random call on both sides; reads are compared.
void random_step(Pair& pair, const Model& model, std::mt19937& random) {
  auto pick = [&](unsigned n) { return static_cast<int>(random() % n); };
  std::string key = "k" + std::to_string(pick(8));
  std::string value = "v" + std::to_string(pick(1000)) + ";";
  switch (pick(9)) {
    case 0:
      EXPECT_EQ(pair.real->get(key).value(), model.get(pair.model, key));
      break;
    case 1:
    case 2:
      EXPECT_EQ(pair.real->get_tracked(key).value(), model.get(pair.model, key));
      pair.model.checked.insert(key);
      break;
    case 3:
      pair.real->put(key, value);
      pair.model.steps.push_back({key, Model::Step::kPut, value});
      pair.model.checked.insert(key);
      break;
    case 4:
      pair.real->erase(key);
      pair.model.steps.push_back({key, Model::Step::kErase, ""});
      pair.model.checked.insert(key);
      break;
    case 5:
      pair.real->put_blind(key, value);
      pair.model.steps.push_back({key, Model::Step::kPut, value});
      break;
    case 6:
      pair.real->erase_blind(key);
      pair.model.steps.push_back({key, Model::Step::kErase, ""});
      break;
    case 7: {
      std::string operand = pick(5) == 0 ? "!" : value;
      pair.real->merge(key, operand);
      pair.model.steps.push_back({key, Model::Step::kMerge, operand});
      break;
    }
    default: {
      State seen;
      ASSERT_TRUE(pair.real
                      ->scan(Range::prefix("k"),
                             [&](std::string_view k, std::string_view v) {
                               seen.emplace(k, v);
                               return true;
                             })
                      .is_ok());
      EXPECT_EQ(seen, model.snapshot(pair.model));
    }
  }
}

TYPED_TEST(Random, HistoriesOfOverlappingTransactionsMatchTheModel) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    TypeParam engine;
    auto store = engine.open();
    Model model;
    std::mt19937 random(seed);
    std::vector<Pair> open;
    int commits = 0, conflicts = 0;
    for (int step = 0; step < 3000; ++step) {
      if (open.size() < 4 && random() % 4 == 0) open.push_back({store->begin(), model.begin()});
      if (open.empty()) continue;
      size_t which = random() % open.size();
      if (random() % 6 != 0) {
        random_step(open[which], model, random);
      } else {
        Result<Stamp> stamp = open[which].real->commit();
        bool is_committed = model.commit(open[which].model);
        ASSERT_EQ(stamp.code(), is_committed ? Code::kOk : Code::kConflict) << "step " << step;
        ++(is_committed ? commits : conflicts);
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
      }
      if (seed % 3 == 0 && random() % 500 == 0) {
        ASSERT_TRUE(store->settle().is_ok());
      }
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_GT(commits, 100);
    EXPECT_GT(conflicts, 50);
  }
}

TYPED_TEST(Random, TrackedIncrementsAndBlindMergesOfThreadsLoseNothing) {
  constexpr int kThreads = 4, kRounds = 400;
  std::atomic<int> committed = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(static_cast<unsigned>(thread));
      for (int round = 0; round < kRounds; ++round) {
        std::string key = "counter" + std::to_string(random() % 4);
        auto result = transact(*this->store_, [&](Transaction& t) -> Status {
          TARN_ASSIGN(auto row, t.get_tracked(key));
          t.put(key, std::to_string(std::stoi(row.value_or("0")) + 1));
          t.merge("sum", "1");
          t.append_log(key);
          return {};
        });
        ASSERT_TRUE(result.is_ok()) << result.status().to_string();
        ++committed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  int total = 0;
  for (int i = 0; i < 4; ++i) {
    total += std::stoi(this->read("counter" + std::to_string(i)).value_or("0"));
  }
  EXPECT_EQ(committed, kThreads * kRounds);
  EXPECT_EQ(total, kThreads * kRounds);
  EXPECT_EQ(this->read("sum"), std::to_string(kThreads * kRounds));
  int records = 0;
  ASSERT_TRUE(
      this->store_->read_log(Stamp(0), [&](const LogEntry&) { return ++records > 0; }).is_ok());
  EXPECT_EQ(records, kThreads * kRounds);
}

TYPED_TEST(Random, TransfersKeepTheTotalInEverySnapshot) {
  constexpr int kAccounts = 6, kEach = 100, kTransfers = 300;
  for (int i = 0; i < kAccounts; ++i) this->write("acc" + std::to_string(i), std::to_string(kEach));
  std::atomic<bool> is_done = false;
  std::thread auditor([&] {
    while (!is_done) {
      auto t = this->begin();
      int by_scan = 0, by_get = 0;
      for (const auto& [key, value] : this->rows(*t, Range::prefix("acc"))) {
        by_scan += std::stoi(value);
      }
      for (int i = 0; i < kAccounts; ++i) {
        by_get += std::stoi(t->get("acc" + std::to_string(i)).value().value());
      }
      ASSERT_EQ(by_scan, kAccounts * kEach);
      ASSERT_EQ(by_get, kAccounts * kEach);
    }
  });
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(thread + 100);
      for (int n = 0; n < kTransfers; ++n) {
        std::string from = "acc" + std::to_string(random() % kAccounts);
        std::string to = "acc" + std::to_string(random() % kAccounts);
        if (from == to) continue;
        auto result = transact(*this->store_, [&](Transaction& t) -> Status {
          TARN_ASSIGN(auto source, t.get(from));
          TARN_ASSIGN(auto target, t.get(to));
          t.put(from, std::to_string(std::stoi(source.value()) - 1));
          t.put(to, std::to_string(std::stoi(target.value()) + 1));
          return {};
        });
        ASSERT_TRUE(result.is_ok()) << result.status().to_string();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  is_done = true;
  auditor.join();
}

TYPED_TEST(Random, TrackedReadsPreventWriteSkew) {
  // Two doctors, one must stay on call: each leaves only if the other is there.
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    std::string name = "round" + std::to_string(round);
    this->write(name + "a", "on");
    this->write(name + "b", "on");
    std::atomic<int> ready = 0;
    auto leave = [&](const std::string& me, const std::string& other) {
      ++ready;
      while (ready < 2) std::this_thread::yield();
      auto result = transact(*this->store_, [&](Transaction& t) -> Status {
        TARN_ASSIGN(auto row, t.get_tracked(other));
        if (row == "on") t.put(me, "off");
        return {};
      });
      ASSERT_TRUE(result.is_ok());
    };
    std::thread one([&] { leave(name + "a", name + "b"); });
    leave(name + "b", name + "a");
    one.join();
    int on = (this->read(name + "a") == "on" ? 1 : 0) + (this->read(name + "b") == "on" ? 1 : 0);
    ASSERT_EQ(on, 1) << round;
  }
}

}  // namespace
}  // namespace tarn::kv
