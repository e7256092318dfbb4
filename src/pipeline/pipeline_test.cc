#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "pipeline/plan.h"
#include "pipeline/process.h"
#include "pipeline/report.h"
#include "pipeline/runner.h"

namespace tarn::pipeline {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Json shell(const std::string& script) {
  return Json::array({"sh", "-c", script});
}

constexpr const char* kSmallPlan = R"({
  "rows": ["extract", "pickled", "job_start", "train"], "runs": 2,
  "machine": {"cores": 2}, "dataset": {"bytes": 10}, "missing": ["something"],
  "tables": [{"archive": ".tar", "link": "loopback", "cache": "left", "drops_caches": false,
    "probes": [{"name": "sleep", "command": ["sleep", "0.1"], "bytes": 100}],
    "floors": {"extract": [{"probe": "sleep", "bytes": 200}],
               "pickled": [], "job_start": [], "train": []},
    "ways": []}]})";

Json small_plan() {
  Json plan = Json::parse(kSmallPlan);
  for (const char* name : {"copy", "in_place_reread"}) {
    Json way = Json::parse(R"({"stages": [
      {"row": "extract", "command": ["true"], "bytes_copied": 10, "bytes_decompressed": 7},
      {"row": "pickled", "command": ["sh", "-c", "echo noise; echo '{\"sum\": 5}'"],
       "captures": {"sum": "sum"}},
      {"row": "train", "first_line_row": "job_start", "captures": {"loss": "final_loss"},
       "command": ["sh", "-c", "echo begun; sleep 0.2; echo '{\"final_loss\": 1.5}'"]}]})");
    way["name"] = name;
    plan["tables"][0]["ways"].push_back(std::move(way));
  }
  return plan;
}

Result<Report> run_of(const Json& json) {
  TARN_ASSIGN(const Plan plan, parse_plan(json.dump()));
  return run_plan(plan, [](const auto&...) {});
}

TEST(Plan, RefusesAWayWithoutARow) {
  Json json = small_plan();
  json["tables"][0]["ways"][0]["stages"].erase(0);
  const auto plan = parse_plan(json.dump());
  ASSERT_TRUE(plan.is(Code::kBadFormat));
  EXPECT_THAT(plan.status().to_string(), HasSubstr("way copy has row extract 0 times"));
}

TEST(Plan, RefusesARowTwiceAnUnknownProbeAndARowWithoutAFloor) {
  Json twice = small_plan();
  twice["tables"][0]["ways"][1]["stages"].push_back(twice["tables"][0]["ways"][1]["stages"][0]);
  EXPECT_THAT(parse_plan(twice.dump()).status().to_string(), HasSubstr("2 times"));
  Json probe = small_plan();
  probe["tables"][0]["floors"]["extract"][0]["probe"] = "nothing";
  EXPECT_THAT(parse_plan(probe.dump()).status().to_string(), HasSubstr("nothing"));
  Json floor = small_plan();
  floor["tables"][0]["floors"].erase("train");
  EXPECT_THAT(parse_plan(floor.dump()).status().to_string(), HasSubstr("train has no floor"));
  EXPECT_TRUE(parse_plan("{").is(Code::kBadFormat));
  Json runs = small_plan();
  runs["runs"] = 0;
  EXPECT_THAT(parse_plan(runs.dump()).status().to_string(), HasSubstr("0 runs"));
}

TEST(Process, TimesTheWholeAndTheFirstLine) {
  const auto run = run_timed({"sh", "-c", "sleep 0.1; echo one; sleep 0.2; echo two"}, 10);
  ASSERT_TRUE(run.is_ok());
  EXPECT_EQ(run->output, "one\ntwo\n");
  EXPECT_GE(run->first_line, 100 * kMillisecondNs);
  EXPECT_GE(run->took - run->first_line, 200 * kMillisecondNs);
  EXPECT_GE(run->second_line - run->first_line, 200 * kMillisecondNs);
}

TEST(Process, SaysHowACommandFailed) {
  EXPECT_THAT(run_timed({"sh", "-c", "echo why >&2; exit 3"}, 10).status().to_string(),
              testing::AllOf(HasSubstr("status 3"), HasSubstr("why")));
  EXPECT_THAT(run_timed({"sh", "-c", "kill -9 $$"}, 10).status().to_string(),
              HasSubstr("signal 9"));
  EXPECT_TRUE(run_timed({"/nonexistent/program"}, 10).is(Code::kNotFound));
}

TEST(Process, KillsWhatRunsTooLong) {
  const TimeNs began = Clock::system().monotonic();
  const auto run = run_timed({"sh", "-c", "sleep 60 & sleep 60"}, 1);
  EXPECT_THAT(run.status().to_string(), HasSubstr("killed after 1 s"));
  EXPECT_LT(Clock::system().monotonic() - began, 20 * kSecondNs);
}

TEST(Runner, MeasuresEveryRowOfEveryWay) {
  const auto report = run_of(small_plan());
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  ASSERT_EQ(report->tables.size(), 1u);
  const TableReport& table = report->tables[0];
  ASSERT_EQ(table.ways.size(), 2u);
  for (const WayReport& way : table.ways) {
    for (const std::string& row : report->rows) EXPECT_EQ(way.seconds.at(row).size(), 2u) << row;
    EXPECT_GE(way.median("train"), 0.2);
    EXPECT_EQ(way.bytes_copied, 10u);
    EXPECT_EQ(way.bytes_decompressed, 7u);
  }
  // 200 bytes at the speed of a probe that needs at least 0.1 s for 100.
  EXPECT_GE(table.floors.at("extract"), 0.2);
  EXPECT_EQ(table.floors.at("train"), 0);
  EXPECT_TRUE(flags_of(report.value()).empty());
}

