// The races that a file system must not lose, as transactions on rows laid out as room meta lays
// them out, on every engine: thousands of times with both orders of commit chosen, and with
// threads.
//
//   E dir / name     an entry (a file's); with `/` at the end of name a sub-directory's
//   A dir            alive: written by mkdir, erased with the directory, tracked-read by who adds
//   an entry G dir            guard: blind-written by who adds an entry, tracked-read by who
//   removes the directory I ino            a file's inode row: its link count P dir            the
//   directory's parent R                the guard of all renames of directories
#include <atomic>
#include <barrier>
#include <thread>

#include <gtest/gtest.h>

#include "kv/kv.h"
#include "kv/test_engines.h"

namespace tarn::kv {
namespace {

using test::KvTest;

std::string entry_key(const std::string& dir, const std::string& name) {
  return "E" + dir + "/" + name;
}

Status require(bool condition, Code code, const char* message) {
  return condition ? Status() : Status(code, message);
}

/// What every operation that adds an entry does: the directory lives, and neither sibling key is
/// taken.
Status claim_name(Transaction& t, const std::string& dir, const std::string& name) {
  TARN_ASSIGN(auto alive, t.get_tracked("A" + dir));
  TARN_TRY(require(alive.has_value(), Code::kNotFound, "no directory"));
  TARN_ASSIGN(auto file, t.get_tracked(entry_key(dir, name)));
  TARN_ASSIGN(auto directory, t.get_tracked(entry_key(dir, name + "/")));
  TARN_TRY(require(!file && !directory, Code::kExists, "name is taken"));
  t.put_blind("G" + dir, "1");
  t.merge("sum times" + dir, "1");
  return {};
}

Status create(Transaction& t, const std::string& dir, const std::string& name,
              const std::string& ino) {
  TARN_TRY(claim_name(t, dir, name));
  t.put(entry_key(dir, name), ino);
  t.put("I" + ino, "1");
  t.append_log("create");
  return {};
}

Status make_directory(Transaction& t, const std::string& dir, const std::string& name,
                      const std::string& id) {
  TARN_TRY(claim_name(t, dir, name));
  t.put(entry_key(dir, name + "/"), id);
  t.put("A" + id, "1");
  t.put("P" + id, dir);
  t.append_log("mkdir");
  return {};
}

Status require_empty(Transaction& t, const std::string& id) {
  TARN_ASSIGN(auto guard, t.get_tracked("G" + id));
  bool is_empty = true;
  TARN_TRY(t.scan(Range::prefix("E" + id + "/"), [&](auto, auto) { return is_empty = false; }));
  return require(is_empty, Code::kNotEmpty, "directory is not empty");
}

Status remove_directory(Transaction& t, const std::string& dir, const std::string& name) {
  TARN_ASSIGN(auto id, t.get_tracked(entry_key(dir, name + "/")));
  TARN_TRY(require(id.has_value(), Code::kNotFound, "no such directory"));
  TARN_TRY(require_empty(t, *id));
  t.erase(entry_key(dir, name + "/"));
  t.erase("A" + *id);
  t.erase("P" + *id);
  t.append_log("rmdir");
  return {};
}

/// Moves directory `id` from one directory to another; refuses to move it below itself.
Status rename_directory(Transaction& t, const std::string& source, const std::string& target,
                        const std::string& name) {
  TARN_ASSIGN(auto renames, t.get_tracked("R"));
  t.put("R", std::to_string(std::stoi(renames.value_or("0")) + 1));
  TARN_ASSIGN(auto id, t.get_tracked(entry_key(source, name + "/")));
  TARN_TRY(require(id.has_value(), Code::kNotFound, "no such directory"));
  for (std::string at = target; at != "root";) {
    TARN_TRY(require(at != *id, Code::kInvalidArgument, "below itself"));
    TARN_ASSIGN(auto parent, t.get("P" + at));
    TARN_TRY(require(parent.has_value(), Code::kNotFound, "target is gone"));
    at = *parent;
  }
  TARN_TRY(claim_name(t, target, name));
  t.erase(entry_key(source, name + "/"));
  t.put(entry_key(target, name + "/"), *id);
  t.put("P" + *id, target);
  t.append_log("rename");
  return {};
}

Status unlink(Transaction& t, const std::string& dir, const std::string& name) {
  TARN_ASSIGN(auto ino, t.get_tracked(entry_key(dir, name)));
  TARN_TRY(require(ino.has_value(), Code::kNotFound, "no such file"));
  TARN_ASSIGN(auto links, t.get_tracked("I" + *ino));
  TARN_TRY(require(links.has_value(), Code::kInternal, "entry without inode"));
  t.erase(entry_key(dir, name));
  if (*links == "1") {
    t.erase("I" + *ino);
  } else {
    t.put("I" + *ino, std::to_string(std::stoi(*links) - 1));
  }
  t.append_log("unlink");
  return {};
}

/// By inode, as the kernel's LINK comes: it looks the source up by no name.
Status link(Transaction& t, const std::string& ino, const std::string& dir,
            const std::string& name) {
  TARN_ASSIGN(auto links, t.get_tracked("I" + ino));
  TARN_TRY(require(links.has_value(), Code::kNotFound, "no such inode"));
  TARN_TRY(claim_name(t, dir, name));
  t.put(entry_key(dir, name), ino);
  t.put("I" + ino, std::to_string(std::stoi(*links) + 1));
  t.append_log("link");
  return {};
}

using Body = std::function<Status(Transaction&)>;

template <class E>
class Races : public KvTest<E> {
 protected:
  static constexpr int kIterations = 1000;  // of each order, and as many with threads

