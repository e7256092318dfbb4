// Pairs of operations that must not both happen: on one snapshot, committed in either order, and
// with threads.
//
// Of a pair that stand in each other's way the second to commit must get kConflict; what its second
// try answers must fit what the first did; and check() must find nothing. Every pair runs on every
// engine.
#include <barrier>
#include <random>
#include <thread>

#include "meta/ops/support.h"
#include "meta/test_support.h"

namespace tarn::meta {
namespace {

using Op = std::function<Status(kv::Transaction&)>;

template <class Engine>
class RaceTest : public MetaTest<Engine> {
 protected:
  // The four races that a point-tracking engine gets wrong run kRounds times in each order, kin of
  // them fewer.
  static constexpr int kRounds = 1000, kFewRounds = 250;

  // Operations as closures. Inode numbers are taken when they are made, not when they run.
  Op creates(Ino parent, std::string name, uint32_t mode = S_IFREG | 0644,
             Twin twin = Twin::kRefuse) {
    NewInode inode = new_inode(this->new_ino(), mode);
    inode.twin = twin;
    inode.is_s3_written = twin == Twin::kHide;
    Context context = this->tick();
    context.is_posix = twin == Twin::kRefuse;
    return [=](kv::Transaction& txn) { return create(txn, context, parent, name, inode).status(); };
  }
  Op makes_dir(Ino parent, std::string name) { return creates(parent, name, S_IFDIR | 0755); }
  Op unlinks(Ino parent, std::string name) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      return unlink(txn, context, parent, name).status();
    };
  }
  Op removes(Ino parent, std::string name) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      return rmdir(txn, context, parent, name).status();
    };
  }
  Op links(Ino ino, Ino parent, std::string name) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      return link(txn, context, ino, parent, name).status();
    };
  }
  Op renames(Ino source, std::string from, Ino target, std::string to, RenameOptions options = {}) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      return rename(txn, context, source, from, target, to, options).status();
    };
  }
  Op forgets(Ino ino) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      return forget(txn, context, ino).status();
    };
  }
  Op places(Ino ino, Ino parent, std::string name) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      return place(txn, context, ino, parent, name, true).status();
    };
  }
  Op chmods(Ino ino, uint32_t mode) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      AttributeChange change;
      change.mode = mode;
      return set_attributes(txn, context, ino, change).status();
    };
  }
  Op attributes(Ino ino) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      return set_xattr(txn, context, ino, "user.a", "1", XattrMode::kEither);
    };
  }
  Op writes(Ino ino) {
    return [=, context = this->tick()](kv::Transaction& txn) {
      ContentChange change;
      change.size = 10;
      change.state = ContentState::kClosed;
      return set_content(txn, context, ino, change).status();
    };
  }
  /// An S3 delete: the entry, then its directory if that was implied.
  Op deletes(Ino parent, std::string name) {
    Context context = this->s3();
    return [=](kv::Transaction& txn) -> Status {
      if (!name.empty()) {
        TARN_TRY(unlink(txn, context, parent, name));
      }
      return remove_implied(txn, context, parent, name, [](Ino) { return false; }).status();
    };
  }
  Ino implied(Ino parent, std::string name) {
    return this->s3_make(parent, name, S_IFDIR | 0755).value().ino;
  }

  /// Both on one snapshot; `first` commits, then `second` conflicts and is tried again: what that
  /// answers.
  Code race(const Op& first, const Op& second) {
    auto one = this->store().begin();
    auto two = this->store().begin();
    Status first_ran = first(*one);
    Status second_ran = second(*two);
    EXPECT_TRUE(first_ran) << first_ran.to_string();
    EXPECT_TRUE(second_ran) << second_ran.to_string();
    EXPECT_TRUE(one->commit());
    EXPECT_EQ(two->commit().code(), Code::kConflict);
    return this->commit(second).code();
  }

  Ino fresh() { return this->directory(kRootIno, std::to_string(++made_)).value().ino; }
  int made_ = 0;

  struct Pair {
    Op a, b;
    Code b_after_a, a_after_b;
  };
  /// `setup` gets a fresh directory each round and makes the pair in it.
  void check_pair(const std::function<Pair(Ino)>& setup, int rounds = kFewRounds) {
    for (int round = 0; round < rounds && !this->HasFailure(); ++round) {
      for (bool is_a_first : {true, false}) {
        Pair pair = setup(fresh());
        Code second = is_a_first ? race(pair.a, pair.b) : race(pair.b, pair.a);
        ASSERT_EQ(code_name(second), code_name(is_a_first ? pair.b_after_a : pair.a_after_b))
            << (is_a_first ? "a first" : "b first");
      }
      if (round < 3) {
        ASSERT_EQ(this->findings(), "");
      }
    }
    ASSERT_EQ(this->findings(), "");
  }

  /// The same pair from two threads, as it comes.
  void check_threads(const std::function<std::vector<Op>(Ino)>& setup, int rounds = 400) {
    std::vector<std::vector<Op>> all;
    for (int round = 0; round < rounds; ++round) {
      all.push_back(setup(fresh()));
    }
    std::barrier<> start(2);
    auto body = [&](size_t which) {
      for (auto& ops : all) {
        start.arrive_and_wait();
        (void)run(this->store(), ops[which]);
      }
    };
    {
      std::jthread one(body, 0), two(body, 1);
    }
    ASSERT_EQ(this->findings(), "");
  }
};
TYPED_TEST_SUITE(RaceTest, Engines);

