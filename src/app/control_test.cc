#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/control_client.h"
#include "app/control_server.h"

namespace tarn::app {
namespace {

using ::testing::HasSubstr;

TEST(ControlWire, NamesOfAnyBytesSurvive) {
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  for (const std::string& name :
       {all, std::string("plain"), std::string("100%"), std::string("\xC3\xA9t\xC3\xA9"),
        std::string("\xED\xA0\x80"), std::string("\xF0\x9F\x98\x80 \xF0\x9F"), std::string()}) {
    const std::string wire = to_wire(name);
    EXPECT_EQ(from_wire(wire).value(), name);
    EXPECT_NO_THROW((void)Json(wire).dump());
  }
  EXPECT_EQ(to_wire("\xC3\xA9t\xC3\xA9"), "\xC3\xA9t\xC3\xA9");
  EXPECT_EQ(to_wire("a\xFF"), "a%FF");
  EXPECT_FALSE(from_wire("a%F").is_ok());
  EXPECT_FALSE(from_wire("%zz").is_ok());
}

TEST(ControlWire, StatusKeepsItsCode) {
  const Status status(Code::kNotEmpty, "directory 'a' is not empty");
  const Status back = status_from_json(status_to_json(status));
  EXPECT_TRUE(back.is(Code::kNotEmpty));
  EXPECT_EQ(back.message(), status.message());
  EXPECT_TRUE(status_from_json({{"code", "Nonsense"}}).is(Code::kInternal));
}

TEST(ControlWire, FramesThatAreNoneAreRefused) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const UniqueFd writer(pair[0]);
  UniqueFd reader(pair[1]);
  ASSERT_TRUE(send_frame(writer.get(), {{"a", 1}}).is_ok());
  const auto good = receive_frame(reader.get());
  ASSERT_TRUE(good.is_ok());
  EXPECT_EQ(good->value().body.at("a"), 1);
  ASSERT_TRUE(write_all(writer.get(), as_bytes(std::string_view("\0\0\0\3{{{", 7))).is_ok());
  EXPECT_TRUE(receive_frame(reader.get()).is(Code::kBadFormat));
  ASSERT_TRUE(write_all(writer.get(), as_bytes("\xFF\xFF\xFF\xFF")).is_ok());
  EXPECT_TRUE(receive_frame(reader.get()).is(Code::kBadFormat));
  EXPECT_TRUE(send_frame(writer.get(), std::string(kFrameBytesMax, 'x')).is(Code::kFileTooLarge));
  shutdown(writer.get(), SHUT_WR);
  const auto end = receive_frame(reader.get());
  ASSERT_TRUE(end.is_ok());
  EXPECT_FALSE(end->has_value());
  reader.reset();
  EXPECT_TRUE(send_frame(writer.get(), {{"a", 1}}).is(Code::kUnavailable));
}

class ControlServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/tarn-control-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    root_ = folder;
  }
  void TearDown() override {
    if (server_ != nullptr) server_->stop();
    rmdir(root_.c_str());
  }
  void start(ControlHandlers handlers) {
    auto server = ControlServer::start(root_, std::move(handlers));
    ASSERT_TRUE(server.is_ok()) << server.status().to_string();
    server_ = std::move(server).value();
  }
  Result<Json> call(const std::string& command, Json arguments = Json::object(),
                    const ControlClient::Observer& observer = {}, int descriptor = -1) {
    TARN_ASSIGN(ControlClient client, ControlClient::connect(root_));
    return client.call(command, std::move(arguments), observer, descriptor);
  }

  std::string root_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, NobodyThereIsUnavailable) {
  EXPECT_TRUE(call("status").is(Code::kUnavailable));
  EXPECT_TRUE(ControlClient::connect(root_ + "/missing").status().is(Code::kUnavailable));
}

