// Jobs run for real: a process in its namespaces, channels, logs, ends of every kind; and the parts
// that can be told apart: URIs, logs, plans, the toolkit, archives.
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs/fs_fixture.h"
#include "fs/objects.h"
#include "job/artifacts.h"
#include "job/channels.h"
#include "job/failure.h"
#include "job/job_log.h"
#include "job/launcher.h"
#include "job/remove_tree.h"
#include "job/runner.h"
#include "job/s3_uri.h"

namespace tarn::job {
namespace {

using registry::JobPhase;
using registry::JobState;
using registry::TrainingJob;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string temporary_folder() {
  char folder[] = "/tmp/tarn-job-XXXXXX";
  EXPECT_NE(mkdtemp(folder), nullptr);
  return folder;
}

registry::Channel channel(const std::string& name, const std::string& prefix) {
  registry::Channel made;
  made.name = name;
  made.bucket = "bucket";
  made.prefix = prefix;
  made.uri = "s3://bucket/" + prefix;
  return made;
}

TEST(RemoveTree, OpensWhatItsOwnerMayNotRead) {
  // Root may read everything, so another user removes.
  const std::string folder = temporary_folder();
  ASSERT_EQ(chmod(folder.c_str(), 0777), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setresuid(4321, 4321, 4321) != 0) _exit(2);
    const std::string tree = folder + "/tree";
    if (!make_directories(tree + "/a/b/deep").is_ok()) _exit(3);
    std::ofstream(tree + "/a/b/deep/file") << "x";
    if (symlink("/", (tree + "/a/link").c_str()) != 0) _exit(4);
    for (const char* name : {"/a/b/deep", "/a/b", "/a"})
      if (chmod((tree + name).c_str(), 0) != 0) _exit(5);
    if (!remove_tree(tree).is_ok() || !remove_tree(tree).is_ok()) _exit(6);
    _exit(access(tree.c_str(), F_OK) == 0 ? 7 : 0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  EXPECT_TRUE(remove_tree(folder).is_ok());
}

TEST(S3Uris, AreTakenApart) {
  EXPECT_EQ(parse_s3_uri("s3://b/k/l/")->key, "k/l/");
  EXPECT_EQ(parse_s3_uri("s3://b")->bucket, "b");
  for (const char* bad : {"", "s3://", "s3:///k", "file:///x", "b/k"})
    EXPECT_TRUE(parse_s3_uri(bad).is(Code::kInvalidArgument)) << bad;
}

TEST(CleanText, IsUtf8AndNeverCutsACharacter) {
  EXPECT_EQ(clean_text("a\xFFz", 10), "a?z");
  EXPECT_EQ(clean_text("\xC3\xA4\xC3\xA4", 3), "\xC3\xA4");
  EXPECT_EQ(clean_text("\xED\xA0\x80", 10), "???");
  EXPECT_EQ(clean_text("\xF0\x9F\x98\x80", 4), "\xF0\x9F\x98\x80");
}

TEST(JobLogs, KeepWholeLinesWithTimesThatNeverGoBack) {
  const std::string folder = temporary_folder(), path = folder + "/a.log";
  ManualClock clock;
  auto log = LogWriter::create(path, clock);
  ASSERT_TRUE(log.is_ok());
  ASSERT_TRUE(log->append("one\ntw").is_ok());
  EXPECT_EQ(read_log_after(path, 0, 10)->events.size(), 1u);
  clock.set(clock.now() - kSecondNs);
  ASSERT_TRUE(log->append("o\r\nthree").is_ok());
  ASSERT_TRUE(log->finish().is_ok());
  const auto page = read_log_after(path, 0, 10);
  ASSERT_EQ(page->events.size(), 3u);
  EXPECT_EQ(page->events[1].message, "two");
  EXPECT_EQ(page->events[2].message, "three");
  EXPECT_EQ(page->events[0].time_ms, page->events[2].time_ms);
  EXPECT_EQ(page->end, log_size(path));
  const auto rest = read_log_after(path, read_log_after(path, 0, 1)->end, 10);
  EXPECT_EQ(rest->events.front().message, "two");
  const auto last = read_log_before(path, UINT64_MAX, 2);
  ASSERT_EQ(last->events.size(), 2u);
  EXPECT_EQ(last->events[0].message, "two");
  EXPECT_EQ(read_log_before(path, last->begin, 5)->events[0].message, "one");
  EXPECT_TRUE(read_log_after(folder + "/none", 0, 1).is(Code::kNotFound));
  std::filesystem::remove_all(folder);
}

TEST(JobLogs, AreBoundedAndSaySo) {
  const std::string folder = temporary_folder(), path = folder + "/a.log";
  ManualClock clock;
  auto log = LogWriter::create(path, clock, 1000);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(log->append("a line of some length\n").is_ok());
  ASSERT_TRUE(log->append(std::string(200'000, 'x')).is_ok());
  ASSERT_TRUE(log->finish().is_ok());
  EXPECT_LT(log_size(path), 1200u);
  EXPECT_GT(log->bytes_dropped(), 200'000u);
  EXPECT_EQ(log->tail().size(), kLogTailLines);
  EXPECT_THAT(read_log_before(path, UINT64_MAX, 1)->events[0].message, HasSubstr("were dropped"));
  std::filesystem::remove_all(folder);
}

TEST(LaunchPlans, SurviveTheWayToTheLauncher) {
  LaunchPlan plan;
  plan.parent = 7;
  plan.ml_directory = "/r/ml";
  plan.mounts = {{MountKind::kOverlay, "b/p", "/opt/ml/input/data/train", "/u", "/w"}};
  plan.argv = {"/bin/sh", "-c", ""};
  plan.environment = {"A=b"};
  plan.uid = 1000;
  plan.groups = {1, 2};
  const std::string text = encode(plan);
  EXPECT_EQ(*decode_launch_plan(text), plan);
  EXPECT_TRUE(decode_launch_plan(text.substr(1)).is(Code::kCorrupt));
  EXPECT_TRUE(decode_launch_plan(text + "x").is(Code::kCorrupt));
}

TEST(Toolkit, GivesArgumentsAndVariablesAsTheImagesDo) {
  TrainingJob job;
  job.name = "j";
  job.hyperparameters = {{"epochs", "2"},
                         {"name", "\"a b\""},
                         {"l", "0.5"},
                         {"use-it", "true"},
                         {"sagemaker_program", "\"train.py\""},
                         {"sagemaker_submit_directory", "s3://b/s.tar.gz"}};
  job.channels = {channel("train", "d")};
  const registry::ImageProfile profile{"*", registry::ProfileKind::kPython, "/usr/bin/python3"};
  Surroundings around;
  around.endpoint_url = "http://h:1";
  const auto program = plan_program(job, profile, around);
  ASSERT_TRUE(program.is_ok());
  EXPECT_THAT(program->argv, ElementsAre("/usr/bin/python3", "/opt/ml/code/train.py", "--epochs",
                                         "2", "-l", "0.5", "--name", "a b", "--use-it", "True"));
  for (const char* variable :
       {"SM_CHANNEL_TRAIN=/opt/ml/input/data/train", "SM_CHANNELS=[\"train\"]", "SM_HP_EPOCHS=2",
        "SM_HP_USE-IT=true", "SM_HP_NAME=a b", "AWS_ENDPOINT_URL_S3=http://h:1",
        "TRAINING_JOB_NAME=j", "SM_MODULE_NAME=train", "SM_HOSTS=[\"algo-1\"]"})
    EXPECT_THAT(program->environment, Contains(variable));
  job.hyperparameters.erase("sagemaker_program");
  EXPECT_TRUE(plan_program(job, profile, {}).is(Code::kInvalidArgument));
  job.entrypoint = {"/bin/true"};
  EXPECT_THAT(plan_program(job, profile, {})->argv, ElementsAre("/bin/true"));
  job.entrypoint.clear();
  EXPECT_THAT(plan_program(job, {"*", registry::ProfileKind::kProgram, "/p"}, {})->argv,
              ElementsAre("/p", "train"));
}

TEST(Failures, NameTheProfileThatLacksAModule) {
  TrainingJob job;
  job.image = "img";
  const registry::ImageProfile profile{"*g", registry::ProfileKind::kPython, "/usr/bin/python3"};
  const Ending ending{Ending::Kind::kExited, 1, ""};
  const std::string reason = explain_failure(job, profile, ending, "",
                                             {"x", "ModuleNotFoundError: No module named 'torch'"});
  EXPECT_THAT(reason, HasSubstr("profile '*g', /usr/bin/python3, which has no module 'torch'"));
  EXPECT_EQ(explain_failure(job, profile, ending, "said so", {}), "said so");
  const std::string last =
      explain_failure(job, profile, {Ending::Kind::kKilled, 9, ""}, "", {std::string(5000, 'x')});
  EXPECT_LE(last.size(), kFailureReasonBytesMax);
  EXPECT_THAT(last, HasSubstr("signal 9"));
}

constexpr const char* kImage = "test/image:1";

class Jobs : public fs::testing::FsTest {
 protected:
  void SetUp() override {
    FsTest::SetUp();
    scratch_ = temporary_folder();
    std::filesystem::permissions(scratch_, std::filesystem::perms(0755));
    registry_ = std::make_unique<registry::Registry>(*store_);
    ASSERT_TRUE(registry_->put_profile({kImage, registry::ProfileKind::kPython, "/usr/bin/python3"})
                    .is_ok());
    ASSERT_TRUE(fs::Objects(*fs_).create_bucket(caller_of({}), "bucket").is_ok());
    open_runner(false);
  }
  void TearDown() override {
    runner_.reset();
    std::filesystem::remove_all(scratch_);
    FsTest::TearDown();
  }
  /// With a mount: a folder that holds the same names stands for Tarn's.
  void open_runner(bool has_mount) {
    runner_.reset();
    RunnerOptions options;
    options.root_directory = scratch_ + "/root";
    options.stop_grace = kSecondNs / 2;
    if (has_mount) options.mount_directory = scratch_ + "/mnt";
    ASSERT_TRUE(make_directories(options.root_directory).is_ok());
    auto opened = Runner::open(*fs_, *registry_, options);
    ASSERT_TRUE(opened.is_ok()) << opened.status().to_string();
    runner_ = std::move(opened).value();
  }
  void put_object(const std::string& key, std::string_view text) {
    auto incoming = fs_->content().begin_incoming(text.size());
    ASSERT_TRUE((*incoming)->append(as_bytes(text)).is_ok());
    fs::PutObject object;
    object.content = std::move(*(*incoming)->finish());
    const auto stored = fs::Objects(*fs_).put(caller_of({}), "bucket", key, std::move(object));
    ASSERT_TRUE(stored.is_ok()) << stored.status().to_string();
    const std::string path = scratch_ + "/mnt/bucket/" + key;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
  }
  TrainingJob shell_job(const std::string& name, const std::string& script) {
    TrainingJob job;
    job.name = name;
    job.image = kImage;
    job.request = "{}";
    job.owner.uid = geteuid();
    job.owner.gid = getegid();
    job.output_uri = "s3://bucket/out";
    job.entrypoint = {"/bin/sh"};
    job.arguments = {"-c", script};
    return job;
  }
  TrainingJob run(const TrainingJob& job) {
    const Status submitted = runner_->submit(job);
    EXPECT_TRUE(submitted.is_ok()) << submitted.to_string();
    return wait_for(job.name);
  }
  TrainingJob wait_for(const std::string& name) {
    for (int i = 0; i < 2000; ++i) {
      auto job = registry_->training_job(name);
      if (job.is_ok() && has_ended(job->state)) return *job;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << name << " did not end";
    return {};
  }
  void wait_for_line(const std::string& name, const std::string& text) {
    for (int i = 0; i < 1000; ++i) {
      for (const std::string& line : lines(name))
        if (line == text) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << name << " never printed " << text;
  }
  std::vector<std::string> lines(const std::string& name) {
    std::vector<std::string> texts;
    const auto page = read_log_after(runner_->log_path(name), 0, 1000);
    if (page.is_ok())
      for (const LogEvent& event : page->events) texts.push_back(event.message);
    return texts;
  }

  std::string scratch_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<Runner> runner_;
};

TEST_F(Jobs, RunToTheEndAndLeaveTheirModel) {
  const TrainingJob job =
      run(shell_job("good",
                    "echo hello; echo pid $$; echo weights > /opt/ml/model/w; "
                    "echo extra > /opt/ml/output/data/x; getent hosts algo-1 >/dev/null && "
                    "echo host; test -e /opt/ml/input/config/resourceconfig.json && pwd"));
  EXPECT_EQ(job.state, JobState::kCompleted) << job.failure_reason;
  EXPECT_THAT(lines("good"), ElementsAre("hello", "pid 2", "host", "/opt/ml/code"));
  EXPECT_EQ(job.model_uri, "s3://bucket/out/good/output/model.tar.gz");
  EXPECT_EQ(job.report.log_lines, 4u);
  const auto archive = read_object(*fs_, caller_of({}), job.model_uri, 1 << 20);
  ASSERT_TRUE(archive.is_ok());
  ASSERT_TRUE(make_directories(scratch_ + "/unpacked").is_ok());
  EXPECT_EQ(unpack(*archive, scratch_ + "/unpacked", 1000).value(), 8u);
  EXPECT_TRUE(unpack(*archive, scratch_ + "/unpacked", 7).is(Code::kFileTooLarge));
  EXPECT_TRUE(std::filesystem::exists(scratch_ + "/unpacked/w"));
  EXPECT_TRUE(read_object(*fs_, caller_of({}), "s3://bucket/out/good/output/output.tar.gz", 1 << 20)
                  .is_ok());
  EXPECT_TRUE(std::filesystem::is_empty(std::filesystem::path(scratch_) / "root" / "jobs"));
  std::vector<JobPhase> phases;
  for (const auto& transition : job.transitions) phases.push_back(transition.phase);
  EXPECT_THAT(phases, ElementsAre(JobPhase::kStarting, JobPhase::kTraining, JobPhase::kUploading,
                                  JobPhase::kCompleted));
}

TEST_F(Jobs, SeeAReadOnlyMachineAndNothingOfRoot) {
  const TrainingJob job = run(shell_job(
      "caged",
      "ls -A '" + scratch_ +
          "/root' 2>&1 | wc -l; touch /usr/x 2>/dev/null || echo ro; "
          "touch /tmp/$$-tarn && rm /tmp/$$-tarn && echo tmp; grep NoNewPrivs "
          "/proc/self/status; ls /proc | grep -c '^[0-9]'; mount -t tmpfs x /mnt 2>/dev/null "
          "|| echo no mount; kill -9 1 2>/dev/null; echo alive"));
  EXPECT_EQ(job.state, JobState::kCompleted) << job.failure_reason;
  const auto printed = lines("caged");
  EXPECT_THAT(printed, Contains("ro"));
  EXPECT_THAT(printed, Contains("tmp"));
  EXPECT_THAT(printed, Contains("NoNewPrivs:\t1"));
  EXPECT_THAT(printed, Contains("no mount"));
  EXPECT_THAT(printed, Contains("alive"));
}

TEST_F(Jobs, AreFailedWithTheReasonThatTheyLeave) {
  const TrainingJob said =
      run(shell_job("said", "printf 'bad data' > /opt/ml/output/failure; exit 3"));
  EXPECT_EQ(said.state, JobState::kFailed);
  EXPECT_EQ(said.failure_reason, "bad data");
  const TrainingJob silent = run(shell_job("silent", "echo oops >&2; exit 3"));
  EXPECT_THAT(silent.failure_reason, HasSubstr("exit code: 3"));
  EXPECT_THAT(silent.failure_reason, HasSubstr("oops"));
  EXPECT_THAT(run(shell_job("crash", "kill -SEGV $$")).failure_reason, HasSubstr("signal 11"));
  TrainingJob missing = shell_job("missing", "");
  missing.entrypoint = {"/no/such/program"};
  EXPECT_THAT(run(missing).failure_reason, HasSubstr("/no/such/program"));
}

TEST_F(Jobs, AreRefusedWhatCannotStartThem) {
  TrainingJob image = shell_job("image", "true");
  image.image = "unknown:1";
  const TrainingJob unknown = run(image);
  EXPECT_EQ(unknown.state, JobState::kFailed);
  EXPECT_THAT(unknown.failure_reason, HasSubstr("ClientError: no program"));
  EXPECT_THAT(unknown.failure_reason, HasSubstr("unknown:1"));
  TrainingJob channel_job = shell_job("channel", "true");
  channel_job.channels = {channel("train", "none")};
  EXPECT_THAT(run(channel_job).failure_reason, HasSubstr("nothing is at s3://bucket/none"));
  TrainingJob output = shell_job("output", "true");
  output.output_uri = "s3://nowhere/x";
  EXPECT_THAT(run(output).failure_reason, HasSubstr("s3://nowhere/x"));
  EXPECT_TRUE(runner_->submit(output).is(Code::kExists));
}

TEST_F(Jobs, StopOnTheTermSignalAndKeepTheirModel) {
  ASSERT_TRUE(runner_
                  ->submit(shell_job("polite",
                                     "trap 'echo term; echo w > /opt/ml/model/w; exit 0' TERM; "
                                     "echo ready; while :; do sleep 0.05; done"))
                  .is_ok());
  wait_for_line("polite", "ready");
  ASSERT_TRUE(runner_->stop("polite").is_ok());
  const TrainingJob job = wait_for("polite");
  EXPECT_EQ(job.phase, JobPhase::kStopped);
  EXPECT_THAT(lines("polite"), Contains("term"));
  EXPECT_FALSE(job.model_uri.empty());
  EXPECT_TRUE(runner_->stop("polite").is(Code::kPreconditionFailed));
  EXPECT_TRUE(runner_->stop("nobody").is(Code::kNotFound));
}

TEST_F(Jobs, AreKilledAfterTheGraceWithAllTheirProcesses) {
  ASSERT_TRUE(runner_
                  ->submit(shell_job("stubborn",
                                     "trap '' TERM; setsid sleep 987654 & echo ready; while :; do "
                                     "sleep 0.05; done"))
                  .is_ok());
  wait_for_line("stubborn", "ready");
  ASSERT_TRUE(runner_->stop("stubborn").is_ok());
  EXPECT_EQ(wait_for("stubborn").phase, JobPhase::kStopped);
  EXPECT_NE(std::system("grep -lz 987654 /proc/[0-9]*/cmdline 2>/dev/null | grep -v self | grep -q "
                        "proc.*cmdline && ps -eo args | grep -q '^sleep 987654'"),
            0);
  TrainingJob slow = shell_job("slow", "sleep 100");
  slow.runtime_seconds_max = 1;
  EXPECT_EQ(run(slow).phase, JobPhase::kMaxRuntimeExceeded);
}

TEST_F(Jobs, CopyTheirChannelsWithoutAMountAndCountThem) {
  put_object("data/a.txt", "12345");
  put_object("data/sub/b.txt", "678");
  put_object("database", "no");
  TrainingJob job = shell_job("copied", "cd /opt/ml/input/data/train; cat a.txt sub/b.txt; ls");
  job.channels = {channel("train", "data")};
  const TrainingJob done = run(job);
  EXPECT_EQ(done.state, JobState::kCompleted) << done.failure_reason;
  ASSERT_EQ(done.report.channels.size(), 1u);
  EXPECT_EQ(done.report.channels[0].how, "copy");
  EXPECT_GE(done.report.channels[0].bytes_copied, 8u);
  EXPECT_EQ(done.transitions[1].phase, JobPhase::kDownloading);
  EXPECT_THAT(lines("copied"), Contains("12345678a.txt"));
}

TEST_F(Jobs, MountTheirChannelsInPlace) {
  put_object("data/a.txt", "12345");
  put_object("data/sub/b.txt", "678");
  open_runner(true);
  TrainingJob job = shell_job(
      "mounted",
      "cd /opt/ml/input/data; cat file/a.txt fast/sub/b.txt; echo; echo x > file/a.txt && "
      "cat file/a.txt; touch fast/new 2>/dev/null || echo fast is ro; echo y > rw/new; "
      "ls part");
  job.channels = {channel("file", "data/"), channel("fast", "data"), channel("rw", "/bucket/data"),
                  channel("part", "data/a")};
  job.channels[1].mode = registry::InputMode::kFastFile;
  job.channels[2].kind = registry::ChannelKind::kFileSystemReadWrite;
  const TrainingJob done = run(job);
  EXPECT_EQ(done.state, JobState::kCompleted) << done.failure_reason;
  EXPECT_THAT(lines("mounted"), ElementsAre("12345678", "x", "fast is ro", "a.txt"));
  std::vector<std::string> how;
  for (const auto& channel : done.report.channels) {
    how.push_back(channel.how);
    EXPECT_EQ(channel.bytes_copied, 0u);
  }
  EXPECT_THAT(how, ElementsAre("overlay", "bind", "bind read-write", "bind of names"));
  EXPECT_TRUE(std::filesystem::exists(scratch_ + "/mnt/bucket/data/new"));
  EXPECT_EQ(std::filesystem::file_size(scratch_ + "/mnt/bucket/data/a.txt"), 5u);
}

TEST_F(Jobs, TellWhatChangedUnderAChannel) {
  put_object("data/a.txt", "12345");
  put_object("other/a.txt", "12345");
  TrainingJob job = shell_job("watched",
                              "echo ready; while ! test -e /tmp/tarn-go-$PPID-x; do "
                              "sleep 0.05; test -e '" +
                                  scratch_ + "/go' && exit 0; done");
  job.channels = {channel("a", "data"), channel("b", "other")};
  ASSERT_TRUE(runner_->submit(job).is_ok());
  wait_for_line("watched", "ready");
  put_object("data/new/b.txt", "new");
  std::ofstream(scratch_ + "/go") << "";
  const TrainingJob done = wait_for("watched");
  ASSERT_EQ(done.report.channels.size(), 2u);
  EXPECT_GT(done.report.channels[0].changes, 0u);
  EXPECT_EQ(done.report.channels[1].changes, 0u);
  EXPECT_THAT(done.report.notes, Contains(HasSubstr("InputChanged")));
}

TEST_F(Jobs, EndAsFailedWithTheRunnerOrAfterIt) {
  ASSERT_TRUE(runner_->submit(shell_job("long", "echo ready; sleep 1000")).is_ok());
  wait_for_line("long", "ready");
  runner_->close();
  const auto ended = registry_->training_job("long");
  EXPECT_EQ(ended->state, JobState::kFailed);
  EXPECT_THAT(ended->failure_reason, HasSubstr("Tarn was ended"));
  EXPECT_TRUE(runner_->submit(shell_job("late", "true")).is(Code::kUnavailable));
  TrainingJob left = shell_job("left", "true");
  begin(left, 1, "");
  ASSERT_TRUE(registry_->create(left).is_ok());
  open_runner(false);
  EXPECT_EQ(registry_->training_job("left")->state, JobState::kFailed);
  EXPECT_THAT(registry_->training_job("left")->failure_reason,
              HasSubstr("while the job was Starting"));
}

TEST_F(Jobs, PlayTheToolkitForAScript) {
  ASSERT_TRUE(make_directories(scratch_ + "/src").is_ok());
  std::ofstream(scratch_ + "/src/train.py")
      << "import argparse, os, sys\np = argparse.ArgumentParser()\n"
         "p.add_argument('--epochs', type=int)\na = p.parse_args()\n"
         "print(a.epochs, os.environ['SM_MODEL_DIR'], os.environ['SM_HP_EPOCHS'])\n"
         "import no_such_module_at_all\n";
  ASSERT_TRUE(store_archive(*fs_, caller_of({}), scratch_ + "/src", "bucket", "s.tar.gz").is_ok());
  TrainingJob job = shell_job("script", "");
  job.entrypoint.clear();
  job.arguments.clear();
  job.hyperparameters = {{"epochs", "3"},
                         {"sagemaker_program", "\"train.py\""},
                         {"sagemaker_submit_directory", "\"s3://bucket/s.tar.gz\""}};
  const TrainingJob done = run(job);
  EXPECT_THAT(lines("script"), Contains("3 /opt/ml/model 3"));
  EXPECT_THAT(done.failure_reason, HasSubstr("has no module 'no_such_module_at_all'"));
  EXPECT_GT(done.report.script_bytes_copied, 0u);
}

}  // namespace
}  // namespace tarn::job

int main(int argc, char** argv) {
  // Jobs start this program as their launcher.
  if (argc > 1 && std::string_view(argv[1]) == tarn::job::kLauncherCommand)
    return tarn::job::run_launcher();
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