  void SetUp() override { this->write("Aroot", "1"); }

  void must(const Body& body) {
    auto result = transact(*this->store_, body);
    ASSERT_TRUE(result.is_ok()) << result.status().to_string();
  }

  /// Runs both to the end on the same snapshot, then commits in the given order. The first must
  /// commit and the second must conflict: these races are all about pairs that exclude each other.
  void interleave(const Body& one, const Body& two, bool is_one_first) {
    auto t1 = this->begin(), t2 = this->begin();
    ASSERT_TRUE(one(*t1).is_ok());
    ASSERT_TRUE(two(*t2).is_ok());
    Transaction& first = is_one_first ? *t1 : *t2;
    Transaction& second = is_one_first ? *t2 : *t1;
    ASSERT_TRUE(first.commit().is_ok());
    ASSERT_EQ(second.commit().code(), Code::kConflict);
  }

  /// `round(i)` prepares, `one(i)` and `two(i)` race in two threads, `check(i, one, two)` judges.
  template <class Prepare, class One, class Two, class Check>
  void race(Prepare prepare, One one, Two two, Check check) {
    Code results[2] = {};
    std::atomic<bool> is_failed = false;
    std::barrier sync(2);
    std::thread other([&] {
      for (int i = 0; i < kIterations; ++i) {
        sync.arrive_and_wait();
        results[1] = transact(*this->store_, two(i)).code();
        sync.arrive_and_wait();
        if (is_failed) return;
      }
    });
    for (int i = 0; i < kIterations; ++i) {
      if (!is_failed) prepare(i);
      sync.arrive_and_wait();
      results[0] = transact(*this->store_, one(i)).code();
      // Judged before the other thread goes on, which waits here.
      wait_for_other(sync, is_failed, [&] { check(i, results[0], results[1]); });
      if (is_failed) break;
    }
    other.join();
  }

