// The keeper with a worker that serves the mount's test file system. Needs root and /dev/fuse.
//
// This program is the keeper and the worker too (main, below), because a keeper runs its own
// program again. Everything that touches the mount is a process of its own with an alarm.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "app/keeper.h"
#include "app/keeper_link.h"
#include "mount/memory_fs.h"
#include "mount/session.h"

namespace tarn::app {
namespace {

constexpr uint64_t kFileBytes = 96 << 20;

// --- the worker

int run_worker(const std::string& mode, const std::string& directory, const std::string& argument) {
  auto inheritance = WorkerInheritance::adopt(argument);
  if (!inheritance.is_ok()) return 2;
  if (mode == "fails") return 7;
  UniqueFd pid_file(open((directory + ".pid").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600));
  static_cast<void>(write_all(pid_file.get(), as_bytes(fmt::format("{}\n", getpid()))));
  KeptDescriptors kept(inheritance->kept_fd);
  if (!inheritance->is_take_over) {
    UniqueFd unlinked(memfd_create("unlinked", MFD_CLOEXEC));
    static_cast<void>(write_all(unlinked.get(), as_bytes("precious")));
    if (!kept.keep(11, unlinked.get()).is_ok() || !kept.keep(12, unlinked.get()).is_ok() ||
        !kept.drop(12).is_ok()) {
      return 3;
    }
  } else {
    auto all = kept.take_all();
    if (!all.is_ok() || all->size() != 1 || (*all)[0].first != 11) return 3;
    char text[16] = {};
    if (pread((*all)[0].second.get(), text, sizeof text, 0) != 8) return 3;
    UniqueFd out(open((directory + ".kept").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600));
    static_cast<void>(write_all(out.get(), as_bytes(text)));
  }
  auto shared = mount::SharedState::open(UniqueFd(inheritance->state_fd));
  if (!shared.is_ok()) return 4;
  mount::SessionOptions options;
  for (int fd : inheritance->fuse_fds) options.fds.emplace_back(fd);
  options.is_take_over = inheritance->is_take_over;
  mount::MemoryFs fs;
  fs.add_generated("big", kFileBytes);
  fs.on("read", [] { usleep(500); });  // so that most kills hit a read in hand
  auto session = mount::Session::create(std::move(options), *shared);
  if (!session.is_ok() || !(*session)->start(fs).is_ok()) return 5;
  if (!tell_ready(*inheritance, "ready " + directory).is_ok()) return 6;
  if (mode == "crashes") raise(SIGKILL);
  auto end = wait_for_end(*inheritance, (*session)->ended_fd());
  (*session)->stop();
  return end.is_ok() ? 0 : 8;
}

int run_as_keeper(const std::string& mode, const std::string& directory) {
  KeeperOptions options;
  options.mount.emplace();
  options.mount->directory = directory;
  options.queues = 3;
  options.worker_arguments = {"--worker", mode, directory};
  options.restarts_max = mode == "crashes" ? 3 : 100;
  return run_keeper(options);
}

// --- the tests

/// Reads the whole file and compares every byte; the number of the first wrong thing, 0 if none.
int read_all(const std::string& file) {
  alarm(100);
  int fd = open(file.c_str(), O_RDONLY);
  if (fd < 0) return 1;
  std::string part(256 << 10, '\0');
  for (uint64_t at = 0; at < kFileBytes;) {
    ssize_t got = pread(fd, part.data(), part.size(), static_cast<off_t>(at));
    if (got <= 0) return 2;
    for (ssize_t i = 0; i < got; ++i) {
      if (static_cast<std::byte>(part[static_cast<size_t>(i)]) !=
          mount::generated_byte(at + static_cast<uint64_t>(i))) {
        return 3;
      }
    }
    at += static_cast<uint64_t>(got);
  }
  return 0;
}

/// Ended; perhaps not yet reaped by whoever inherited it.
bool is_gone(pid_t pid) {
  auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  return !text.is_ok() || text->find(") Z") != std::string::npos;
}

class KeeperTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "needs root and /dev/fuse: the keeper is not tested";
    }
    char name[] = "/tmp/tarn-keeper-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    if (keeper_ > 0) {
      kill(keeper_, SIGKILL);
      waitpid(keeper_, nullptr, 0);
    }
    if (directory_.empty()) return;
    // What a failed test left behind; only a dead mount can be there now.
    while (is_mounted() && mount::detach_dead_mounts(directory_).is_ok()) {
    }
    rmdir(directory_.c_str());
    for (const char* suffix : {".pid", ".kept", ".notify"}) unlink((directory_ + suffix).c_str());
  }

  void start(const std::string& mode) {
    int out[2];
    ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
    keeper_ = fork();
    if (keeper_ == 0) {
      dup2(out[1], STDOUT_FILENO);
      execl("/proc/self/exe", "keeper_test", "--keeper", mode.c_str(), directory_.c_str(), nullptr);
      _exit(127);
    }
    close(out[1]);
    out_.reset(out[0]);
  }
  void await_ready() {
    pollfd ready{out_.get(), POLLIN, 0};
    ASSERT_EQ(poll(&ready, 1, 20'000), 1);
    char line[200] = {};
    ASSERT_GT(read(out_.get(), line, sizeof line - 1), 0);
    EXPECT_EQ(std::string(line), "ready " + directory_ + "\n");
  }
  int await_keeper() {
    int status = 0;
    for (int i = 0; i < 20'000; ++i) {
      if (waitpid(keeper_, &status, WNOHANG) == keeper_) {
        keeper_ = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      }
      usleep(1000);
    }
    return -2;
  }
  pid_t worker_pid() const {
    auto text = read_file(directory_ + ".pid", 100);
    return text.is_ok() ? std::atoi(text->c_str()) : 0;
  }
  bool is_mounted() const {
    return mount::find_mount(read_file("/proc/self/mountinfo", 1 << 20).value(), directory_)
        .has_value();
  }
  template <class Condition>
  bool await(Condition condition) {
    for (int i = 0; i < 10'000; ++i) {
      if (condition()) return true;
      usleep(1000);
    }
    return false;
  }

  std::string directory_;
  pid_t keeper_ = 0;
  UniqueFd out_;
};

TEST_F(KeeperTest, ReaderSeesNoErrorWhileWorkersAreKilled) {
  start("plain");
  await_ready();
  std::vector<pid_t> readers;
  for (int i = 0; i < 2; ++i) {
    pid_t child = fork();
    if (child == 0) _exit(read_all(directory_ + "/big"));
    readers.push_back(child);
  }
  int kills = 0;
  for (; kills < 5; ++kills) {
    usleep(30'000);
    pid_t before = worker_pid();
    ASSERT_GT(before, 0);
    kill(before, SIGKILL);
    ASSERT_TRUE(await([&] { return worker_pid() != before && worker_pid() > 0; }));
    ASSERT_EQ(waitpid(readers[0], nullptr, WNOHANG), 0) << "the reader ended before the kills did";
  }
  for (pid_t reader : readers) {
    int status = 0;
    waitpid(reader, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
  EXPECT_EQ(read_file(directory_ + ".kept", 100).value(), "precious");
  kill(keeper_, SIGTERM);
  EXPECT_EQ(await_keeper(), 0);
  EXPECT_FALSE(is_mounted());
}

TEST_F(KeeperTest, EndsInOrderWithSomebodyInTheMount) {
  start("plain");
  await_ready();
  pid_t stander = fork();
  if (stander == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(directory_.c_str()) != 0) _exit(1);
    pause();
  }
  std::string link = fmt::format("/proc/{}/cwd", stander);
  char target[200] = {};
  ASSERT_TRUE(await([&] {
    const ssize_t length = readlink(link.c_str(), target, sizeof target);
    return length > 0 && std::string_view(target, static_cast<size_t>(length)) == directory_;
  }));
  pid_t worker = worker_pid();
  kill(keeper_, SIGINT);
  EXPECT_EQ(await_keeper(), 0);
  EXPECT_FALSE(is_mounted());
  EXPECT_TRUE(is_gone(worker));
  kill(stander, SIGKILL);
  waitpid(stander, nullptr, 0);
}

TEST_F(KeeperTest, KilledKeeperTakesTheWorkerAlongAndTheNextStartCleansUp) {
  start("plain");
  await_ready();
  pid_t worker = worker_pid();
  kill(keeper_, SIGKILL);
  EXPECT_EQ(await_keeper(), -1);
  EXPECT_TRUE(await([&] { return is_gone(worker); }));
  EXPECT_TRUE(is_mounted());  // dead
  start("plain");
  await_ready();
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    struct stat info;
    _exit(stat((directory_ + "/big").c_str(), &info) == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  kill(keeper_, SIGTERM);
  EXPECT_EQ(await_keeper(), 0);
}

TEST_F(KeeperTest, GivesUpOnAWorkerThatKeepsDying) {
  start("crashes");
  await_ready();
  EXPECT_EQ(await_keeper(), 1);
  EXPECT_FALSE(is_mounted());
}

TEST_F(KeeperTest, WorkerThatNeverBeginsGivesItsExitCode) {
  start("fails");
  EXPECT_EQ(await_keeper(), 7);
  EXPECT_FALSE(is_mounted());
}

TEST_F(KeeperTest, UnmountedByHandIsAnOrderlyEnd) {
  start("plain");
  await_ready();
  ASSERT_EQ(umount2(directory_.c_str(), 0), 0);
  EXPECT_EQ(await_keeper(), 0);
}

TEST_F(KeeperTest, TellsTheServiceManager) {
  std::string path = directory_ + ".notify";
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
  start("plain");
  unsetenv("NOTIFY_SOCKET");
  await_ready();
  char text[300] = {};
  ASSERT_GT(recv(socket.get(), text, sizeof text - 1, 0), 0);
  EXPECT_EQ(std::string(text), "READY=1\nSTATUS=ready " + directory_ + "\n");
  kill(keeper_, SIGTERM);
  EXPECT_EQ(await_keeper(), 0);
}

TEST(KeeperLink, InheritanceRoundTripAndMalformed) {
  WorkerInheritance given;
  given.fuse_fds = {0, 1};
  given.state_fd = 2;
  given.handles_fd = 2;
  given.control_fd = 1;
  given.kept_fd = 0;
  given.is_take_over = true;
  EXPECT_EQ(given.encode(), "fuse=0,1;state=2;handles=2;control=1;kept=0;takeover=1");
  int saved[3] = {fcntl(0, F_GETFD), fcntl(1, F_GETFD), fcntl(2, F_GETFD)};
  auto taken = WorkerInheritance::adopt(given.encode());
  for (int fd = 0; fd < 3; ++fd) fcntl(fd, F_SETFD, saved[fd]);
  ASSERT_TRUE(taken.is_ok());
  EXPECT_EQ(taken->encode(), given.encode());
  for (const char* bad : {"", "fuse=1", "fuse=x;control=0;kept=0", "what=1;control=0;kept=0",
                          "control=0;kept", "control=0;kept=9999"}) {
    EXPECT_FALSE(WorkerInheritance::adopt(bad).is_ok()) << bad;
  }
}

TEST(KeeperLink, MessagesCarryDescriptors) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  UniqueFd one(pair[0]), other(pair[1]);
  UniqueFd file(memfd_create("x", MFD_CLOEXEC));
  ASSERT_TRUE(write_all(file.get(), as_bytes("abc")).is_ok());
  ASSERT_TRUE(send_link(one.get(), LinkKind::kKeep, 5, "", file.get()).is_ok());
  auto message = receive_link(other.get());
  ASSERT_TRUE(message.is_ok());
  EXPECT_EQ(message->id, 5u);
  char text[8] = {};
  EXPECT_EQ(pread(message->fd.get(), text, sizeof text, 0), 3);
  other.reset();
  EXPECT_TRUE(send_link(one.get(), LinkKind::kDone).is(Code::kUnavailable));
  EXPECT_TRUE(receive_link(one.get()).is(Code::kUnavailable));
}

}  // namespace
}  // namespace tarn::app

int main(int argc, char** argv) {
  std::string first = argc > 1 ? argv[1] : "";
  if (first == "--worker" && argc == 5) return tarn::app::run_worker(argv[2], argv[3], argv[4]);
  if (first == "--keeper" && argc == 4) return tarn::app::run_as_keeper(argv[2], argv[3]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
