// Records of the registry: the state machine, what a row keeps, races, restarts.
#include "registry/registry.h"

#include <filesystem>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tarn::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::optional<std::string> no_merge(std::string_view, std::optional<std::string_view>,
                                    const std::vector<std::string_view>&) {
  return std::nullopt;
}

TrainingJob full_job(std::string name) {
  TrainingJob job;
  job.name = std::move(name);
  job.request = R"({"TrainingJobName":"a"})";
  job.tags = {{"team", "vision"}};
  job.owner = {"TARNKEY", 1000, 1001, {27, 44}, 027};
  job.image = "repo/image:1";
  job.entrypoint = {"/bin/sh"};
  job.arguments = {"-c", "true"};
  job.hyperparameters = {{"epochs", "2"}, {"name", "\"x\""}};
  job.environment = {{"A", "b"}};
  job.channels = {{"train", ChannelKind::kFileSystemReadWrite, InputMode::kFastFile, "b", "p",
                   "text/csv", "FullyReplicated", "RecordIO", "s3://b/p"}};
  job.output_uri = "s3://b/out";
  job.instance_type = "ml.m5.large";
  job.runtime_seconds_max = 77;
  job.report.channels = {{"train", "bind", 1, 2, 3}};
  job.report.stages = {{"prepare", 5}};
  job.report.notes = {"note"};
  begin(job, 1000, "starting");
  return job;
}

TEST(TrainingJobStates, TheUsualWayClosesEachTransition) {
  TrainingJob job = full_job("a");
  ASSERT_TRUE(advance(job, JobPhase::kDownloading, 2000, "d").is_ok());
  ASSERT_TRUE(advance(job, JobPhase::kTraining, 3000, "t").is_ok());
  ASSERT_TRUE(advance(job, JobPhase::kUploading, 4000, "u").is_ok());
  EXPECT_EQ(job.state, JobState::kInProgress);
  ASSERT_TRUE(advance(job, JobPhase::kCompleted, 5000, "c").is_ok());
  EXPECT_EQ(job.state, JobState::kCompleted);
  ASSERT_EQ(job.transitions.size(), 5u);
  EXPECT_EQ(job.transitions[0].end, 2000);
  EXPECT_EQ(job.transitions[4].end, 5000);
  EXPECT_EQ(phase_name(job.transitions[1].phase), "Downloading");
}

TEST(TrainingJobStates, RefusesWhatTheMachineDoesNotAllow) {
  TrainingJob job = full_job("a");
  EXPECT_TRUE(advance(job, JobPhase::kCompleted, 2, "").is(Code::kPreconditionFailed));
  EXPECT_TRUE(advance(job, JobPhase::kStopped, 2, "").is(Code::kPreconditionFailed));
  EXPECT_EQ(job.transitions.size(), 1u);
  ASSERT_TRUE(advance(job, JobPhase::kFailed, 2, "").is_ok());
  const Status again = advance(job, JobPhase::kStopping, 3, "");
  EXPECT_TRUE(again.is(Code::kPreconditionFailed));
  EXPECT_THAT(std::string(again.message()), HasSubstr("in status Failed"));
  EXPECT_EQ(job.modified, 2);
}

TEST(TrainingJobStates, AStopEndsAsStoppedOrAsMaxRuntimeExceeded) {
  for (const JobPhase last : {JobPhase::kStopped, JobPhase::kMaxRuntimeExceeded}) {
    TrainingJob job = full_job("a");
    ASSERT_TRUE(advance(job, JobPhase::kTraining, 2, "").is_ok());
    ASSERT_TRUE(advance(job, JobPhase::kStopping, 3, "").is_ok());
    EXPECT_EQ(job.state, JobState::kStopping);
    ASSERT_TRUE(advance(job, JobPhase::kUploading, 4, "").is_ok());
    EXPECT_EQ(job.state, JobState::kStopping);
    ASSERT_TRUE(advance(job, last, 5, "").is_ok());
    EXPECT_EQ(state_name(job.state), "Stopped");
  }
}

