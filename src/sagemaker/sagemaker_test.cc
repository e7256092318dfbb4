// The services on the wire: targets, errors, validation, what an answer shows.
#include "sagemaker/sagemaker_service.h"

#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs/fs_fixture.h"
#include "fs/objects.h"
#include "http/body.h"
#include "job/channels.h"
#include "job/launcher.h"
#include "sagemaker/logs_service.h"
#include "sagemaker/query_services.h"
#include "sagemaker/request.h"

namespace tarn::sagemaker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Json smallest_request(const std::string& name) {
  return {{"TrainingJobName", name},
          {"RoleArn", "arn:aws:iam::000000000000:role/TarnRole"},
          {"AlgorithmSpecification",
           {{"TrainingImage", "test/image:1"},
            {"TrainingInputMode", "File"},
            {"ContainerEntrypoint", {"/bin/sh", "-c", "echo one; echo two words"}}}},
          {"OutputDataConfig", {{"S3OutputPath", "s3://bucket/out/"}}}};
}

http::Outcome<registry::TrainingJob> read(const Json& request) {
  return read_training_job(request, {}, "/mnt/tarn");
}

std::string refusal(const Json& request) {
  const auto job = read(request);
  return job ? "" : job.error().code + ": " + job.error().message;
}

TEST(Requests, BecomeJobs) {
  Json request = smallest_request("a-1");
  request["InputDataConfig"] = {
      {{"ChannelName", "train"},
       {"InputMode", "FastFile"},
       {"DataSource", {{"S3DataSource", {{"S3DataType", "S3Prefix"}, {"S3Uri", "s3://b/p/"}}}}}},
      {{"ChannelName", "here"},
       {"DataSource", {{"S3DataSource", {{"S3Uri", "file:///mnt/tarn/b/x"}}}}}},
      {{"ChannelName", "lustre"},
       {"DataSource",
        {{"FileSystemDataSource", {{"DirectoryPath", "/b"}, {"FileSystemAccessMode", "rw"}}}}}}};
  request["HyperParameters"] = {{"epochs", "2"}};
  request["StoppingCondition"] = {{"MaxRuntimeInSeconds", 60}};
  const auto job = read(request);
  ASSERT_TRUE(job.has_value()) << job.error().message;
  EXPECT_EQ(job->output_uri, "s3://bucket/out");
  ASSERT_EQ(job->channels.size(), 3u);
  EXPECT_EQ(job->channels[0].mode, registry::InputMode::kFastFile);
  EXPECT_EQ(job->channels[0].prefix, "p/");
  EXPECT_EQ(job->channels[1].prefix, "/b/x");
  EXPECT_EQ(job->channels[2].kind, registry::ChannelKind::kFileSystemReadWrite);
  EXPECT_EQ(job->runtime_seconds_max, 60u);
  EXPECT_EQ(job->entrypoint.size(), 3u);
}

TEST(Requests, AreRefusedWithTheMemberThatIsWrong) {
  for (const char* member :
       {"TrainingJobName", "RoleArn", "AlgorithmSpecification", "OutputDataConfig"}) {
    Json request = smallest_request("a");
    request.erase(member);
    EXPECT_THAT(refusal(request), HasSubstr("ValidationException")) << member;
  }
  EXPECT_THAT(refusal(smallest_request("-bad")), HasSubstr("trainingJobName"));
  EXPECT_THAT(refusal(smallest_request(std::string(64, 'a'))), HasSubstr("trainingJobName"));
  Json request = smallest_request("a");
  request["ResourceConfig"] = {{"InstanceCount", 2}};
  EXPECT_THAT(refusal(request), HasSubstr("one host"));
  request = smallest_request("a");
  request["OutputDataConfig"]["S3OutputPath"] = "/local";
  EXPECT_THAT(refusal(request), HasSubstr("s3OutputPath"));
  request = smallest_request("a");
  request["HyperParameters"] = {{"epochs", 2}};
  EXPECT_THAT(refusal(request), HasSubstr("HyperParameters.epochs"));
  const auto with_channel = [](const std::string& name, const std::string& mode) {
    Json channel = smallest_request("a");
    channel["InputDataConfig"] = {{{"ChannelName", name},
                                   {"InputMode", mode},
                                   {"DataSource", {{"S3DataSource", {{"S3Uri", "s3://b/p"}}}}}}};
    return channel;
  };
  EXPECT_EQ(refusal(with_channel("ok", "File")), "");
  EXPECT_THAT(refusal(with_channel("..", "File")), HasSubstr("channelName"));
  EXPECT_THAT(refusal(with_channel("a/b", "File")), HasSubstr("channelName"));
  EXPECT_THAT(refusal(with_channel("a", "Pipe")), HasSubstr("Pipe"));
  EXPECT_THAT(refusal(with_channel("a", "Other")), HasSubstr("enum value set"));
}