TYPED_TEST(RaceTest, CreateAgainstRmdir) {
  auto pair = [this](Ino dir) -> typename TestFixture::Pair {
    Ino d = this->directory(dir, "d").value().ino;
    return {this->creates(d, "x"), this->removes(dir, "d"), Code::kNotEmpty, Code::kNotFound};
  };
  this->check_pair(pair, this->kRounds);
  this->check_threads([&](Ino dir) {
    auto p = pair(dir);
    return std::vector<Op>{p.a, p.b};
  });
}

TYPED_TEST(RaceTest, LinkAndRenameIntoAgainstRmdir) {
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino d = this->directory(dir, "d").value().ino;
    Ino f = this->file(dir, "f").value().ino;
    return {this->links(f, d, "x"), this->removes(dir, "d"), Code::kNotEmpty, Code::kNotFound};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino d = this->directory(dir, "d").value().ino;
    this->file(dir, "f").value();
    return {this->renames(dir, "f", d, "x"), this->removes(dir, "d"), Code::kNotEmpty,
            Code::kNotFound};
  });
}

TYPED_TEST(RaceTest, CreateAgainstMkdirOfTheSameName) {
  auto pair = [this](Ino dir) -> typename TestFixture::Pair {
    return {this->creates(dir, "a"), this->makes_dir(dir, "a"), Code::kExists, Code::kExists};
  };
  this->check_pair(pair, this->kRounds);
  this->check_threads([&](Ino dir) {
    auto p = pair(dir);
    return std::vector<Op>{p.a, p.b};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    return {this->creates(dir, "a"), this->creates(dir, "a"), Code::kExists, Code::kExists};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    this->directory(dir, "s").value();
    return {this->creates(dir, "a"), this->renames(dir, "s", dir, "a"), Code::kNotDirectory,
            Code::kExists};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino f = this->file(dir, "f").value().ino;
    return {this->makes_dir(dir, "a"), this->links(f, dir, "a"), Code::kExists, Code::kExists};
  });
}

TYPED_TEST(RaceTest, RenamesThatWouldMakeALoop) {
  auto pair = [this](Ino dir) -> typename TestFixture::Pair {
    Ino a = this->directory(dir, "a").value().ino;
    Ino b = this->directory(dir, "b").value().ino;
    return {this->renames(dir, "a", b, "a"), this->renames(dir, "b", a, "b"),
            Code::kInvalidArgument, Code::kInvalidArgument};
  };
  this->check_pair(pair, this->kRounds);
  this->check_threads([&](Ino dir) {
    auto p = pair(dir);
    return std::vector<Op>{p.a, p.b};
  });
  // Deeper: a goes below b/x while b goes below a/y.
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino a = this->directory(dir, "a").value().ino;
    Ino b = this->directory(dir, "b").value().ino;
    Ino y = this->directory(a, "y").value().ino;
    Ino x = this->directory(b, "x").value().ino;
    return {this->renames(dir, "a", x, "a"), this->renames(dir, "b", y, "b"),
            Code::kInvalidArgument, Code::kInvalidArgument};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino a = this->directory(dir, "a").value().ino;
    Ino b = this->directory(dir, "b").value().ino;
    Ino y = this->directory(a, "y").value().ino;
    this->file(y, "swap").value();
    return {this->renames(dir, "a", b, "a"), this->renames(dir, "b", y, "swap", {.exchange = true}),
            Code::kInvalidArgument, Code::kInvalidArgument};
  });
}

