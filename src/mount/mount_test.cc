// Real mounts of the test file system. Needs root and /dev/fuse; says so when it skips.
//
// The system calls on a mount are made by forked processes with an alarm, never by the process that
// must answer them: a fault of the mount then fails a test and does not hang it.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "mount/memory_fs.h"
#include "mount/mount_point.h"
#include "mount/session.h"

namespace tarn::mount {
namespace {

#define REQUIRE(condition)                                                                 \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      return fmt::format("line {}: {} (errno {})", __LINE__, #condition, strerror(errno)); \
    }                                                                                      \
  } while (false)

/// Runs `body` in a process of its own for at most 20 s; returns what it returned ("" is good).
std::string in_process(const std::function<std::string()>& body) {
  int pipe_fds[2];
  if (pipe(pipe_fds) != 0) return "pipe";
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    std::string text = body();
    [[maybe_unused]] ssize_t written = write(pipe_fds[1], text.data(), text.size());
    _exit(0);
  }
  close(pipe_fds[1]);
  std::string text;
  char buffer[512];
  for (ssize_t got; (got = read(pipe_fds[0], buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  close(pipe_fds[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status)) text += fmt::format(" (ended by signal {})", WTERMSIG(status));
  return text;
}

bool can_mount() {
  return geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0;
}

class LiveMountTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_mount()) GTEST_SKIP() << "needs root and /dev/fuse: real mounts are not tested";
    char name[] = "/tmp/tarn-mount-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    open_mount({});
  }
  void open_mount(MountOptions options) {
    options.directory = directory_;
    auto mounted = MountPoint::mount(options);
    ASSERT_TRUE(mounted.is_ok()) << mounted.status().to_string();
    mount_.emplace(std::move(mounted).value());
    shared_.emplace(SharedState::create().value());
    auto negotiated = negotiate(mount_->fd(), {});
    ASSERT_TRUE(negotiated.is_ok()) << negotiated.status().to_string();
    (*shared_)->negotiated = *negotiated;
    SessionOptions session_options;
    for (int i = 0; i < 3; ++i) {
      auto clone = clone_device(mount_->fd());
      ASSERT_TRUE(clone.is_ok()) << clone.status().to_string();
      session_options.fds.push_back(std::move(clone).value());
    }
    auto session = Session::create(std::move(session_options), *shared_);
    ASSERT_TRUE(session.is_ok());
    session_ = std::move(session).value();
    ASSERT_TRUE(session_->start(fs_).is_ok());
  }
  void TearDown() override {
    if (mount_) {
      auto result = mount_->unmount();
      EXPECT_TRUE(result.is_ok()) << result.status().to_string();
    }
    if (session_) session_->stop();
    fs_.drop_backings();  // they detach from the session's attacher
    session_.reset();
    mount_.reset();
    if (!directory_.empty()) rmdir(directory_.c_str());
    for (const std::string& file : files_) unlink(file.c_str());
  }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  /// A backing file on the local disk, served by passthrough as `name`.
  Ino add_backed(const std::string& name) {
    std::string file = directory_ + ".backing." + name;
    files_.push_back(file);
    UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    return fs_.add_backed(
        name, std::make_shared<MemoryLocalFile>(std::move(fd), &session_->passthrough()));
  }

  std::string directory_;
  std::vector<std::string> files_;
  std::optional<MountPoint> mount_;
  std::optional<SharedState> shared_;
  std::unique_ptr<Session> session_;
  MemoryFs fs_;
};

TEST_F(LiveMountTest, NegotiatesWhatThisKernelHas) {
  const Negotiated& n = session_->negotiated();
  EXPECT_GE(n.minor, wire::kMinorMin);
  EXPECT_TRUE(n.has(wire::init::kMaxPages)) << flag_names(n.offered);
  EXPECT_TRUE(n.has(wire::init::kHasResend)) << flag_names(n.offered);
  RecordProperty("negotiated", describe(n));
}