TEST_F(ControlServerTest, ASocketLeftBehindIsReplacedAndPrivate) {
  const UniqueFd stale(open((root_ + "/control.sock").c_str(), O_CREAT | O_WRONLY, 0644));
  start({{"ping", [](ControlCall&) { return Result<Json>(Json("pong")); }}});
  struct stat info{};
  ASSERT_EQ(stat((root_ + "/control.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(call("ping").value(), "pong");
  server_->stop();
  EXPECT_EQ(access((root_ + "/control.sock").c_str(), F_OK), -1);
}

TEST_F(ControlServerTest, ErrorsArriveAsTheyWere) {
  start({{"fail", [](ControlCall&) { return Result<Json>(Code::kNoSpace, "disk full"); }},
         {"wrong", [](ControlCall& c) { return Result<Json>(c.arguments().at("missing")); }}});
  const auto failed = call("fail");
  EXPECT_TRUE(failed.is(Code::kNoSpace));
  EXPECT_EQ(failed.status().message(), "disk full");
  EXPECT_TRUE(call("wrong").is(Code::kInvalidArgument));
  EXPECT_TRUE(call("unknown").is(Code::kNotImplemented));
}

TEST_F(ControlServerTest, TheCallTellsWhoAsksAndBringsItsDescriptor) {
  start({{"who", [](ControlCall& call_) -> Result<Json> {
            char text[8] = {};
            if (pread(call_.descriptor(), text, sizeof text - 1, 0) < 0) return last_errno("pread");
            return Json{{"uid", call_.peer().uid}, {"umask", call_.peer().umask}, {"text", text}};
          }}});
  const UniqueFd file(memfd_create("t", MFD_CLOEXEC));
  ASSERT_TRUE(write_all(file.get(), as_bytes("hello")).is_ok());
  const mode_t before = umask(031);
  const auto answer = call("who", Json::object(), {}, file.get());
  umask(before);
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->at("uid"), getuid());
  EXPECT_EQ(answer->at("umask"), 031);
  EXPECT_EQ(answer->at("text"), "hello");
}

TEST_F(ControlServerTest, ItemsAndProgressComeBeforeTheResult) {
  start({{"list", [](ControlCall& call_) -> Result<Json> {
            for (int i = 0; i < 3; ++i) TARN_TRY(call_.items(Json::array({i})));
            for (uint64_t i = 0; i < 1000; ++i) TARN_TRY(call_.progress(i, 1000));
            return Json(3);
          }}});
  int sum = 0, progresses = 0;
  const auto result =
      call("list", Json::object(),
           {.progress = [&](uint64_t, uint64_t total) { progresses += total == 1000 ? 1 : 0; },
            .items = [&](const Json& items) { sum += items.at(0).get<int>() + 1; }});
  EXPECT_EQ(result.value(), 3);
  EXPECT_EQ(sum, 6);
  EXPECT_GE(progresses, 1);
  EXPECT_LT(progresses, 100) << "progress is not rationed";
}

TEST_F(ControlServerTest, ManyCallersAtOnce) {
  start({{"echo", [](ControlCall& call_) { return Result<Json>(call_.arguments()); }}});
  std::atomic<int> good = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 40; ++t)
      threads.emplace_back([&, t] {
        auto client = ControlClient::connect(root_);
        if (!client.is_ok()) return;
        for (int i = 0; i < 20; ++i) {
          const auto answer = client->call("echo", {{"n", t * 100 + i}});
          if (answer.is_ok() && answer->at("n") == t * 100 + i) ++good;
        }
      });
  }
  EXPECT_EQ(good, 800);
}

TEST_F(ControlServerTest, WorkIsCancelledWhenTheCallerLeavesAndWhenTheServerStops) {
  std::atomic<int> begun = 0, cancelled = 0;
  start({{"wait", [&](ControlCall& call_) -> Result<Json> {
            ++begun;
            while (!call_.is_cancelled()) usleep(1000);
            ++cancelled;
            return Status(Code::kInterrupted, "stopped");
          }}});
  const auto wait_for = [](const std::atomic<int>& value, int wanted) {
    for (int i = 0; i < 5000 && value < wanted; ++i) usleep(1000);
    return value.load();
  };
  const pid_t child = fork();
  if (child == 0) {
    (void)call("wait").is_ok();
    _exit(0);
  }
  ASSERT_EQ(wait_for(begun, 1), 1);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(wait_for(cancelled, 1), 1);
  std::jthread caller([&] { EXPECT_FALSE(call("wait").is_ok()); });
  ASSERT_EQ(wait_for(begun, 2), 2);
  server_->stop();
  EXPECT_EQ(cancelled, 2);
}

}  // namespace
}  // namespace tarn::app
