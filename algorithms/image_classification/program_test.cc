// The program itself, run on a small made-up data set as a job would run it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "contract.h"
#include "dataset/generate.h"
#include "loading.h"

namespace tarn::algorithms {
namespace {

namespace stdfs = std::filesystem;
using testing::HasSubstr;

struct Outcome {
  int status = -1;
  std::string output;
};

class ProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "algorithmXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    stdfs::create_directories(base_ + "/input/config");
  }
  void TearDown() override { stdfs::remove_all(base_); }

  void make_channel() {
    const auto made = dataset::generate(
        base_ + "/made",
        {.images_per_batch = 60, .has_gzip_archive = false, .has_plain_archive = false});
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    stdfs::create_directories(base_ + "/input/data");
    stdfs::rename(base_ + "/made/cifar-10-batches-py", base_ + "/input/data/train");
  }
  void set(const std::string& json) {
    ASSERT_TRUE(replace_file(base_ + "/input/config/hyperparameters.json", json).is_ok());
  }
  Outcome run(const std::string& program = getenv("IMAGE_CLASSIFICATION")) {
    const std::string command = "SAGEMAKER_BASE_DIR='" + base_ + "' '" + program + "' train 2>&1";
    Outcome outcome;
    FILE* pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) return outcome;
    char buffer[4096];
    while (const size_t count = fread(buffer, 1, sizeof buffer, pipe))
      outcome.output.append(buffer, count);
    outcome.status = WEXITSTATUS(pclose(pipe));
    return outcome;
  }
  static nlohmann::json last_line(const Outcome& outcome) {
    const size_t begin = outcome.output.rfind("\n{");
    return begin == std::string::npos
               ? nlohmann::json()
               : nlohmann::json::parse(outcome.output.substr(begin + 1), nullptr, false);
  }

  std::string base_;
};

TEST_F(ProgramTest, SameBytesGiveTheSameLoss) {
  make_channel();
  set(R"({"epochs": "1", "images_max": "240", "sagemaker_program": "x"})");
  const Outcome first = run(), second = run();
  ASSERT_EQ(first.status, 0) << first.output;
  EXPECT_THAT(first.output, testing::StartsWith("image classification begins\n"));
  const auto metrics = last_line(first);
  EXPECT_EQ(metrics["images"], 240);
  EXPECT_EQ(metrics["final_loss"], last_line(second)["final_loss"]);
  EXPECT_GT(metrics["final_loss"], 0.1);
  EXPECT_GE(metrics["seconds_waiting_for_data"], 0);
  EXPECT_GT(stdfs::file_size(base_ + "/model/model.pt"), 200'000u);
  EXPECT_TRUE(stdfs::exists(base_ + "/model/classes.json"));
  set(R"({"epochs": "1", "images_max": "240", "seed": "2"})");
  EXPECT_NE(last_line(run())["final_loss"], metrics["final_loss"]);
}

TEST_F(ProgramTest, Learns) {
  make_channel();
  set(R"({"epochs": "30", "learning_rate": "0.01"})");
  const Outcome outcome = run();
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_GT(last_line(outcome)["accuracy"], 0.3);  // chance is 0.1
  EXPECT_THAT(outcome.output, HasSubstr("test accuracy: "));
}

TEST_F(ProgramTest, BeginsBeforeTorchIsLoaded) {
  // The library that links torch is missing beside a copy: the program gets as far as training.
  const std::string copy = base_ + "/image-classification";
  stdfs::copy_file(getenv("IMAGE_CLASSIFICATION"), copy);
  make_channel();
  const Outcome outcome = run(copy);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.output, testing::StartsWith("image classification begins\ntrain 300 images"));
  EXPECT_THAT(outcome.output, HasSubstr("image-classification-torch.so"));
}

TEST_F(ProgramTest, SaysWhatIsWrong) {
  Outcome outcome = run();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.output, HasSubstr("no channel"));
  EXPECT_THAT(outcome.output, testing::Not(HasSubstr("begins")));
  const auto reason = read_file(base_ + "/output/failure", 4096);
  ASSERT_TRUE(reason.is_ok());
  EXPECT_THAT(reason.value(), HasSubstr("no channel"));
  make_channel();
  set(R"({"epochs": "many"})");
  EXPECT_THAT(run().output, HasSubstr("hyper-parameter epochs is 'many'"));
  set(R"({"epoch": "1"})");
  EXPECT_THAT(run().output, HasSubstr("hyper-parameter epoch is not known"));
  stdfs::remove_all(base_ + "/input/data/train");
  stdfs::create_directories(base_ + "/input/data/train");
  set("{}");
  EXPECT_EQ(run().status, 1);
}

TEST_F(ProgramTest, ReadsOnlyTheFirstImages) {
  make_channel();
  const auto some = load_images(base_ + "/input/data/train", 100);
  ASSERT_TRUE(some.is_ok());
  EXPECT_EQ(some->train.count(), 100u);
  EXPECT_EQ(some->test.count(), 60u);
  EXPECT_EQ(some->train.planes.size(), 100 * kImageBytes);
  EXPECT_EQ(some->class_names.size(), 10u);
}

}  // namespace
}  // namespace tarn::algorithms