TEST(Runner, BeginsWhereTheClientIsReady) {
  Json json = small_plan();
  json["runs"] = 1;
  Json& stage = json["tables"][0]["ways"][0]["stages"][2];
  stage["begins_at_first_line"] = true;
  stage["command"] = {
      "sh", "-c",
      "sleep 0.5; echo ready; sleep 0.1; echo begun; sleep 0.2; echo '{\"final_loss\": 1.5}'"};
  const auto report = run_of(json);
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  const WayReport& way = report->tables[0].ways[0];
  EXPECT_GE(way.median("job_start"), 0.1);
  EXPECT_LT(way.median("job_start"), 0.5);
  EXPECT_GE(way.median("train"), 0.2);
}

TEST(Runner, NamesTheStageThatFails) {
  Json json = small_plan();
  json["tables"][0]["ways"][1]["stages"][0]["command"] = shell("echo broken; exit 1");
  EXPECT_THAT(run_of(json).status().to_string(),
              testing::AllOf(HasSubstr("in_place_reread, extract"), HasSubstr("broken")));
  json["tables"][0]["ways"][1]["stages"][0]["command"] = shell("true");
  json["tables"][0]["ways"][1]["stages"][1]["command"] = shell("echo no object");
  EXPECT_THAT(run_of(json).status().to_string(), HasSubstr("in_place_reread, pickled"));
}

TEST(Report, FlagsSumsAndLossesThatDiffer) {
  Json json = small_plan();
  json["tables"][0]["ways"][1]["stages"][1]["command"] = shell("echo '{\"sum\": 6}'");
  const auto report = run_of(json);
  ASSERT_TRUE(report.is_ok());
  const auto flags = flags_of(report.value());
  ASSERT_EQ(flags.size(), 2u);  // one a run
  EXPECT_THAT(flags[0], HasSubstr("in_place_reread is 6, not 5"));
  EXPECT_THAT(to_text(report.value()), HasSubstr("not sound"));
}

TEST(Report, MediansAndTotals) {
  EXPECT_EQ(median_of({3, 1, 2}), 2);
  EXPECT_EQ(median_of({4, 1}), 2.5);
  WayReport way;
  way.seconds = {{"ingest", {100}}, {"verify", {2, 9, 1}}, {"train", {50}}};
  const std::vector<std::string> rows = {"ingest", "verify", "train"};
  EXPECT_EQ(way.total(rows, false), 2);
  EXPECT_EQ(way.total(rows, true), 52);
}

TEST(Report, NamesWhatFallsShort) {
  Report report{.rows = {"verify", "train"},
                .machine = {},
                .dataset = {},
                .settings = {},
                .notes = {},
                .missing = {},
                .tables = {}};
  TableReport& table = report.tables.emplace_back();
  table.floors = {{"verify", 1.0}, {"train", 0.0}};
  const auto add = [&](const char* name, double verify) {
    WayReport& way = table.ways.emplace_back();
    way.name = name;
    way.seconds = {{"verify", {verify}}, {"train", {10}}};
  };
  add("copy", 2.0);
  add("in_place_tools", 2.09);
  add("in_place_reread", 1.29);
  EXPECT_TRUE(shortfalls_of(report).empty());
  table.ways[1].seconds["verify"] = {2.2};
  table.ways[2].seconds["verify"] = {1.31};
  EXPECT_THAT(shortfalls_of(report),
              ElementsAre(HasSubstr("verify of in_place_reread"), HasSubstr("1.10 x the same")));
  table.ways[1].used["verify"] = {0.1, 2.1};
  EXPECT_THAT(shortfalls_of(report).back(), HasSubstr("bounded by the disk"));
}

TEST(Usage, SaysWhatBoundedAStage) {
  EXPECT_THAT(bound_of({1.9, 0.1}, 1.0, 2), HasSubstr("bounded by the cores: 1.9 of 2"));
  EXPECT_THAT(bound_of({0.9, 0.95}, 1.0, 2), HasSubstr("bounded by the disk"));
  EXPECT_THAT(bound_of({1.0, 0.2}, 1.0, 2), HasSubstr("bounded by one thread"));
  EXPECT_THAT(bound_of({0.1, 0.2}, 1.0, 2), HasSubstr("neither"));
  EXPECT_THAT(bound_of({0.1, 0.2}, 0.05, 2), HasSubstr("too short"));
}

TEST(Usage, CountsTheWorkOfACommand) {
  const auto run =
      run_timed({"sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done"}, 60);
  ASSERT_TRUE(run.is_ok()) << run.status().to_string();
  const Usage used = run->usage_ended - run->usage_began;
  EXPECT_GT(used.cpu, 0.02);
  EXPECT_GE(used.disk, 0);
}

TEST(Report, JsonAndPage) {
  auto report = run_of(small_plan());
  ASSERT_TRUE(report.is_ok());
  report->notes = {"a <b> & c"};
  const Json json = to_json(report.value());
  const Json& table = json["tables"][0];
  EXPECT_EQ(table["ways"]["copy"].size(), report->rows.size());
  EXPECT_EQ(table["loss"]["in_place_reread"], 1.5);
  EXPECT_EQ(table["bytes_copied"]["copy"], 10);
  EXPECT_EQ(json["missing"][0], "something");
  EXPECT_EQ(table["each_run"]["copy"]["train"].size(), 2u);
  EXPECT_TRUE(table["machine_busy_last_run"]["copy"]["job_start"]["cpu_seconds"].is_number());
  const std::string page = to_html(report.value(), "Ma");
  EXPECT_THAT(page, HasSubstr("base64,TWE="));
  EXPECT_THAT(page, HasSubstr("a &lt;b&gt; &amp; c"));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, Not(HasSubstr("http")));
}

}  // namespace
}  // namespace tarn::pipeline
