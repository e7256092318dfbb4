// The command line itself: wrong usage, exit codes, what a worker is told.
#include "app/cli.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/credentials.h"
#include "app/root_setup.h"
#include "app/serve.h"

namespace tarn::app {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  int code = 0;
  std::string out, error;
};

Outcome run(std::vector<std::string> words) {
  words.insert(words.begin(), "tarn");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Outcome outcome;
  outcome.code = run_command_line(static_cast<int>(argv.size()), argv.data());
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.error = testing::internal::GetCapturedStderr();
  return outcome;
}

class Cli : public ::testing::Test {
 protected:
  void SetUp() override {
    unsetenv("TARN_ROOT");
    char folder[] = "/tmp/tarn-cli-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(Cli, WrongUsageIsTwoAndSaysWhat) {
  EXPECT_EQ(run({}).code, 2);
  EXPECT_THAT(run({"nonsense"}).error, HasSubstr("no command 'nonsense'"));
  EXPECT_EQ(run({"nonsense"}).code, 2);
  EXPECT_EQ(run({"status", "--nonsense"}).code, 2);
  EXPECT_THAT(run({"digest"}).error, HasSubstr("PATH"));
  EXPECT_EQ(run({"digest", "--crc64nvme", "--etag", "x"}).code, 2);
  EXPECT_EQ(run({"serve"}).code, 2);
  EXPECT_EQ(run({"digest", "/etc/passwd"}).code, 2);
  EXPECT_EQ(run({"init", folder_ + "/r", "--ballast", "much"}).code, 2);
  EXPECT_THAT(run({"init", folder_ + "/r", "--meta", "postgresql://x"}).error,
              HasSubstr("only 'rocksdb:'"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/r"));
}

TEST_F(Cli, NobodyToTalkToIsThree) {
  EXPECT_EQ(run({"status", folder_}).code, 3);
  EXPECT_EQ(run({"sync", folder_ + "/none"}).code, 3);
  EXPECT_EQ(run({"status"}).code, 3);
  EXPECT_EQ(run({"digest", "--root", folder_, "tarn:/x"}).code, 3);
}

TEST_F(Cli, HelpAndVersionAreDone) {
  const Outcome help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* name : {"init", "serve", "status", "doctor", "verify", "extract"})
    EXPECT_THAT(help.out, HasSubstr(name));
  EXPECT_THAT(help.out, Not(HasSubstr("worker")));
  EXPECT_THAT(run({"serve", "--help"}).out, HasSubstr("--no-passthrough"));
  EXPECT_THAT(run({"version"}).out, HasSubstr(TARN_VERSION));
}

TEST_F(Cli, ARootIsMadeOnceAndForItsOwnerAlone) {
  const std::string root = folder_ + "/a/root";
  ASSERT_EQ(run({"init", root, "--ballast", "1MiB"}).code, 0);
  struct stat info{};
  ASSERT_EQ(stat(root.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  EXPECT_EQ(read_credentials(root)->size(), 1u);
  EXPECT_EQ(inspect_root(root).value(), RootState::kTarn);
  EXPECT_EQ(run({"config", "check", root}).code, 0);
  const Outcome again = run({"init", root});
  EXPECT_EQ(again.code, 1);
  EXPECT_THAT(again.error, HasSubstr("Tarn root already"));
  EXPECT_THAT(run({"init", folder_}).error, HasSubstr("it holds 'a'"));
  EXPECT_EQ(inspect_root(folder_).value(), RootState::kForeign);
  EXPECT_EQ(inspect_root(folder_ + "/none").value(), RootState::kMissing);
}

TEST_F(Cli, OneServesARoot) {
  const auto lock = ServeLock::take(folder_);
  ASSERT_TRUE(lock.is_ok());
  const auto second = ServeLock::take(folder_);
  ASSERT_TRUE(second.is(Code::kBusy));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(getpid())));
}

TEST_F(Cli, PlainHttpOnOtherAddressesIsRefusedBeforeAnythingIsMade) {
  const Outcome outcome = run({"serve", folder_ + "/r", "--listen", "0.0.0.0:0"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("--insecure"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/r"));
}

TEST(WorkerSettings, SurviveTheWayToTheWorker) {
  Settings settings;
  settings.mount_directory = "/mnt/odd \xFF % name";
  settings.passthrough = false;
  settings.mount_threads = 7;
  settings.memtable_bytes = uint64_t{32} << 20;
  const auto back = decode_settings(encode_settings(settings));
  ASSERT_TRUE(back.is_ok()) << back.status().to_string();
  EXPECT_EQ(back->mount_directory, settings.mount_directory);
  EXPECT_FALSE(back->passthrough);
  EXPECT_EQ(back->mount_threads, 7u);
  EXPECT_EQ(back->memtable_bytes, settings.memtable_bytes);
  EXPECT_EQ(encode_settings(Settings()), "{}");
  EXPECT_FALSE(decode_settings("[]").is_ok());
  EXPECT_FALSE(decode_settings("{\"no.such\":\"1\"}").is_ok());
}

}  // namespace
}  // namespace tarn::app