TYPED_TEST(RaceTest, UnlinkAgainstLink) {
  auto pair = [this](Ino dir) -> typename TestFixture::Pair {
    Ino f = this->file(dir, "f").value().ino;
    return {this->unlinks(dir, "f"), this->links(f, dir, "g"), Code::kNotFound, Code::kOk};
  };
  this->check_pair(pair, this->kRounds);
  this->check_threads([&](Ino dir) {
    auto p = pair(dir);
    return std::vector<Op>{p.a, p.b};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    this->file(dir, "f").value();
    return {this->unlinks(dir, "f"), this->unlinks(dir, "f"), Code::kNotFound, Code::kNotFound};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino f = this->file(dir, "f").value().ino;
    this->hard_link(f, dir, "g").value();
    return {this->unlinks(dir, "f"), this->unlinks(dir, "g"), Code::kOk, Code::kOk};
  });
}

TYPED_TEST(RaceTest, RenameOverADirectoryAgainstCreateInIt) {
  auto pair = [this](Ino dir) -> typename TestFixture::Pair {
    this->directory(dir, "a").value();
    Ino b = this->directory(dir, "b").value().ino;
    return {this->renames(dir, "a", dir, "b"), this->creates(b, "x"), Code::kNotFound,
            Code::kNotEmpty};
  };
  this->check_pair(pair, this->kRounds);
  this->check_threads([&](Ino dir) {
    auto p = pair(dir);
    return std::vector<Op>{p.a, p.b};
  });
}

TYPED_TEST(RaceTest, RenamesOfFiles) {
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    this->file(dir, "f").value();
    return {this->renames(dir, "f", dir, "x"), this->renames(dir, "f", dir, "y"), Code::kNotFound,
            Code::kNotFound};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    this->file(dir, "f").value();
    Ino g = this->file(dir, "g").value().ino;
    return {this->renames(dir, "f", dir, "g"), this->links(g, dir, "h"), Code::kNotFound,
            Code::kOk};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino f = this->file(dir, "f").value().ino;
    return {this->renames(dir, "f", dir, "g"), this->writes(f), Code::kOk, Code::kOk};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    this->file(dir, "f").value();
    this->file(dir, "g").value();
    return {this->renames(dir, "f", dir, "g", {.exchange = true}), this->unlinks(dir, "f"),
            Code::kOk, Code::kNotFound};
  });
  this->check_threads([&](Ino dir) {
    this->file(dir, "f").value();
    this->file(dir, "g").value();
    return std::vector<Op>{this->renames(dir, "f", dir, "g"), this->renames(dir, "g", dir, "f")};
  });
}

TYPED_TEST(RaceTest, WritersOfOneRow) {
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino f = this->file(dir, "f").value().ino;
    return {this->writes(f), this->chmods(f, 0600), Code::kOk, Code::kOk};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino f = this->file(dir, "f").value().ino;
    return {this->unlinks(dir, "f"), this->writes(f), Code::kOk, Code::kOk};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino f = this->file(dir, "f").value().ino;
    this->remove_file(dir, "f").value();
    return {this->forgets(f), this->places(f, dir, "g"), Code::kStale, Code::kNotFound};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino d = this->directory(dir, "d").value().ino;
    this->remove_dir(dir, "d").value();
    return {this->forgets(d), this->attributes(d), Code::kStale, Code::kOk};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    NewInode inode = new_inode(this->new_ino(), S_IFREG | 0600);
    this->commit([&](auto& txn) { return create_unnamed(txn, this->tick(), inode); }).value();
    return {this->places(inode.ino, dir, "g"), this->makes_dir(dir, "g"), Code::kExists,
            Code::kIsDirectory};
  });
}

TYPED_TEST(RaceTest, S3AgainstPosix) {
  // The removal of an implied directory against what makes it one that stays.
  auto create = [&](Ino dir) -> typename TestFixture::Pair {
    Ino d = this->implied(dir, "d");
    this->file(dir, "keep").value();
    this->s3_make(d, "x", S_IFREG | 0644).value();
    return {this->creates(d, "y"), this->deletes(d, "x"), Code::kOk, Code::kNotFound};
  };
  this->check_pair(create, this->kRounds);
  this->check_threads([&](Ino dir) {
    auto p = create(dir);
    return std::vector<Op>{p.a, p.b};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    Ino d = this->implied(dir, "d");
    return {this->chmods(d, 0700), this->deletes(d, ""), Code::kOk, Code::kOk};
  });
}