 private:
  template <class Judge>
  void wait_for_other(std::barrier<>& sync, std::atomic<bool>& is_failed, Judge judge) {
    sync.arrive_and_wait();
    judge();
    is_failed = ::testing::Test::HasFailure();
  }
};
TYPED_TEST_SUITE(Races, test::Engines, test::EngineNames);

std::string n(const char* prefix, int i) {
  return prefix + std::to_string(i);
}

TYPED_TEST(Races, CreateAgainstRmdir) {
  auto check = [&](const std::string& dir, const std::string& id) {
    bool is_there = this->read(entry_key("root", dir + "/")).has_value();
    EXPECT_EQ(this->read("A" + id).has_value(), is_there);
    EXPECT_EQ(this->read(entry_key(id, "file")).has_value(), is_there) << "an orphan, or a loss";
  };
  for (int i = 0; i < 2 * this->kIterations; ++i) {
    std::string dir = n("d", i), id = n("id", i);
    this->must([&](Transaction& t) { return make_directory(t, "root", dir, id); });
    this->interleave([&](Transaction& t) { return create(t, id, "file", n("ino", i)); },
                     [&](Transaction& t) { return remove_directory(t, "root", dir); }, i % 2 == 0);
    check(dir, id);
    if (this->HasFailure()) return;
  }
  this->race(
      [&](int i) {
        this->must(
            [&](Transaction& t) { return make_directory(t, "root", n("t", i), n("tid", i)); });
      },
      [&](int i) {
        return [i](Transaction& t) { return create(t, n("tid", i), "file", n("tino", i)); };
      },
      [&](int i) { return [i](Transaction& t) { return remove_directory(t, "root", n("t", i)); }; },
      [&](int i, Code created, Code removed) {
        EXPECT_TRUE((created == Code::kOk && removed == Code::kNotEmpty) ||
                    (created == Code::kNotFound && removed == Code::kOk))
            << code_name(created) << " " << code_name(removed);
        check(n("t", i), n("tid", i));
      });
}

TYPED_TEST(Races, WithoutGuardAndAliveBothWouldCommit) {
  // Why they are needed: entries alone are points, and the scan of rmdir tracks none of them.
  for (bool is_create_first : {true, false}) {
    std::string id = is_create_first ? "x" : "y";
    auto creator = this->begin(), remover = this->begin();
    creator->put(entry_key(id, "file"), "1");
    EXPECT_TRUE(this->rows(*remover, Range::prefix("E" + id + "/")).empty());
    remover->erase(entry_key("root", id + "/"));
    EXPECT_TRUE((is_create_first ? creator : remover)->commit().is_ok());
    EXPECT_TRUE((is_create_first ? remover : creator)->commit().is_ok());
  }
}

TYPED_TEST(Races, CreateAgainstMkdirOfTheSameName) {
  auto check = [&](const std::string& name) {
    EXPECT_NE(this->read(entry_key("root", name)).has_value(),
              this->read(entry_key("root", name + "/")).has_value());
  };
  for (int i = 0; i < 2 * this->kIterations; ++i) {
    this->interleave(
        [&](Transaction& t) { return create(t, "root", n("a", i), n("ino", i)); },
        [&](Transaction& t) { return make_directory(t, "root", n("a", i), n("id", i)); },
        i % 2 == 0);
    check(n("a", i));
    if (this->HasFailure()) return;
  }
  this->race([](int) {},
             [](int i) {
               return [i](Transaction& t) { return create(t, "root", n("b", i), n("bino", i)); };
             },
             [](int i) {
               return [i](Transaction& t) {
                 return make_directory(t, "root", n("b", i), n("bid", i));
               };
             },
             [&](int i, Code created, Code made) {
               EXPECT_TRUE((created == Code::kOk && made == Code::kExists) ||
                           (created == Code::kExists && made == Code::kOk));
               check(n("b", i));
             });
}

TYPED_TEST(Races, CreatorsInOneDirectoryDoNotConflict) {
  // The other half of the guard's design: what many do at once must not make them run again.
  for (int i = 0; i < this->kIterations; ++i) {
    auto one = this->begin(), two = this->begin();
    ASSERT_TRUE(create(*one, "root", n("p", i), n("pino", i)).is_ok());
    ASSERT_TRUE(create(*two, "root", n("q", i), n("qino", i)).is_ok());
    ASSERT_TRUE(two->commit().is_ok());
    ASSERT_TRUE(one->commit().is_ok());
  }
  EXPECT_EQ(this->read("sum timesroot"), std::to_string(2 * this->kIterations));
}

TYPED_TEST(Races, RenamesCannotMakeALoop) {
  // a and b are siblings; a goes below b while b goes below a.
  auto reaches_root = [&](std::string at) {
    for (int depth = 0; depth < 5; ++depth) {
      if (at == "root") return true;
      at = this->read("P" + at).value_or("root");
    }
    return false;
  };
  auto prepare = [&](const std::string& a, const std::string& b) {
    this->must([&](Transaction& t) -> Status {
      TARN_TRY(make_directory(t, "root", a, a));
      return make_directory(t, "root", b, b);
    });
  };
  for (int i = 0; i < 2 * this->kIterations; ++i) {
    std::string a = n("a", i), b = n("b", i);
    prepare(a, b);
    this->interleave([&](Transaction& t) { return rename_directory(t, "root", b, a); },
                     [&](Transaction& t) { return rename_directory(t, "root", a, b); }, i % 2 == 0);
    EXPECT_TRUE(reaches_root(a) && reaches_root(b));
    if (this->HasFailure()) return;
  }
  this->race(
      [&](int i) { prepare(n("ta", i), n("tb", i)); },
      [](int i) {
        return [i](Transaction& t) { return rename_directory(t, "root", n("tb", i), n("ta", i)); };
      },
      [](int i) {
        return [i](Transaction& t) { return rename_directory(t, "root", n("ta", i), n("tb", i)); };
      },
      [&](int i, Code one, Code two) {
        EXPECT_NE(one == Code::kOk, two == Code::kOk);
        EXPECT_TRUE(reaches_root(n("ta", i)) && reaches_root(n("tb", i)));
      });
}

TYPED_TEST(Races, UnlinkAgainstLink) {
  auto check = [&](const std::string& name, const std::string& ino) {
    int entries = (this->read(entry_key("root", name)) ? 1 : 0) +
                  (this->read(entry_key("root", name + ".link")) ? 1 : 0);
    EXPECT_EQ(std::stoi(this->read("I" + ino).value_or("0")), entries);
  };
  auto prepare = [&](const std::string& name, const std::string& ino) {
    this->must([&](Transaction& t) { return create(t, "root", name, ino); });
  };
  for (int i = 0; i < 2 * this->kIterations; ++i) {
    std::string name = n("f", i), ino = n("ino", i);
    prepare(name, ino);
    this->interleave([&](Transaction& t) { return unlink(t, "root", name); },
                     [&](Transaction& t) { return link(t, ino, "root", name + ".link"); },
                     i % 2 == 0);
    check(name, ino);
    if (this->HasFailure()) return;
  }
  this->race([&](int i) { prepare(n("t", i), n("tino", i)); },
             [](int i) { return [i](Transaction& t) { return unlink(t, "root", n("t", i)); }; },
             [](int i) {
               return [i](Transaction& t) {
                 return link(t, n("tino", i), "root", n("t", i) + ".link");
               };
             },
             [&](int i, Code unlinked, Code linked) {
               EXPECT_EQ(unlinked, Code::kOk);
               EXPECT_TRUE(linked == Code::kOk || linked == Code::kNotFound);
               check(n("t", i), n("tino", i));
             });
}

TYPED_TEST(Races, ManyThreadsInOneTree) {
  // Everything at once on few names; the tree must be consistent at the end.
  constexpr int kThreads = 4, kSteps = 300;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      unsigned state = static_cast<unsigned>(thread) * 7919 + 1;
      auto pick = [&](unsigned of) {
        state = state * 1664525 + 1013904223;
        return static_cast<int>((state >> 16) % of);
      };
      for (int step = 0; step < kSteps; ++step) {
        int dir = pick(3), kind = pick(4);
        std::string unique = std::to_string(thread) + "." + std::to_string(step);
        // A directory's identity is new each time it is made, as an inode's is.
        std::string id = this->read(entry_key("root", n("d", dir) + "/")).value_or("none");
        auto result = transact(*this->store_, [&](Transaction& t) {
          if (kind == 0) return make_directory(t, "root", n("d", dir), "dir" + unique);
          if (kind == 1) return remove_directory(t, "root", n("d", dir));
          if (kind == 2) return create(t, id, n("f", pick(2)), "ino" + unique);
          return unlink(t, id, n("f", pick(2)));
        });
        EXPECT_FALSE(result.is(Code::kAgain) || result.is(Code::kInternal));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  auto t = this->begin();
  int files = 0;
  for (const auto& [key, value] : this->rows(*t, Range::prefix("E"))) {
    std::string dir = key.substr(1, key.find('/') - 1);
    EXPECT_TRUE(t->get("A" + dir).value().has_value()) << key << " is an orphan";
    if (key.back() == '/') {
      EXPECT_TRUE(t->get("A" + value).value().has_value()) << key << " names no directory";
    } else {
      ++files;
      EXPECT_EQ(t->get("I" + value).value(), "1");
    }
  }
  EXPECT_EQ(this->rows(*t, Range::prefix("I")).size(), static_cast<size_t>(files));
}

}  // namespace
}  // namespace tarn::kv