TEST_F(LiveMountTest, OrdinaryFilesAndDirectories) {
  EXPECT_EQ(
      in_process([&]() -> std::string {
        std::string data(300'000, 'a');
        data[77'777] = 'b';
        int fd = ::open(path("file").c_str(), O_RDWR | O_CREAT | O_EXCL, 0640);
        REQUIRE(fd >= 0);
        REQUIRE(write(fd, data.data(), data.size()) == static_cast<ssize_t>(data.size()));
        struct stat info;
        REQUIRE(fstat(fd, &info) == 0 && info.st_size == 300'000);
        std::string back(400'000, '\0');
        REQUIRE(pread(fd, back.data(), back.size(), 0) == 300'000);
        REQUIRE(back.substr(0, data.size()) == data);
        REQUIRE(fsync(fd) == 0);
        REQUIRE(ftruncate(fd, 10) == 0);
        REQUIRE(lseek(fd, 0, SEEK_END) == 10);
        REQUIRE(lseek(fd, 3, SEEK_HOLE) == 10);
        REQUIRE(flock(fd, LOCK_EX | LOCK_NB) == 0);
        REQUIRE(close(fd) == 0);
        REQUIRE(mkdir(path("dir").c_str(), 0755) == 0);
        REQUIRE(mkdir(path("dir").c_str(), 0755) < 0 && errno == EEXIST);
        REQUIRE(rename(path("file").c_str(), path("dir/moved").c_str()) == 0);
        REQUIRE(renameat2(AT_FDCWD, path("dir/moved").c_str(), AT_FDCWD, path("dir").c_str(),
                          RENAME_NOREPLACE) < 0 &&
                errno == EEXIST);
        REQUIRE(stat(path("file").c_str(), &info) < 0 && errno == ENOENT);
        REQUIRE(link(path("dir/moved").c_str(), path("hard").c_str()) == 0);
        REQUIRE(stat(path("hard").c_str(), &info) == 0 && info.st_nlink == 2);
        REQUIRE(symlink("hard", path("soft").c_str()) == 0);
        char target[16] = {};
        REQUIRE(readlink(path("soft").c_str(), target, sizeof target) == 4);
        REQUIRE(stat(path("soft").c_str(), &info) == 0 && info.st_size == 10);
        REQUIRE(mknod(path("pipe").c_str(), S_IFIFO | 0600, 0) == 0);
        REQUIRE(setxattr(path("hard").c_str(), "user.k", "v", 1, 0) == 0);
        char value[8];
        REQUIRE(getxattr(path("hard").c_str(), "user.k", value, sizeof value) == 1);
        REQUIRE(removexattr(path("hard").c_str(), "user.k") == 0);
        REQUIRE(chmod(path("hard").c_str(), 0600) == 0);
        struct statx extended;
        REQUIRE(statx(AT_FDCWD, path("hard").c_str(), 0, STATX_BASIC_STATS | STATX_BTIME,
                      &extended) == 0);
        REQUIRE((extended.stx_mask & STATX_BTIME) != 0 && extended.stx_mode == (S_IFREG | 0600));
        DIR* listing = opendir(directory_.c_str());
        REQUIRE(listing != nullptr);
        std::string names;
        while (dirent* entry = readdir(listing)) names += std::string(entry->d_name) + ",";
        closedir(listing);
        REQUIRE(names == ".,..,dir,hard,pipe,soft,");
        REQUIRE(rmdir(path("dir").c_str()) < 0 && errno == ENOTEMPTY);
        for (const char* name : {"dir/moved", "hard", "soft", "pipe"}) {
          REQUIRE(unlink(path(name).c_str()) == 0);
        }
        REQUIRE(rmdir(path("dir").c_str()) == 0);
        struct statfs whole;
        REQUIRE(statfs(directory_.c_str(), &whole) == 0 && whole.f_blocks == 1000);
        return {};
      }),
      "");
}

TEST_F(LiveMountTest, UnnamedFilesCopiesAndUnlinkedFiles) {
  EXPECT_EQ(in_process([&]() -> std::string {
              int fd = ::open(directory_.c_str(), O_TMPFILE | O_RDWR, 0600);
              REQUIRE(fd >= 0);
              REQUIRE(write(fd, "0123456789", 10) == 10);
              int other = ::open(path("copy").c_str(), O_RDWR | O_CREAT, 0600);
              REQUIRE(other >= 0);
              loff_t from = 2, to = 0;
              REQUIRE(copy_file_range(fd, &from, other, &to, 5, 0) == 5);
              char text[8] = {};
              REQUIRE(pread(other, text, sizeof text, 0) == 5 && std::string(text) == "23456");
              REQUIRE(unlink(path("copy").c_str()) == 0);
              struct stat info;
              REQUIRE(fstat(other, &info) == 0 && info.st_nlink == 0);
              REQUIRE(pread(other, text, sizeof text, 0) == 5);
              REQUIRE(fallocate(other, 0, 0, 4 << 20) == 0);
              REQUIRE(fstat(other, &info) == 0 && info.st_size == 4 << 20);
              return {};
            }),
            "");
}

TEST_F(LiveMountTest, DfAndMountShowTarn) {
  std::string text = read_file("/proc/self/mountinfo", 1 << 20).value();
  auto entry = find_mount(text, directory_);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->source, "tarn");
  EXPECT_EQ(entry->type, "fuse.tarn");
  ASSERT_TRUE(mount_->set_read_ahead(8192).is_ok());
  EXPECT_EQ(
      read_file(fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", entry->major, entry->minor), 100)
          .value(),
      "8192\n");
}

TEST_F(LiveMountTest, AbsentNamesAreRememberedUntilToldOtherwise) {
  EXPECT_EQ(in_process([&]() -> std::string {
              struct stat info;
              REQUIRE(stat(path("late").c_str(), &info) < 0 && errno == ENOENT);
              REQUIRE(stat(path("late").c_str(), &info) < 0 && errno == ENOENT);
              return {};
            }),
            "");
  EXPECT_EQ(fs_.calls("lookup"), 1u);
  fs_.add_behind("late", "here");
  fs_.invalidator()->invalidate_entry(kRootIno, "late", {});
  EXPECT_EQ(in_process([&]() -> std::string {
              struct stat info;
              REQUIRE(stat(path("late").c_str(), &info) == 0 && info.st_size == 4);
              return {};
            }),
            "");
}

TEST_F(LiveMountTest, ChangedBytesAndAttributesAreSeenAfterInvalidation) {
  Ino ino = fs_.add_behind("page", "old bytes");
  auto read_it = [&](const std::string& expected) {
    return in_process([&]() -> std::string {
      int fd = ::open(path("page").c_str(), O_RDONLY);
      REQUIRE(fd >= 0);
      char text[32] = {};
      REQUIRE(pread(fd, text, sizeof text, 0) == static_cast<ssize_t>(expected.size()));
      REQUIRE(text == expected);
      struct stat info;
      REQUIRE(fstat(fd, &info) == 0 && info.st_size == static_cast<off_t>(expected.size()));
      return {};
    });
  };
  EXPECT_EQ(read_it("old bytes"), "");
  auto stat_it = [&](off_t expected) {
    return in_process([&]() -> std::string {
      struct stat info;
      REQUIRE(stat(path("page").c_str(), &info) == 0 && info.st_size == expected);
      return {};
    });
  };
  EXPECT_EQ(stat_it(9), "");
  uint64_t getattrs = fs_.calls("getattr"), reads = fs_.calls("read");
  EXPECT_EQ(stat_it(9), "");
  EXPECT_EQ(fs_.calls("getattr"), getattrs);  // believed
  fs_.replace_behind(ino, "new and longer");
  fs_.invalidator()->invalidate_inode(ino, {});
  EXPECT_EQ(stat_it(14), "");
  EXPECT_EQ(read_it("new and longer"), "");
  EXPECT_GT(fs_.calls("read"), reads);
}

TEST_F(LiveMountTest, PassthroughReadsAndWritesSkipTheDaemon) {
  add_backed("direct");
  EXPECT_EQ(
      in_process([&]() -> std::string {
        int fd = ::open(path("direct").c_str(), O_RDWR);
        REQUIRE(fd >= 0);
        int second = ::open(path("direct").c_str(), O_RDONLY);  // the same backing id again
        REQUIRE(second >= 0);
        std::string data(8 << 20, 'p');
        for (size_t i = 0; i < data.size(); i += 4096) data[i] = static_cast<char>(i >> 12);
        REQUIRE(write(fd, data.data(), data.size()) == static_cast<ssize_t>(data.size()));
        std::string back(data.size(), '\0');
        REQUIRE(pread(second, back.data(), back.size(), 0) == static_cast<ssize_t>(back.size()));
        REQUIRE(back == data);
        void* map = mmap(nullptr, data.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        REQUIRE(map != MAP_FAILED);
        REQUIRE(memcmp(map, data.data(), data.size()) == 0);
        static_cast<char*>(map)[5] = '!';
        char byte = 0;
        REQUIRE(pread(second, &byte, 1, 5) == 1 && byte == '!');
        REQUIRE(munmap(map, data.size()) == 0);
        REQUIRE(ftruncate(fd, 100) == 0);
        REQUIRE(lseek(second, 0, SEEK_END) == 100);
        int append = ::open(path("direct").c_str(), O_WRONLY | O_APPEND);
        REQUIRE(append >= 0 && write(append, "tail", 4) == 4);
        struct stat info;
        REQUIRE(stat(path("direct").c_str(), &info) == 0 && info.st_size == 104);
        return {};
      }),
      "");
  if (session_->passthrough().mode().is_on) {
    EXPECT_EQ(fs_.calls("read"), 0u);
    EXPECT_EQ(fs_.calls("write"), 0u);
  } else {
    ADD_FAILURE() << "passthrough is off: " << session_->passthrough().mode().reason;
  }
}

TEST_F(LiveMountTest, StatOfAnotherProcessIsRightWhileAWriterIsOpen) {
  add_backed("growing");
  int to_writer[2], from_writer[2];
  ASSERT_EQ(pipe(to_writer) | pipe(from_writer), 0);
  std::thread writer([&] {
    EXPECT_EQ(in_process([&]() -> std::string {
                int fd = ::open(path("growing").c_str(), O_RDWR);
                REQUIRE(fd >= 0);
                char go = 0;
                for (int i = 1; i <= 5; ++i) {
                  REQUIRE(write(fd, std::string(1000, 'x').data(), 1000) == 1000);
                  REQUIRE(write(from_writer[1], "w", 1) == 1);
                  REQUIRE(read(to_writer[0], &go, 1) == 1);
                }
                void* map = mmap(nullptr, 5000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                REQUIRE(map != MAP_FAILED);
                struct timespec a_while = {0, 30'000'000};
                nanosleep(&a_while, nullptr);
                static_cast<char*>(map)[0] = 'm';  // a write that no system call announces
                REQUIRE(write(from_writer[1], "m", 1) == 1);
                REQUIRE(read(to_writer[0], &go, 1) == 1);
                return {};
              }),
              "");
  });
  int64_t mtime_before = 0;
  for (int i = 1; i <= 6; ++i) {
    char what = 0;
    pollfd ready{from_writer[0], POLLIN, 0};
    ASSERT_EQ(poll(&ready, 1, 20'000), 1);
    ASSERT_EQ(read(from_writer[0], &what, 1), 1);
    int out[2];
    ASSERT_EQ(pipe(out), 0);
    EXPECT_EQ(in_process([&]() -> std::string {
                struct stat info;
                REQUIRE(stat(path("growing").c_str(), &info) == 0);
                REQUIRE(info.st_size == std::min(i, 5) * 1000);
                int64_t mtime = from_timespec(info.st_mtim);
                REQUIRE(write(out[1], &mtime, sizeof mtime) == sizeof mtime);
                return {};
              }),
              "");
    int64_t mtime = 0;
    ASSERT_EQ(read(out[0], &mtime, sizeof mtime), ssize_t{sizeof mtime});
    if (what == 'm') {
      EXPECT_GT(mtime, mtime_before);
    }
    mtime_before = mtime;
    close(out[0]);
    close(out[1]);
    ASSERT_EQ(write(to_writer[1], "g", 1), 1);
  }
  writer.join();
  for (int fd : {to_writer[0], to_writer[1], from_writer[0], from_writer[1]}) close(fd);
}

TEST_F(LiveMountTest, WriteThroughAMappingMovesATimeThatWasCached) {
  add_backed("mapped");
  EXPECT_EQ(in_process([&]() -> std::string {
              int fd = ::open(path("mapped").c_str(), O_RDWR);
              REQUIRE(fd >= 0 && ftruncate(fd, 4096) == 0 && close(fd) == 0);
              return {};
            }),
            "");
  fs_.settle("mapped");
  fs_.invalidator()->invalidate_inode(Ino(2), {});
  EXPECT_EQ(in_process([&]() -> std::string {
              struct stat before, after;
              REQUIRE(stat(path("mapped").c_str(), &before) == 0);
              int fd = ::open(path("mapped").c_str(), O_RDWR);
              REQUIRE(fd >= 0);
              void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
              REQUIRE(map != MAP_FAILED);
              timespec a_while = {0, 30'000'000};
              nanosleep(&a_while, nullptr);
              static_cast<char*>(map)[0] = 'm';
              REQUIRE(stat(path("mapped").c_str(), &after) == 0);
              REQUIRE(from_timespec(after.st_mtim) > from_timespec(before.st_mtim));
              return {};
            }),
            "");
}

TEST_F(LiveMountTest, WriteByAnOrdinaryUserClearsSetUserId) {
  add_backed("suid");
  EXPECT_EQ(in_process([&]() -> std::string {
              REQUIRE(chmod(path("suid").c_str(), 04777) == 0);
              REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
              int fd = ::open(path("suid").c_str(), O_WRONLY);
              REQUIRE(fd >= 0);
              REQUIRE(write(fd, "x", 1) == 1);
              struct stat info;
              REQUIRE(fstat(fd, &info) == 0);
              REQUIRE((info.st_mode & 07777) == 0777);
              return {};
            }),
            "");
}

TEST_F(LiveMountTest, PermissionsAreTheKernels) {
  fs_.add_behind("private", "secret");
  EXPECT_EQ(in_process([&]() -> std::string {
              REQUIRE(chmod(path("private").c_str(), 0600) == 0);
              REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
              REQUIRE(::open(path("private").c_str(), O_RDONLY) < 0 && errno == EACCES);
              REQUIRE(mkdir(path("no").c_str(), 0755) < 0 && errno == EACCES);
              return {};
            }),
            "");
}

TEST_F(LiveMountTest, KilledProcessLeavesASlowFsyncAtOnce) {
  std::atomic<bool> may_end{false};
  std::atomic<int> waiting{0};
  fs_.on("fsync", [&] {
    ++waiting;
    for (int i = 0; i < 10'000 && !may_end; ++i) usleep(1000);
  });
  pid_t child = fork();
  if (child == 0) {
    int fd = ::open(path("f").c_str(), O_RDWR | O_CREAT, 0600);
    _exit(fsync(fd) == 0 ? 0 : 1);
  }
  while (waiting == 0) usleep(1000);
  kill(child, SIGTERM);
  int status = 0;
  pid_t ended = 0;
  for (int i = 0; i < 3000 && ended == 0; ++i) {
    ended = waitpid(child, &status, WNOHANG);
    usleep(1000);
  }
  EXPECT_EQ(ended, child);
  EXPECT_TRUE(WIFSIGNALED(status));
  may_end = true;
  if (ended == 0) waitpid(child, &status, 0);
}

TEST_F(LiveMountTest, ManyProcessesAtOnce) {
  fs_.add_generated("big", 32 << 20);
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      EXPECT_EQ(
          in_process([&]() -> std::string {
            int fd = ::open(path("big").c_str(), O_RDONLY);
            REQUIRE(fd >= 0);
            std::string part(200'000, '\0');
            for (int i = 0; i < 50; ++i) {
              off_t at = (off_t{c} * 7919 + off_t{i} * 104'729) * 631 % (31 << 20);
              REQUIRE(pread(fd, part.data(), part.size(), at) == static_cast<ssize_t>(part.size()));
              for (size_t k = 0; k < part.size(); k += 997) {
                REQUIRE(static_cast<std::byte>(part[k]) ==
                        generated_byte(static_cast<uint64_t>(at) + k));
              }
              std::string own = path(fmt::format("own-{}-{}", c, i));
              int mine = ::open(own.c_str(), O_RDWR | O_CREAT, 0600);
              REQUIRE(mine >= 0 && write(mine, "x", 1) == 1 && close(mine) == 0);
              REQUIRE(unlink(own.c_str()) == 0);
            }
            return {};
          }),
          "");
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GE(session_->report().requests.requests, 200u);
}

TEST_F(LiveMountTest, InvalidationsAndWriteOpensDoNotBlockEachOther) {
  std::vector<Ino> inos;
  for (int i = 0; i < 8; ++i) inos.push_back(fs_.add_behind(fmt::format("f{}", i), "bytes"));
  std::atomic<bool> is_over{false};
  std::atomic<uint64_t> sent{0};
  std::vector<std::thread> others;
  for (int t = 0; t < 2; ++t) {
    others.emplace_back([&, t] {
      for (uint64_t i = static_cast<uint64_t>(t); !is_over; ++i) {
        fs_.invalidator()->invalidate_entry(kRootIno, fmt::format("f{}", i % 8), {});
        fs_.invalidator()->invalidate_inode(inos[i % 8], {});
        ++sent;
      }
    });
  }
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      std::string result = in_process([&]() -> std::string {
        for (int i = 0; i < 60; ++i) {
          std::string file = path(fmt::format("f{}", (i + c) % 8));
          int fd = ::open(file.c_str(), O_RDWR);
          REQUIRE(fd >= 0);
          char text[8];
          REQUIRE(pread(fd, text, sizeof text, 0) == 5);
          struct stat info;
          REQUIRE(stat(file.c_str(), &info) == 0);
          close(fd);
          std::string own = path(fmt::format("own-{}", c));
          int mine = ::open(own.c_str(), O_RDWR | O_CREAT, 0600);
          REQUIRE(mine >= 0 && close(mine) == 0);
          REQUIRE(rename(own.c_str(), path(fmt::format("other-{}", c)).c_str()) == 0);
        }
        return {};
      });
      EXPECT_EQ(result, "");
    });
  }
  for (std::thread& client : clients) client.join();
  is_over = true;
  for (std::thread& other : others) other.join();
  EXPECT_GT(sent, 0u);
}

TEST_F(LiveMountTest, UnmountsWhileSomebodyStandsInIt) {
  int hold[2];
  ASSERT_EQ(pipe(hold), 0);
  pid_t stander = fork();
  if (stander == 0) {
    close(hold[1]);
    if (chdir(directory_.c_str()) != 0) _exit(1);
    char byte;
    _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
  }
  std::string cwd = fmt::format("/proc/{}/cwd", stander);
  char target[256] = {};
  for (int i = 0; i < 2000; ++i) {
    ssize_t got = readlink(cwd.c_str(), target, sizeof target - 1);
    if (got > 0 && std::string(target, static_cast<size_t>(got)) == directory_) break;
    usleep(1000);
  }
  EXPECT_EQ(mount_->unmount().value(), MountPoint::Unmounted::kDetached);
  EXPECT_FALSE(find_mount(read_file("/proc/self/mountinfo", 1 << 20).value(), directory_));
  EXPECT_EQ(mount_->unmount().value(), MountPoint::Unmounted::kNotThere);
  close(hold[0]);
  close(hold[1]);
  int status = 0;
  waitpid(stander, &status, 0);
  EXPECT_EQ(status, 0);
  mount_.reset();
}

TEST_F(LiveMountTest, SeesThatItWasUnmounted) {
  ASSERT_EQ(umount2(directory_.c_str(), 0), 0);
  pollfd ended{session_->ended_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&ended, 1, 5000), 1);
}

TEST_F(LiveMountTest, LiveMountIsNotDetached) {
  MountOptions options;
  options.directory = directory_;
  auto second = MountPoint::mount(options);
  EXPECT_TRUE(second.is(Code::kBusy)) << second.status().to_string();
}

class DeadMountTest : public testing::Test {};

TEST_F(DeadMountTest, IsDetachedAtTheNextStart) {
  if (!can_mount()) GTEST_SKIP() << "needs root and /dev/fuse: dead mounts are not tested";
  char name[] = "/tmp/tarn-dead-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  std::string directory = name;
  EXPECT_EQ(in_process([&]() -> std::string {
              MountOptions options;
              options.directory = directory;
              auto mounted = MountPoint::mount(options);
              REQUIRE(mounted.is_ok());
              REQUIRE(negotiate(mounted->fd(), {}).is_ok());
              return {};  // and dies with it
            }),
            "");
  EXPECT_TRUE(find_mount(read_file("/proc/self/mountinfo", 1 << 20).value(), directory));
  EXPECT_TRUE(detach_dead_mounts(directory).value());
  EXPECT_FALSE(find_mount(read_file("/proc/self/mountinfo", 1 << 20).value(), directory));
  EXPECT_FALSE(detach_dead_mounts(directory).value());
  rmdir(name);
}

class HelperMountTest : public LiveMountTest {
 protected:
  void SetUp() override {
    if (!can_mount() || system("command -v fusermount3 >/dev/null") != 0) {
      GTEST_SKIP() << "needs root, /dev/fuse and fusermount3: mounting by helper is not tested";
    }
    char name[] = "/tmp/tarn-helper-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    MountOptions options;
    options.use_helper = true;
    open_mount(options);
  }
};

TEST_F(HelperMountTest, WorksAsTheDirectOne) {
  EXPECT_EQ(in_process([&]() -> std::string {
              int fd = ::open(path("file").c_str(), O_RDWR | O_CREAT, 0600);
              REQUIRE(fd >= 0 && write(fd, "x", 1) == 1);
              return {};
            }),
            "");
  EXPECT_EQ(find_mount(read_file("/proc/self/mountinfo", 1 << 20).value(), directory_)->source,
            "tarn");
}

}  // namespace
}  // namespace tarn::mount