TEST(Answers, HaveWhatClientsReadWithoutAsking) {
  const auto job = read(smallest_request("a"));
  ASSERT_TRUE(job.has_value());
  registry::TrainingJob record = *job;
  registry::begin(record, 1'700'000'000 * kSecondNs, "m");
  const Json answer = describe(record, {});
  EXPECT_EQ(answer["TrainingJobArn"], "arn:aws:sagemaker:us-east-1:000000000000:training-job/a");
  EXPECT_EQ(name_of_arn(answer["TrainingJobArn"]), "a");
  EXPECT_EQ(answer["OutputDataConfig"]["KmsKeyId"], "");
  EXPECT_EQ(answer["ResourceConfig"]["InstanceCount"], 1);
  EXPECT_TRUE(answer["ResourceConfig"].contains("VolumeSizeInGB"));
  EXPECT_EQ(answer["SecondaryStatusTransitions"][0]["StatusMessage"], "m");
  EXPECT_FALSE(answer["SecondaryStatusTransitions"][0].contains("EndTime"));
  EXPECT_FALSE(answer.contains("VpcConfig"));
  EXPECT_FALSE(answer.contains("FailureReason"));
  EXPECT_EQ(answer["CreationTime"], 1'700'000'000.0);
}

class Services : public fs::testing::FsTest {
 protected:
  void SetUp() override {
    FsTest::SetUp();
    char folder[] = "/tmp/tarn-sagemaker-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    scratch_ = folder;
    registry_ = std::make_unique<registry::Registry>(*store_);
    ASSERT_TRUE(
        registry_->put_profile({"test/image:1", registry::ProfileKind::kPython, "/usr/bin/python3"})
            .is_ok());
    ASSERT_TRUE(fs::Objects(*fs_).create_bucket(job::caller_of({}), "bucket").is_ok());
    job::RunnerOptions options;
    options.root_directory = scratch_;
    options.stop_grace = kSecondNs;
    auto runner = job::Runner::open(*fs_, *registry_, options);
    ASSERT_TRUE(runner.is_ok()) << runner.status().to_string();
    runner_ = std::move(runner).value();
    sagemaker_ = std::make_unique<SageMakerService>(*runner_, Place());
    logs_ = std::make_unique<LogsService>(*runner_, Place());
  }
  void TearDown() override {
    runner_.reset();
    std::filesystem::remove_all(scratch_);
    FsTest::TearDown();
  }
  struct Reply {
    int status;
    Json body;
  };
  Reply call(JsonService& service, const std::string& target, const std::string& text,
             uint32_t uid) {
    http::Request request;
    request.method = "POST";
    request.headers.add("X-Amz-Target", target);
    request.caller.uid = uid;
    request.caller.gid = getegid();
    http::TextBody body(text);
    request.body = &body;
    http::Response response;
    service.handle(request, response);
    return {response.status, Json::parse(response.body)};
  }
  Reply sagemaker(const std::string& operation, const Json& request) {
    return call(*sagemaker_, "SageMaker." + operation, request.dump(), geteuid());
  }
  Reply logs(const std::string& operation, Json request) {
    request["logGroupName"] = "/aws/sagemaker/TrainingJobs";
    return call(*logs_, "Logs_20140328." + operation, request.dump(), geteuid());
  }
  Json wait_for_end(const std::string& name) {
    for (int i = 0; i < 1500; ++i) {
      const Reply reply = sagemaker("DescribeTrainingJob", {{"TrainingJobName", name}});
      if (reply.body["TrainingJobStatus"] != "InProgress" &&
          reply.body["TrainingJobStatus"] != "Stopping")
        return reply.body;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << name << " did not end";
    return {};
  }

  std::string scratch_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<job::Runner> runner_;
  std::unique_ptr<SageMakerService> sagemaker_;
  std::unique_ptr<LogsService> logs_;
};

TEST_F(Services, NameTheOperationThatTheyLack) {
  const Reply reply = sagemaker("CreateNotebookInstance", Json::object());
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.body["__type"], "UnknownOperationException");
  EXPECT_THAT(reply.body["Message"].get<std::string>(), HasSubstr("CreateNotebookInstance"));
  EXPECT_EQ(call(*sagemaker_, "SageMaker.DescribeTrainingJob", "[1", 0).body["__type"],
            "SerializationException");
}

TEST_F(Services, CarryAJobThroughItsLife) {
  const Reply made = sagemaker("CreateTrainingJob", smallest_request("life"));
  ASSERT_EQ(made.status, 200) << made.body;
  EXPECT_THAT(made.body["TrainingJobArn"].get<std::string>(), HasSubstr("training-job/life"));
  EXPECT_EQ(sagemaker("CreateTrainingJob", smallest_request("life")).body["__type"],
            "ResourceInUse");
  const Json ended = wait_for_end("life");
  EXPECT_EQ(ended["TrainingJobStatus"], "Completed") << ended;
  EXPECT_EQ(ended["ModelArtifacts"]["S3ModelArtifacts"],
            "s3://bucket/out/life/output/model.tar.gz");
  EXPECT_GE(ended["BillableTimeInSeconds"], 1);

  const Reply streams = logs("DescribeLogStreams", {{"logStreamNamePrefix", "life/"}});
  ASSERT_EQ(streams.body["logStreams"].size(), 1u);
  EXPECT_FALSE(streams.body.contains("nextToken"));
  const std::string stream = streams.body["logStreams"][0]["logStreamName"];
  EXPECT_THAT(stream, HasSubstr("life/algo-1-"));
  const Reply first =
      logs("GetLogEvents", {{"logStreamName", stream}, {"startFromHead", true}, {"limit", 1}});
  ASSERT_EQ(first.body["events"].size(), 1u);
  EXPECT_EQ(first.body["events"][0]["message"], "one");
  const std::string token = first.body["nextForwardToken"];
  const Reply rest = logs("GetLogEvents", {{"logStreamName", stream}, {"nextToken", token}});
  EXPECT_EQ(rest.body["events"][0]["message"], "two words");
  const std::string end_token = rest.body["nextForwardToken"];
  const Reply end = logs("GetLogEvents", {{"logStreamName", stream}, {"nextToken", end_token}});
  EXPECT_EQ(end.body["events"].size(), 0u);
  EXPECT_EQ(end.body["nextForwardToken"], end_token);
  const Reply found =
      logs("FilterLogEvents", {{"logStreamNamePrefix", "life/"}, {"filterPattern", "words"}});
  ASSERT_EQ(found.body["events"].size(), 1u);
  EXPECT_FALSE(found.body.contains("nextToken"));

  const Reply stopped = sagemaker("StopTrainingJob", {{"TrainingJobName", "life"}});
  EXPECT_THAT(
      stopped.body["Message"].get<std::string>(),
      HasSubstr("The request was rejected because the training job is in status Completed"));
  const Reply tags = sagemaker("AddTags", {{"ResourceArn", made.body["TrainingJobArn"]},
                                           {"Tags", {{{"Key", "k"}, {"Value", "v"}}}}});
  EXPECT_EQ(tags.body["Tags"][0]["Key"], "k");
}

TEST_F(Services, ListInPagesAndByStatus) {
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_EQ(sagemaker("CreateTrainingJob", smallest_request(name)).status, 200);
    wait_for_end(name);
  }
  const Reply first = sagemaker(
      "ListTrainingJobs", {{"MaxResults", 2}, {"SortBy", "Name"}, {"SortOrder", "Ascending"}});
  ASSERT_EQ(first.body["TrainingJobSummaries"].size(), 2u);
  EXPECT_EQ(first.body["TrainingJobSummaries"][0]["TrainingJobName"], "a");
  const Reply second = sagemaker("ListTrainingJobs", {{"MaxResults", 2},
                                                      {"SortBy", "Name"},
                                                      {"SortOrder", "Ascending"},
                                                      {"NextToken", first.body["NextToken"]}});
  EXPECT_EQ(second.body["TrainingJobSummaries"].size(), 1u);
  EXPECT_FALSE(second.body.contains("NextToken"));
  EXPECT_EQ(sagemaker("ListTrainingJobs", {{"StatusEquals", "Failed"}})
                .body["TrainingJobSummaries"]
                .size(),
            0u);
  EXPECT_EQ(sagemaker("ListTrainingJobs", {{"NextToken", "x"}}).status, 400);
  EXPECT_EQ(sagemaker("ListTrainingJobs", {{"MaxResults", 0}}).status, 400);
}

TEST_F(Services, LetOnlyTheOwnerStopAJob) {
  Json request = smallest_request("mine");
  request["AlgorithmSpecification"]["ContainerEntrypoint"] = {"/bin/sleep", "100"};
  ASSERT_EQ(sagemaker("CreateTrainingJob", request).status, 200);
  const Reply other =
      call(*sagemaker_, "SageMaker.StopTrainingJob", R"({"TrainingJobName":"mine"})", 4242);
  EXPECT_EQ(other.body["__type"], "AccessDeniedException");
  EXPECT_EQ(sagemaker("StopTrainingJob", {{"TrainingJobName", "mine"}}).status, 200);
  EXPECT_EQ(wait_for_end("mine")["TrainingJobStatus"], "Stopped");
  const Reply none = sagemaker("DescribeTrainingJob", {{"TrainingJobName", "none"}});
  EXPECT_EQ(none.body["__type"], "ValidationException");
  EXPECT_THAT(none.body["Message"].get<std::string>(), HasSubstr("Requested resource not found"));
  EXPECT_EQ(call(*logs_, "Logs_20140328.DescribeLogStreams", R"({"logGroupName":"/x"})", 0)
                .body["__type"],
            "ResourceNotFoundException");
}

TEST(QueryServices, SayWhoOneIsAndDenyPolicies) {
  const auto ask = [](http::Service& service, const std::string& form) {
    http::Request request;
    request.caller.uid = 7;
    request.caller.access_key = "KEY<";
    http::TextBody body(form);
    request.body = &body;
    http::Response response;
    service.handle(request, response);
    return std::pair(response.status, response.body);
  };
  StsService sts{Place()};
  IamService iam;
  const auto [status, text] = ask(sts, "Action=GetCallerIdentity&Version=2011-06-15");
  EXPECT_EQ(status, 200);
  EXPECT_THAT(text, HasSubstr("assumed-role/TarnRole/uid-7"));
  EXPECT_THAT(text, HasSubstr("KEY&lt;"));
  EXPECT_EQ(ask(iam, "Action=SimulatePrincipalPolicy").first, 403);
  EXPECT_THAT(ask(iam, "Action=GetRole").second, HasSubstr("<Code>AccessDenied</Code>"));
  EXPECT_THAT(ask(sts, "Action=AssumeRole").second, HasSubstr("AssumeRole"));
}

}  // namespace
}  // namespace tarn::sagemaker

int main(int argc, char** argv) {
  // Jobs start this program as their launcher.
  if (argc > 1 && std::string_view(argv[1]) == tarn::job::kLauncherCommand)
    return tarn::job::run_launcher();
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