TEST(TrainingJobRows, KeepEveryFieldAndRefuseDamage) {
  const TrainingJob job = full_job("a");
  const std::string row = encode(job);
  const auto back = decode_training_job(row);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(*back, job);
  for (size_t length = 0; length < row.size(); ++length)
    EXPECT_TRUE(decode_training_job(row.substr(0, length)).is(Code::kCorrupt)) << length;
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

// docs/FORMAT.md has the tables; the bytes were made from those by hand.
TEST(RegistryRows, GoldenBytes) {
  EXPECT_EQ(
      hex(encode(full_job("a"))),
      "010161177b22547261696e696e674a6f624e616d65223a2261227d01047465616d06766973696f6e07544152"
      "4e4b4559e8030000e9030000021b0000002c000000170000000c7265706f2f696d6167653a3101072f62696e"
      "2f736802022d630474727565020665706f6368730132046e616d650322782201014101620102010574726169"
      "6e0162017008746578742f6373760f46756c6c795265706c696361746564085265636f7264494f0873333a2f"
      "2f622f700a73333a2f2f622f6f7574010b6d6c2e6d352e6c6172676500004d0000000000000000000100e803"
      "0000000000000000000000000000087374617274696e6700e803000000000000e80300000000000000000000"
      "00000000000000000000000000000105747261696e0462696e64010203000107707265706172650500000000"
      "000000000001046e6f7465");
  EXPECT_EQ(hex(encode(ImageProfile{"a*", ProfileKind::kProgram, "/p"})), "010102612a022f70");
  const auto store = kv::open_memory(no_merge);
  Registry registry(*store);
  ASSERT_TRUE(registry.create(full_job("a")).is_ok());
  ASSERT_TRUE(registry.put_profile({"a*", ProfileKind::kProgram, "/p"}).is_ok());
  std::vector<std::string> keys;
  const auto txn = store->begin();
  ASSERT_TRUE(txn->scan(kv::Range::prefix("R"),
                        [&](std::string_view key, std::string_view) {
                          keys.emplace_back(key);
                          return true;
                        })
                  .is_ok());
  EXPECT_THAT(keys, ElementsAre("Rimage-profile/a*", "Rtraining-job/a"));
}

TEST(ImageProfiles, TheMostParticularPatternWins) {
  const std::vector<ImageProfile> profiles = {
      {"*", ProfileKind::kPython, "/any"},
      {"*pytorch-training*", ProfileKind::kPython, "/torch"},
      {"1234.dkr.ecr.*pytorch-training:2*", ProfileKind::kProgram, "/exact"}};
  EXPECT_EQ(find_profile(profiles, "alpine")->path, "/any");
  EXPECT_EQ(find_profile(profiles, "x/pytorch-training:1")->path, "/torch");
  EXPECT_EQ(find_profile(profiles, "1234.dkr.ecr.eu.a.com/pytorch-training:2.1")->path, "/exact");
  EXPECT_FALSE(find_profile({profiles[1]}, "alpine").has_value());
  EXPECT_TRUE(check_profile({"", ProfileKind::kPython, "/x"}).is(Code::kInvalidArgument));
  EXPECT_TRUE(check_profile({"a", ProfileKind::kPython, "python3"}).is(Code::kInvalidArgument));
  EXPECT_TRUE(decode_image_profile("\x01\x07").is(Code::kCorrupt));
}

TEST(RegistryRecords, AreMadeOnceFoundAndListed) {
  const auto store = kv::open_memory(no_merge);
  Registry registry(*store);
  ASSERT_TRUE(registry.create(full_job("b")).is_ok());
  ASSERT_TRUE(registry.create(full_job("a")).is_ok());
  EXPECT_TRUE(registry.create(full_job("a")).is(Code::kExists));
  EXPECT_TRUE(registry.training_job("c").is(Code::kNotFound));
  EXPECT_EQ(registry.training_job("b")->image, "repo/image:1");
  const auto all = registry.training_jobs();
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[0].name, "a");
}

TEST(RegistryRecords, AFailedChangeChangesNothing) {
  const auto store = kv::open_memory(no_merge);
  Registry registry(*store);
  ASSERT_TRUE(registry.create(full_job("a")).is_ok());
  const auto failed = registry.update("a", [](TrainingJob& job) {
    job.failure_reason = "never";
    return advance(job, JobPhase::kCompleted, 9, "");
  });
  EXPECT_TRUE(failed.is(Code::kPreconditionFailed));
  EXPECT_EQ(registry.training_job("a")->failure_reason, "");
  EXPECT_TRUE(registry.update("z", [](TrainingJob&) { return Status(); }).is(Code::kNotFound));
}

TEST(RegistryRecords, UpdatesOfManyWritersAllCount) {
  const auto store = kv::open_memory(no_merge);
  Registry registry(*store);
  ASSERT_TRUE(registry.create(full_job("a")).is_ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i)
        EXPECT_TRUE(registry
                        .update("a",
                                [](TrainingJob& job) {
                                  ++job.report.log_lines;
                                  return Status();
                                })
                        .is_ok());
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry.training_job("a")->report.log_lines, 200u);
}

TEST(RegistryRecords, ProfilesReplaceTheBuiltInOneAndGo) {
  const auto store = kv::open_memory(no_merge);
  Registry registry(*store);
  ASSERT_EQ(registry.profiles()->size(), 1u);
  EXPECT_EQ(registry.profiles()->front().path, "/usr/bin/python3");
  ASSERT_TRUE(
      registry.put_profile({"*pytorch-training*", ProfileKind::kPython, "/opt/py"}).is_ok());
  ASSERT_TRUE(registry.put_profile({"mine", ProfileKind::kProgram, "/opt/mine"}).is_ok());
  ASSERT_EQ(registry.profiles()->size(), 2u);
  EXPECT_EQ(find_profile(*registry.profiles(), "pytorch-training")->path, "/opt/py");
  ASSERT_TRUE(registry.remove_profile("*pytorch-training*").is_ok());
  EXPECT_EQ(find_profile(*registry.profiles(), "pytorch-training")->path, "/usr/bin/python3");
  EXPECT_TRUE(registry.remove_profile("none").is(Code::kNotFound));
}

TEST(RegistryRecords, SurviveARestart) {
  char folder[] = "/tmp/tarn-registry-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  {
    const auto store = kv::open_rocks({.path = std::string(folder) + "/meta"}, no_merge);
    ASSERT_TRUE(store.is_ok());
    Registry registry(**store);
    ASSERT_TRUE(registry.create(full_job("a")).is_ok());
    ASSERT_TRUE(registry
                    .update("a",
                            [](TrainingJob& job) {
                              return advance(job, JobPhase::kTraining, 2, "running");
                            })
                    .is_ok());
  }
  const auto store = kv::open_rocks({.path = std::string(folder) + "/meta"}, no_merge);
  ASSERT_TRUE(store.is_ok());
  Registry registry(**store);
  EXPECT_EQ(registry.training_job("a")->phase, JobPhase::kTraining);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace tarn::registry
