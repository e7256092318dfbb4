// Rule (f): what is found after a death, in this process and after SIGKILL at the kill points.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <map>

#include "content/content_test_util.h"
#include "digest/digest.h"

namespace tarn::content {
namespace {

TEST(Recovery, OpenAndClosedFilesAfterADeath) {
  TemporaryDirectory dir;
  TestSystem system(dir.path() + "/root");
  ASSERT_TARN_OK(system.open());
  std::mt19937_64 random(11);
  const std::string large = random_bytes(random, 500'000), small = "small and synced";
  auto a = system.create("synced-large");
  ASSERT_TARN_OK(a->file->write(0, as_bytes(large)).status());
  ASSERT_TARN_OK(a->file->sync());
  auto b = system.create("synced-small");
  ASSERT_TARN_OK(b->file->write(0, as_bytes(small)).status());
  ASSERT_TARN_OK(b->file->sync());
  auto c = system.create("never-synced");
  ASSERT_TARN_OK(c->file->write(0, as_bytes("gone")).status());
  auto d = system.put("settled", "old bytes");
  ASSERT_TARN_OK(system.content().barrier());
  EXPECT_TRUE(c->file->local()->is_named());  // the barrier named it
  auto e = system.create("after-the-barrier");
  ASSERT_TARN_OK(e->file->write(0, as_bytes("gone too")).status());
  auto f = system.open_write(*d, true);
  ASSERT_TARN_OK(f->file->write(0, as_bytes("new bytes")).status());
  // Their descriptors close with the process.
  *a = {}, *b = {}, *c = {}, *f = {};
  const Ino gone = e->ino;
  *e = {};
  system.abandon();
  ASSERT_TARN_OK(system.open());
  EXPECT_EQ(system.root().last_end(), LastEnd::kProcessDied);
  EXPECT_EQ(system.read(system.find("synced-large")->ino), large);
  EXPECT_EQ(system.find("synced-large")->state, meta::ContentState::kSettled);
  EXPECT_EQ(system.read(system.find("synced-small")->ino), small);
  EXPECT_EQ(system.read(system.find("never-synced")->ino), "gone");
  EXPECT_TRUE(system.find("after-the-barrier").is(Code::kNotFound));
  EXPECT_TRUE(system.row(gone).is(Code::kStale));
  EXPECT_EQ(system.read(*d), "old bytes");
  EXPECT_EQ(system.content().report().dropped_at_recovery, 1u);
  EXPECT_EQ(system.content().report().recovered, 3u);
  ASSERT_TARN_OK(system.content().barrier());
  EXPECT_EQ(system.files_under("blobs"), 1u);  // no orphan of the rewrite
  EXPECT_TARN_OK(system.close());
}

TEST(Recovery, OverlayRowFallsBackOrGoesOn) {
  TemporaryDirectory dir;
  TestSystem system(dir.path() + "/root");
  ASSERT_TARN_OK(system.open());
  std::vector<Ino> inodes;
  for (const char* name : {"lost", "kept"}) {
    const Ino ino = system.put(name, "old").value();
    inodes.push_back(ino);
    ASSERT_TARN_OK(system.content().barrier());
    const auto row = system.row(ino).value();
    auto plan = system.content().prepare_write(row, name[0] == 'l', {}).value();
    ASSERT_TARN_OK(plan.file->write(0, as_bytes("newer")).status());
    if (name[0] == 'k') ASSERT_TARN_OK(plan.file->sync());
    meta::ContentChange change;
    change.state = meta::ContentState::kOpen;
    change.content = encode(plan.file->descriptor());
    change.grant = meta::GrantStamp{};
    ASSERT_TARN_OK(system.set(ino, change));
  }
  system.abandon();
  ASSERT_TARN_OK(system.open());
  EXPECT_EQ(system.read(inodes[0]), "old");
  EXPECT_EQ(system.row(inodes[0])->state, meta::ContentState::kSettled);
  EXPECT_EQ(system.row(inodes[0])->generation, Generation(1));
  EXPECT_EQ(system.read(inodes[1]), "newer");
  EXPECT_EQ(system.row(inodes[1])->generation, Generation(2));
  EXPECT_TARN_OK(system.close());
}

TEST(Recovery, SettledAndMissingIsDataLossNotSilence) {
  TemporaryDirectory dir;
  TestSystem system(dir.path() + "/root");
  ASSERT_TARN_OK(system.open());
  auto ino = system.put("f", std::string(300'000, 'x'));
  ASSERT_TARN_OK(system.content().barrier());
  auto open = system.open_write(*ino, false);
  ASSERT_TARN_OK(open.status());
  open->file.reset();
  system.abandon();
  for (auto& entry : std::filesystem::recursive_directory_iterator(
           std::filesystem::path(dir.path()) / "root" / "blobs")) {
    if (entry.is_regular_file()) std::filesystem::remove(entry.path());
  }
  ASSERT_TARN_OK(system.open());
  EXPECT_TARN_OK(system.find("f").status());
  EXPECT_NE(system.read(*ino).find("missing"), std::string::npos) << system.read(*ino);
  EXPECT_EQ(system.content().report().dropped_at_recovery, 0u);
}

TEST(Recovery, LinkedFileThatWasNeverSyncedLosesAllItsNames) {
  TemporaryDirectory dir;
  TestSystem system(dir.path() + "/root");
  ASSERT_TARN_OK(system.open());
  auto open = system.create("one");
  ASSERT_TARN_OK(
      kv::transact(system.store(), [&](kv::Transaction& txn) -> Status {
        return meta::link(txn, TestSystem::context(), open->ino, kRootIno, "two").status();
      }).status());
  open->file.reset();
  system.abandon();
  ASSERT_TARN_OK(system.open());
  EXPECT_TRUE(system.find("one").is(Code::kNotFound));
  EXPECT_TRUE(system.find("two").is(Code::kNotFound));
  EXPECT_TRUE(meta::check(system.store())->empty());
}

// The child of the crash tests: a life with a kill point armed; it tells in a file what was
// promised.
TEST(CrashChild, Life) {
  const char* path = std::getenv("TARN_CONTENT_CRASH_DIR");
  if (path == nullptr) GTEST_SKIP() << "runs as the child of Crash.EveryKillPoint";
  TestSystem system(std::string(path) + "/root", Engine::kRocks);
  ASSERT_TARN_OK(system.open());
  std::ofstream promises(std::string(path) + "/promises", std::ios::app);
  std::mt19937_64 random(21);
  for (int round = 0; round < 6; ++round) {
    std::vector<std::string> lines;
    for (int i = 0; i < 12; ++i) {
      const std::string name = "f" + std::to_string(round) + "-" + std::to_string(i);
      const std::string bytes = random_bytes(random, i % 4 == 0 ? 200'000 : 10 + random() % 5000);
      ASSERT_TARN_OK(system.put(name, bytes).status());
      lines.push_back("have " + name + " " + digest::md5(as_bytes(bytes)).hex());
    }
    ASSERT_TARN_OK(system.content().barrier());
    for (const std::string& line : lines) promises << line << std::endl;
    // Rewrite one, append to one, remove one of the round before.
    if (round == 0) continue;
    const std::string before = "f" + std::to_string(round - 1) + "-";
    auto open = system.open_write(system.find(before + "1")->ino, true);
    ASSERT_TARN_OK(open->file->write(0, as_bytes("rewritten")).status());
    promises << "either " << before << "1 " << digest::md5(as_bytes("rewritten")).hex()
             << std::endl;
    system.submit(*open);
    promises << "maybe " << before << "2" << std::endl;
    ASSERT_TARN_OK(system.remove(before + "2"));
    promises << "maybe " << before << "4" << std::endl;
    ASSERT_TARN_OK(system.remove(before + "4"));
    *open = {};
    ASSERT_TARN_OK(system.content().barrier());
    promises << "have " << before << "1 " << digest::md5(as_bytes("rewritten")).hex() << std::endl;
    promises << "gone " << before << "2" << std::endl << "gone " << before << "4" << std::endl;
  }
  EXPECT_TARN_OK(system.close());
}

void check_promises(const std::string& dir, const std::string& point) {
  TestSystem system(dir + "/root", Engine::kRocks);
  ASSERT_TARN_OK(system.open());
  ASSERT_TARN_OK(system.content().barrier());
  std::map<std::string, std::vector<std::string>> wanted;  // name -> digests that are fine; "" gone
  std::ifstream promises(dir + "/promises");
  std::string kind, name, md5;
  while (promises >> kind >> name) {
    if (kind == "have" || kind == "either") promises >> md5;
    if (kind == "have") wanted[name] = {md5};
    if (kind == "either") wanted[name].push_back(md5);
    if (kind == "maybe") wanted[name].push_back("");
    if (kind == "gone") wanted[name] = {""};
  }
  for (const auto& [file, fine] : wanted) {
    auto row = system.find(file);
    std::string got;
    if (row.is_ok()) {
      EXPECT_EQ(row->state, meta::ContentState::kSettled) << point << " " << file;
      got = digest::md5(as_bytes(system.read(row->ino))).hex();
    }
    EXPECT_NE(std::find(fine.begin(), fine.end(), got), fine.end())
        << point << " " << file << " is '" << got << "'";
  }
  // Whatever else is visible reads whole and fits its digests.
  size_t blobs = 0;
  std::vector<std::string> names;
  ASSERT_TARN_OK(meta::read_directory(*system.store().begin(), kRootIno, "", false, false,
                                      [&](const meta::DirectoryEntry& entry) {
                                        names.push_back(entry.name);
                                        return true;
                                      }));
  for (const std::string& entry : names) {
    auto row = system.find(entry);
    ASSERT_TARN_OK(row.status());
    auto damage = system.content().reread(*row);
    ASSERT_TARN_OK(damage.status());
    EXPECT_TRUE(damage->empty()) << point << " " << entry;
    if (std::holds_alternative<WholeBlob>(system.descriptor(row->ino))) ++blobs;
  }
  EXPECT_EQ(system.files_under("blobs"), blobs) << point;
  EXPECT_TRUE(meta::check(system.store())->empty()) << point;
  EXPECT_TARN_OK(system.close());
}

TEST(Crash, EveryKillPoint) {
  const std::vector<std::string> points = {
      "content.name.before_link",           "content.name.after_link:3",
      "content.settle.before_pack_write:2", "content.settle.after_pack_write:3",
      "content.settle.after_sync:2",        "content.settle.after_commit",
      "content.settle.after_commit:4",      "content.barrier.after_sync:3",
      "content.collect.after_unlink:2",     "content.fold.before_commit:2",
      "content.pack.after_create",
  };
  for (const std::string& point : points) {
    TemporaryDirectory dir;
    auto run_child = [&](const std::string& armed) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::setenv("TARN_CONTENT_CRASH_DIR", dir.path().c_str(), 1);
        ::setenv("TARN_KILL_POINT", armed.c_str(), 1);
        // Its report is the promises; a report of its own would count among the tests.
        ::unsetenv("GTEST_OUTPUT");
        const int null = ::open("/dev/null", O_RDWR);
        ::dup2(null, 1);
        ::dup2(null, 2);
        ::execl("/proc/self/exe", "content_test", "--gtest_filter=CrashChild.Life", nullptr);
        ::_exit(127);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    };
    EXPECT_TRUE(run_child(point)) << point << " was not passed";
    // Killed again in the middle of recovering, where there is something to recover.
    run_child("content.recover.middle");
    check_promises(dir.path(), point);
  }
}

}  // namespace
}  // namespace tarn::content
