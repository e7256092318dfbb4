// The dispatcher against hand-made requests over a socket that stands for /dev/fuse.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "mount/classic_channel.h"
#include "mount/dispatcher.h"
#include "mount/memory_fs.h"
#include "mount/notifier.h"
#include "mount/session.h"

namespace tarn::mount {
namespace {

using wire::Opcode;

template <class T>
std::string raw(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
std::string name(std::string_view text) {
  return std::string(text) + '\0';
}

struct Answer {
  int error = 0;
  uint64_t unique = 0;
  std::string body;
  template <class T>
  T as(size_t offset = 0) const {
    T value{};
    EXPECT_GE(body.size(), offset + sizeof value);
    if (body.size() >= offset + sizeof value) {
      std::memcpy(&value, body.data() + offset, sizeof value);
    }
    return value;
  }
};

/// The kernel's side of a session over a socket.
class DispatcherTest : public testing::Test {
 protected:
  void SetUp() override {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    kernel_.reset(pair[0]);
    int bytes = 4 << 20;
    for (int fd : pair) setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    shared_.emplace(SharedState::create().value());
    (*shared_)->negotiated.flags = wire::init::kSetxattrExt | wire::init::kHasResend;
    SessionOptions options;
    options.fds.emplace_back(pair[1]);
    options.pool_threads = 2;
    options.is_take_over = is_take_over_;
    session_ = Session::create(std::move(options), *shared_).value();
    ASSERT_TRUE(session_->start(fs_).is_ok());
  }
  void TearDown() override { session_.reset(); }

  void send(Opcode opcode, uint64_t node, const std::string& body, uint64_t unique,
            uint32_t pid = 0) {
    wire::InHeader header{};
    header.len = static_cast<uint32_t>(sizeof header + body.size());
    header.opcode = static_cast<uint32_t>(opcode);
    header.unique = unique;
    header.nodeid = node;
    header.uid = 1000;
    header.gid = 100;
    header.pid = pid;
    std::string message = raw(header) + body;
    ASSERT_EQ(::send(kernel_.get(), message.data(), message.size(), 0),
              static_cast<ssize_t>(message.size()));
  }
  Answer receive() {
    std::string buffer(2 << 20, '\0');
    pollfd ready{kernel_.get(), POLLIN, 0};
    Answer answer;
    if (poll(&ready, 1, 5000) <= 0) {
      ADD_FAILURE() << "no answer";
      return answer;
    }
    ssize_t got = recv(kernel_.get(), buffer.data(), buffer.size(), 0);
    wire::OutHeader header{};
    EXPECT_GE(got, ssize_t{sizeof header});
    std::memcpy(&header, buffer.data(), sizeof header);
    EXPECT_EQ(header.len, static_cast<uint32_t>(got));
    answer.error = -header.error;
    answer.unique = header.unique;
    answer.body = buffer.substr(sizeof header, static_cast<size_t>(got) - sizeof header);
    return answer;
  }
  Answer ask(Opcode opcode, uint64_t node, const std::string& body) {
    uint64_t unique = next_unique_ += 2;
    send(opcode, node, body, unique);
    Answer answer = receive();
    EXPECT_EQ(answer.unique, unique);
    return answer;
  }
  bool is_quiet(int ms = 50) {
    pollfd ready{kernel_.get(), POLLIN, 0};
    return poll(&ready, 1, ms) == 0;
  }
  struct File {
    uint64_t ino, fh;
  };
  File create(const std::string& file_name) {
    Answer answer = ask(Opcode::kCreate, 1,
                        raw(wire::CreateIn{O_RDWR, S_IFREG | 0640, 027, 0}) + name(file_name));
    EXPECT_EQ(answer.error, 0);
    return {answer.as<wire::EntryOut>().nodeid,
            answer.as<wire::OpenOut>(sizeof(wire::EntryOut)).fh};
  }

  bool is_take_over_ = false;
  MemoryFs fs_;
  UniqueFd kernel_;
  std::optional<SharedState> shared_;
  std::unique_ptr<Session> session_;
  uint64_t next_unique_ = 100;
};

TEST_F(DispatcherTest, NamesComeAndGo) {
  Answer made = ask(Opcode::kMkdir, 1, raw(wire::MkdirIn{0755, 022}) + name("dir"));
  ASSERT_EQ(made.error, 0);
  auto entry = made.as<wire::EntryOut>();
  EXPECT_EQ(entry.attr.uid, 1000u);
  EXPECT_EQ(entry.attr.mode, S_IFDIR | 0755u);
  EXPECT_EQ(made.body.size(), sizeof entry);
  EXPECT_EQ(ask(Opcode::kMkdir, 1, raw(wire::MkdirIn{0755, 022}) + name("dir")).error, EEXIST);
  EXPECT_EQ(ask(Opcode::kLookup, 1, name("dir")).as<wire::EntryOut>().nodeid, entry.nodeid);
  EXPECT_EQ(ask(Opcode::kMknod, entry.nodeid,
                raw(wire::MknodIn{S_IFIFO | 0600, 0, 022, 0}) + name("pipe"))
                .as<wire::EntryOut>()
                .attr.mode,
            S_IFIFO | 0600u);
  EXPECT_EQ(
      ask(Opcode::kSymlink, 1, name("link") + name("dir/pipe")).as<wire::EntryOut>().attr.mode,
      S_IFLNK | 0777u);
  uint64_t link_ino = ask(Opcode::kLookup, 1, name("link")).as<wire::EntryOut>().nodeid;
  EXPECT_EQ(ask(Opcode::kReadlink, link_ino, "").body, "dir/pipe");
  EXPECT_EQ(ask(Opcode::kRmdir, 1, name("dir")).error, ENOTEMPTY);
  EXPECT_EQ(
      ask(Opcode::kRename, entry.nodeid, raw(wire::RenameIn{1}) + name("pipe") + name("p")).error,
      0);
  EXPECT_EQ(ask(Opcode::kRename2, 1,
                raw(wire::Rename2In{1, RENAME_NOREPLACE, 0}) + name("p") + name("dir"))
                .error,
            EEXIST);
  EXPECT_EQ(ask(Opcode::kRename2, 1, raw(wire::Rename2In{1, 4, 0}) + name("p") + name("q")).error,
            EINVAL);
  EXPECT_EQ(ask(Opcode::kRmdir, 1, name("dir")).error, 0);
  EXPECT_EQ(ask(Opcode::kUnlink, 1, name("p")).error, 0);
  EXPECT_EQ(ask(Opcode::kUnlink, 1, name("p")).error, ENOENT);
}

TEST_F(DispatcherTest, AbsentNamesAreCached) {
  Answer absent = ask(Opcode::kLookup, 1, name("nothing"));
  EXPECT_EQ(absent.error, 0);
  EXPECT_EQ(absent.as<wire::EntryOut>().nodeid, 0u);
  EXPECT_EQ(absent.as<wire::EntryOut>().entry_valid, 86'400u);
}

TEST_F(DispatcherTest, FilesAreWrittenAndRead) {
  File file = create("a");
  std::string data(1 << 20, 'z');
  data[12345] = 'y';
  wire::WriteIn write{file.fh, 3, static_cast<uint32_t>(data.size()), 0, 0, 0, 0};
  EXPECT_EQ(ask(Opcode::kWrite, file.ino, raw(write) + data).as<wire::WriteOut>().size,
            data.size());
  EXPECT_EQ(ask(Opcode::kGetattr, file.ino, raw(wire::GetattrIn{})).as<wire::AttrOut>().attr.size,
            data.size() + 3);
  Answer read = ask(Opcode::kRead, file.ino, raw(wire::ReadIn{file.fh, 3, 1 << 20, 0, 0, 0, 0}));
  EXPECT_EQ(read.body, data);
  EXPECT_EQ(
      ask(Opcode::kRead, file.ino, raw(wire::ReadIn{file.fh, 4 << 20, 4096, 0, 0, 0, 0})).body, "");
  EXPECT_EQ(ask(Opcode::kRead, file.ino, raw(wire::ReadIn{999, 0, 4096, 0, 0, 0, 0})).error, EBADF);
  EXPECT_EQ(ask(Opcode::kLseek, file.ino, raw(wire::LseekIn{file.fh, 0, SEEK_HOLE, 0}))
                .as<wire::LseekOut>()
                .offset,
            data.size() + 3);
  wire::SetattrIn set{};
  set.valid = wire::fattr::kSize | wire::fattr::kFh;
  set.size = 5;
  set.fh = file.fh;
  EXPECT_EQ(ask(Opcode::kSetattr, file.ino, raw(set)).as<wire::AttrOut>().attr.size, 5u);
  EXPECT_EQ(
      ask(Opcode::kFallocate, file.ino, raw(wire::FallocateIn{file.fh, 0, 2 << 20, 0, 0})).error,
      0);
  EXPECT_EQ(ask(Opcode::kStatx, file.ino, raw(wire::StatxIn{})).as<wire::StatxOut>().stat.size,
            2u << 20);
  EXPECT_EQ(ask(Opcode::kFlush, file.ino, std::string(24, '\0')).error, ENOSYS);
  EXPECT_EQ(ask(Opcode::kFsync, file.ino, raw(wire::FsyncIn{file.fh, 1, 0})).error, 0);
  EXPECT_EQ(ask(Opcode::kRelease, file.ino, raw(wire::ReleaseIn{file.fh, 0, 0, 0})).error, 0);
  EXPECT_EQ(fs_.open_handles(), 0u);
  auto statistics = session_->report().requests;
  EXPECT_EQ(statistics.in_pool, 2u);  // fsync and the large fallocate
  EXPECT_GE(statistics.requests, 10u);
}

TEST_F(DispatcherTest, DirectoriesAreRead) {
  create("one");
  create("two");
  uint64_t fh = ask(Opcode::kOpendir, 1, raw(wire::OpenIn{})).as<wire::OpenOut>().fh;
  Answer plain = ask(Opcode::kReaddir, 1, raw(wire::ReadIn{fh, 0, 4096, 0, 0, 0, 0}));
  EXPECT_EQ(plain.body.size(), 4 * 32u);
  EXPECT_EQ(plain.body.substr(2 * 32 + 24, 3), "one");
  Answer second = ask(Opcode::kReaddir, 1, raw(wire::ReadIn{fh, 3, 4096, 0, 0, 0, 0}));
  EXPECT_EQ(second.body.size(), 32u);
  Answer plus = ask(Opcode::kReaddirplus, 1, raw(wire::ReadIn{fh, 2, 4096, 0, 0, 0, 0}));
  EXPECT_EQ(plus.body.size(), 2 * 160u);
  EXPECT_NE(plus.as<wire::EntryOut>().nodeid, 0u);
  EXPECT_EQ(ask(Opcode::kReaddir, 1, raw(wire::ReadIn{fh, 0, 40, 0, 0, 0, 0})).body.size(), 32u);
  EXPECT_EQ(ask(Opcode::kFsyncdir, 1, raw(wire::FsyncIn{fh, 0, 0})).error, 0);
  EXPECT_EQ(ask(Opcode::kReleasedir, 1, raw(wire::ReleaseIn{fh, 0, 0, 0})).error, 0);
}

TEST_F(DispatcherTest, ExtendedAttributes) {
  wire::SetxattrIn set{5, 0, 0, 0};
  EXPECT_EQ(ask(Opcode::kSetxattr, 1, raw(set) + name("user.x") + "value").error, 0);
  EXPECT_EQ(ask(Opcode::kGetxattr, 1, raw(wire::GetxattrIn{0, 0}) + name("user.x"))
                .as<wire::GetxattrOut>()
                .size,
            5u);
  EXPECT_EQ(ask(Opcode::kGetxattr, 1, raw(wire::GetxattrIn{100, 0}) + name("user.x")).body,
            "value");
  EXPECT_EQ(ask(Opcode::kGetxattr, 1, raw(wire::GetxattrIn{4, 0}) + name("user.x")).error, ERANGE);
  EXPECT_EQ(ask(Opcode::kGetxattr, 1, raw(wire::GetxattrIn{4, 0}) + name("user.tarn.md5")).error,
            ENODATA);
  EXPECT_EQ(ask(Opcode::kListxattr, 1, raw(wire::GetxattrIn{100, 0})).body, name("user.x"));
  EXPECT_EQ(ask(Opcode::kRemovexattr, 1, name("user.x")).error, 0);
  EXPECT_EQ(ask(Opcode::kRemovexattr, 1, name("user.x")).error, ENODATA);
  EXPECT_EQ(session_->report().requests.in_pool, 1u);  // the digest
}

TEST_F(DispatcherTest, AclByStrangerClearsSetGroupId) {
  File file = create("sgid");
  wire::SetattrIn set{};
  set.valid = wire::fattr::kMode;
  set.mode = 02755;
  ask(Opcode::kSetattr, file.ino, raw(set));
  wire::SetxattrIn in{1, 0, wire::kSetxattrAclKillSgid, 0};
  EXPECT_EQ(ask(Opcode::kSetxattr, file.ino, raw(in) + name("system.posix_acl_access") + "x").error,
            0);
  EXPECT_EQ(ask(Opcode::kGetattr, file.ino, raw(wire::GetattrIn{})).as<wire::AttrOut>().attr.mode,
            S_IFREG | 0755u);
}

TEST_F(DispatcherTest, WholeSystemAndUnknownOperations) {
  EXPECT_EQ(ask(Opcode::kStatfs, 1, "").as<wire::StatfsOut>().blocks, 1000u);
  EXPECT_EQ(ask(Opcode::kAccess, 1, raw(wire::AccessIn{4, 0})).error, 0);
  EXPECT_EQ(ask(static_cast<Opcode>(39), 1, "").error, ENOSYS);    // ioctl
  EXPECT_EQ(ask(static_cast<Opcode>(9999), 1, "").error, ENOSYS);  // of the future
  EXPECT_EQ(ask(Opcode::kLookup, 1, "no end").error, EINVAL);
  EXPECT_EQ(ask(Opcode::kRead, 1, "short").error, EINVAL);
  EXPECT_EQ(ask(Opcode::kDestroy, 1, "").error, 0);
}

TEST_F(DispatcherTest, ForgetsHaveNoAnswer) {
  send(Opcode::kForget, 5, raw(wire::ForgetIn{1}), 0);
  send(Opcode::kBatchForget, 0,
       raw(wire::BatchForgetIn{2, 0}) + raw(wire::ForgetOne{6, 1}) + raw(wire::ForgetOne{7, 2}), 0);
  EXPECT_TRUE(is_quiet());
  EXPECT_EQ(fs_.calls("forget"), 3u);
}

TEST_F(DispatcherTest, CopiesInTheKernelsTwoForms) {
  File source = create("source"), target = create("target");
  wire::WriteIn write{source.fh, 0, 10, 0, 0, 0, 0};
  ask(Opcode::kWrite, source.ino, raw(write) + "0123456789");
  wire::CopyFileRangeIn copy{source.fh, 2, target.ino, target.fh, 0, 5, 0};
  EXPECT_EQ(ask(Opcode::kCopyFileRange, source.ino, raw(copy)).as<wire::WriteOut>().size, 5u);
  copy.target_offset = 5;
  copy.length = 100;
  EXPECT_EQ(ask(Opcode::kCopyFileRange64, source.ino, raw(copy)).as<wire::CopyFileRangeOut>().bytes,
            8u);
  EXPECT_EQ(ask(Opcode::kRead, target.ino, raw(wire::ReadIn{target.fh, 0, 100, 0, 0, 0, 0})).body,
            "2345623456789");
}

TEST_F(DispatcherTest, ResentRequestsAreMarkedAndAnsweredUnderTheSameNumber) {
  send(Opcode::kUnlink, 1, name("x"), 500 | wire::kUniqueResend);
  EXPECT_EQ(receive().unique, 500 | wire::kUniqueResend);
  meta::Request request = fs_.last_request();
  EXPECT_TRUE(request.is_resent);
  EXPECT_EQ(request.unique, 500u);
  EXPECT_EQ(request.connection, (*shared_)->connection);
  ask(Opcode::kUnlink, 1, name("x"));
  EXPECT_FALSE(fs_.last_request().is_resent);
  EXPECT_EQ(session_->report().requests.resent, 1u);
}

TEST_F(DispatcherTest, OpenForWritingMakesCachedAttributesStale) {
  Ino ino = fs_.add_behind("old", "bytes");
  send(Opcode::kOpen, ino.value, raw(wire::OpenIn{O_RDWR, 0}), 600);
  Answer notice = receive();
  EXPECT_EQ(notice.unique, 0u);
  EXPECT_EQ(-notice.error, static_cast<int>(wire::Notify::kInvalidateInode));
  EXPECT_EQ(notice.as<wire::InvalidateInodeOut>().ino, ino.value);
  EXPECT_EQ(notice.as<wire::InvalidateInodeOut>().offset, -1);
  EXPECT_EQ(receive().unique, 600u);
  send(Opcode::kOpen, ino.value, raw(wire::OpenIn{O_RDONLY, 0}), 602);
  EXPECT_EQ(receive().unique, 602u);
}

class Gate {
 public:
  void wait() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return is_open_; });
  }
  void await_waiter() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }
  void open() {
    std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool is_open_ = false;
};

constexpr uint32_t kDeadPid = 0x3ffffff;  // above pid_max: such a caller is gone

TEST_F(DispatcherTest, SlowOperationsDoNotHoldTheQueueUp) {
  Gate gate;
  fs_.on("fsync", [&] { gate.wait(); });
  send(Opcode::kFsync, 1, raw(wire::FsyncIn{}), 700);
  gate.await_waiter();
  EXPECT_EQ(ask(Opcode::kStatfs, 1, "").error, 0);
  gate.open();
  EXPECT_EQ(receive().unique, 700u);
}

TEST_F(DispatcherTest, DyingCallerLeavesFsyncButALivingOneWaits) {
  Gate gate;
  fs_.on("fsync", [&] { gate.wait(); });
  send(Opcode::kFsync, 1, raw(wire::FsyncIn{}), 702, static_cast<uint32_t>(getpid()));
  gate.await_waiter();
  send(Opcode::kInterrupt, 0, raw(wire::InterruptIn{702}), 703);
  EXPECT_TRUE(is_quiet());
  send(Opcode::kFsync, 1, raw(wire::FsyncIn{}), 704, kDeadPid);
  while (fs_.calls("fsync") == 0 && session_->report().requests.in_pool < 2) usleep(1000);
  send(Opcode::kInterrupt, 0, raw(wire::InterruptIn{704}), 705);
  Answer left = receive();
  EXPECT_EQ(left.unique, 704u);
  EXPECT_EQ(left.error, EINTR);
  gate.open();
  Answer done = receive();
  EXPECT_EQ(done.unique, 702u);
  EXPECT_EQ(done.error, 0);
  EXPECT_TRUE(is_quiet());
}

TEST_F(DispatcherTest, RequestsThatWaitForThePoolAreDroppedByASignal) {
  Gate gate;
  fs_.on("fsync", [&] { gate.wait(); });
  for (uint64_t unique : {710u, 712u, 714u}) {  // two threads: the third waits
    send(Opcode::kFsync, 1, raw(wire::FsyncIn{}), unique, static_cast<uint32_t>(getpid()));
  }
  while (session_->report().requests.in_pool < 3) usleep(1000);
  gate.await_waiter();
  usleep(20'000);
  send(Opcode::kInterrupt, 0, raw(wire::InterruptIn{714}), 715);
  Answer dropped = receive();
  EXPECT_EQ(dropped.unique, 714u);
  EXPECT_EQ(dropped.error, EINTR);
  gate.open();
  receive();
  receive();
  EXPECT_TRUE(is_quiet());
  EXPECT_EQ(fs_.calls("fsync"), 2u);
}

TEST_F(DispatcherTest, InterruptThatOvertakesItsRequestCounts) {
  send(Opcode::kInterrupt, 0, raw(wire::InterruptIn{720}), 721);
  send(Opcode::kFsync, 1, raw(wire::FsyncIn{}), 720, kDeadPid);
  EXPECT_EQ(receive().error, EINTR);
}

TEST_F(DispatcherTest, AbandonedOpenGivesItsHandleBack) {
  Ino ino = fs_.add_behind("slow", "bytes");
  Gate gate;
  fs_.is_open_slow = true;
  fs_.on("open", [&] { gate.wait(); });
  send(Opcode::kOpen, ino.value, raw(wire::OpenIn{O_RDONLY, 0}), 730, kDeadPid);
  gate.await_waiter();
  send(Opcode::kInterrupt, 0, raw(wire::InterruptIn{730}), 731);
  EXPECT_EQ(receive().error, EINTR);
  gate.open();
  while (fs_.calls("release") == 0) usleep(1000);
  EXPECT_EQ(fs_.open_handles(), 0u);
}

TEST_F(DispatcherTest, CopyStopsEarlyWithWhatItHas) {
  File source = create("source"), target = create("target");
  fs_.replace_behind(Ino(source.ino), std::string(40 << 20, 'c'));
  Gate gate;
  fs_.on("copy", [&] { gate.wait(); });
  send(Opcode::kCopyFileRange, source.ino,
       raw(wire::CopyFileRangeIn{source.fh, 0, target.ino, target.fh, 0, 40 << 20, 0}), 740,
       static_cast<uint32_t>(getpid()));
  gate.await_waiter();
  send(Opcode::kInterrupt, 0, raw(wire::InterruptIn{740}), 741);
  while (session_->report().requests.interrupted == 0) usleep(1000);
  gate.open();
  Answer answer = receive();
  EXPECT_EQ(answer.error, 0);
  EXPECT_EQ(answer.as<wire::WriteOut>().size, 16u << 20);
}

TEST_F(DispatcherTest, RenameOverAFileRunsInThePool) {
  create("a");
  create("b");
  ask(Opcode::kRename, 1, raw(wire::RenameIn{1}) + name("a") + name("c"));
  EXPECT_EQ(session_->report().requests.in_pool, 0u);
  EXPECT_EQ(ask(Opcode::kRename, 1, raw(wire::RenameIn{1}) + name("c") + name("b")).error, 0);
  EXPECT_EQ(session_->report().requests.in_pool, 1u);
}

TEST_F(DispatcherTest, NotificationsHaveTheirGoldenBytesAndSkipOurOwn) {
  fs::Invalidator* invalidator = fs_.invalidator();
  ASSERT_NE(invalidator, nullptr);
  invalidator->invalidate_entry(Ino(3), "name", {});
  Answer entry = receive();
  EXPECT_EQ(entry.unique, 0u);
  EXPECT_EQ(-entry.error, 3);
  EXPECT_EQ(entry.body, std::string("\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0name\0", 21));
  invalidator->invalidate_inode(Ino(4), {});
  Answer inode = receive();
  EXPECT_EQ(-inode.error, 2);
  EXPECT_EQ(inode.body, std::string("\x04\0\0\0\0\0\0\0", 8) + std::string(16, '\0'));
  invalidator->invalidate_inode(Ino(4), {(*shared_)->connection, 9, false});
  EXPECT_TRUE(is_quiet());
  invalidator->invalidate_inode(Ino(4), {(*shared_)->connection + 1, 9, false});
  EXPECT_EQ(receive().unique, 0u);
}

TEST_F(DispatcherTest, AnsweringThreadsDoNotWaitForTheKernel) {
  fs_.on("read", [&] { fs_.invalidator()->invalidate_inode(Ino(4), {}); });
  File file = create("f");
  send(Opcode::kRead, file.ino, raw(wire::ReadIn{file.fh, 0, 10, 0, 0, 0, 0}), 800);
  uint64_t first = receive().unique, second = receive().unique;
  EXPECT_EQ(first + second, 800u);
}

TEST_F(DispatcherTest, StopAnswersWhatIsInHand) {
  Gate gate;
  fs_.on("fsync", [&] { gate.wait(); });
  send(Opcode::kFsync, 1, raw(wire::FsyncIn{}), 900);
  gate.await_waiter();
  std::thread stopper([&] { session_->stop(); });
  gate.open();
  EXPECT_EQ(receive().unique, 900u);
  stopper.join();
  EXPECT_EQ(fs_.invalidator(), nullptr);
}

TEST_F(DispatcherTest, EndOfTheConnectionIsSeen) {
  kernel_.reset();
  pollfd ended{session_->ended_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&ended, 1, 5000), 1);
}

class TakeOverTest : public DispatcherTest {
 protected:
  TakeOverTest() { is_take_over_ = true; }
};

TEST_F(TakeOverTest, AsksTheKernelToSendAgain) {
  std::string message(64, '\0');
  ssize_t got = recv(kernel_.get(), message.data(), message.size(), 0);
  EXPECT_EQ(message.substr(0, static_cast<size_t>(got)),
            std::string("\x10\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0", 16));
  EXPECT_EQ((*shared_)->worker_starts, 1u);
}

TEST(Interrupts, EndingProcessesAreTold) {
  EXPECT_FALSE(is_ending(static_cast<uint32_t>(getpid())));
  EXPECT_FALSE(is_ending(0));
  EXPECT_TRUE(is_ending(kDeadPid));
}

TEST(ClassicChannel, LimitsItsQueues) {
  EXPECT_TRUE(make_classic_channel({}).is(Code::kInvalidArgument));
}

TEST(Passthrough, SaysWhyItIsOff) {
  auto shared = SharedState::create().value();
  UniqueFd null(::open("/dev/null", O_RDWR));
  {
    Passthrough off(null.get(), *shared);
    EXPECT_FALSE(off.mode().is_on);
    EXPECT_TRUE(off.attach(null.get()).is(Code::kNotSupported));
  }
  shared->negotiated.flags = wire::init::kPassthrough;
  Passthrough refused(null.get(), *shared);  // no ioctl there: ENOTTY
  EXPECT_TRUE(refused.mode().is_on);
  EXPECT_TRUE(refused.attach(null.get()).is(Code::kNotSupported));
  EXPECT_FALSE(refused.mode().is_on);
  EXPECT_NE(refused.mode().reason.find("6.9"), std::string::npos);
}

TEST(Passthrough, ForgetsIdsThatNobodyAdopted) {
  auto shared = SharedState::create().value();
  shared->backing_ids[0] = 4;
  shared->backing_ids[9] = 5;
  UniqueFd null(::open("/dev/null", O_RDWR));
  Passthrough passthrough(null.get(), *shared);
  std::array<int32_t, 1> in_use{5};
  EXPECT_EQ(passthrough.close_others(in_use), 1u);
  EXPECT_EQ(shared->backing_ids[0], 0);
  EXPECT_EQ(shared->backing_ids[9], 5);
}

}  // namespace
}  // namespace tarn::mount