TYPED_TEST(RaceTest, TheSecondOfTheLastTwoDeletesRemovesTheDirectory) {
  for (int round = 0; round < this->kFewRounds && !this->HasFailure(); ++round) {
    Ino dir = this->fresh();
    Ino d = this->implied(dir, "d");
    this->s3_make(d, "x", S_IFREG | 0644).value();
    this->s3_make(d, "y", S_IFREG | 0644).value();
    EXPECT_EQ(this->race(this->deletes(d, "x"), this->deletes(d, "y")), Code::kOk);
    EXPECT_EQ(this->look(dir, "d").code(), Code::kNotFound);
  }
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(RaceTest, HidingAgainstRemovalOfTheTwin) {
  auto pair = [&](Ino dir) -> typename TestFixture::Pair {
    this->directory(dir, "a").value();
    return {this->removes(dir, "a"), this->creates(dir, "a", S_IFREG | 0644, Twin::kHide),
            Code::kOk, Code::kOk};
  };
  this->check_pair(pair, this->kRounds);
  this->check_threads([&](Ino dir) {
    auto p = pair(dir);
    return std::vector<Op>{p.a, p.b};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    this->directory(dir, "a").value();
    return {this->renames(dir, "a", dir, "b"), this->creates(dir, "a", S_IFREG | 0644, Twin::kHide),
            Code::kOk, Code::kOk};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    this->s3_make(dir, "a", S_IFREG | 0644).value();
    return {this->creates(dir, "a", S_IFDIR | 0755, Twin::kHide), this->unlinks(dir, "a"),
            Code::kIsDirectory, Code::kOk};
  });
  this->check_pair([&](Ino dir) -> typename TestFixture::Pair {
    this->directory(dir, "a").value();
    this->file(dir, "f").value();
    return {this->renames(dir, "f", dir, "a", {.exchange = true}),
            this->creates(dir, "a", S_IFREG | 0644, Twin::kHide), Code::kExists, Code::kExists};
  });
}

TYPED_TEST(RaceTest, ManyThreadsMoveThingsAbout) {
  constexpr int kThreads = 4, kEach = 400;
  std::vector<Ino> dirs{kRootIno};
  for (int i = 0; i < 6; ++i) {
    dirs.push_back(this->directory(dirs[size_t(i) / 2], "d" + std::to_string(i)).value().ino);
  }
  uint64_t first_ino = 50'000'000;
  auto body = [&](int thread) {
    std::mt19937 random(static_cast<uint32_t>(thread));
    auto pick = [&](size_t below) { return random() % below; };
    auto name = [&] { return "d" + std::to_string(pick(7)); };
    for (int i = 0; i < kEach; ++i) {
      Context context{.now = 1 + i, .request = {}, .node_id = 0};
      Ino one = dirs[pick(dirs.size())], two = dirs[pick(dirs.size())];
      std::string from = name(), to = name();
      Ino ino{first_ino + static_cast<uint64_t>(thread * kEach + i)};
      uint32_t mode = pick(2) == 0 ? S_IFREG | 0644 : S_IFDIR | 0755;
      size_t what = pick(8);
      Status done = run(this->store(), [&](kv::Transaction& txn) -> Status {
        if (what < 2) return create(txn, context, one, from, new_inode(ino, mode)).status();
        if (what == 2) return unlink(txn, context, one, from).status();
        if (what == 3) return rmdir(txn, context, one, from).status();
        if (what == 4) {
          TARN_ASSIGN(InodeRow row, lookup(txn, one, from));
          return link(txn, context, row.ino, two, to).status();
        }
        return rename(txn, context, one, from, two, to, {.exchange = what == 5}).status();
      });
      EXPECT_NE(done.code(), Code::kCorrupt) << done.to_string();
      EXPECT_NE(done.code(), Code::kAgain) << done.to_string();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) threads.emplace_back(body, t);
  }
  EXPECT_EQ(this->findings(), "");
}

}  // namespace
}  // namespace tarn::meta
