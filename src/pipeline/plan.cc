#include "pipeline/plan.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace tarn::pipeline {
namespace {

constexpr uint64_t kStageSecondsDefault = 3600;

std::vector<Command> commands_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() ? std::vector<Command>{} : found->get<std::vector<Command>>();
}

Stage stage_of(const Json& json) {
  Stage stage{.row = json.at("row").get<std::string>(),
              .command = json.at("command").get<Command>(),
              .what = json.value("what", ""),
              .first_line_row = std::nullopt,
              .begins_at_first_line = json.value("begins_at_first_line", false),
              .bytes_copied = json.value("bytes_copied", uint64_t{0}),
              .bytes_decompressed = json.value("bytes_decompressed", uint64_t{0}),
              .captures = {}};
  if (json.contains("first_line_row"))
    stage.first_line_row = json.at("first_line_row").get<std::string>();
  if (json.contains("captures")) json.at("captures").get_to(stage.captures);
  return stage;
}

TablePlan table_of(const Json& json) {
  TablePlan table{.archive = json.at("archive").get<std::string>(),
                  .link = json.at("link").get<std::string>(),
                  .cache = json.at("cache").get<std::string>(),
                  .drops_caches = json.at("drops_caches").get<bool>(),
                  .probes = {},
                  .floors = {},
                  .ways = {},
                  .after = commands_of(json, "after")};
  for (const Json& probe : json.at("probes")) {
    table.probes.push_back({.name = probe.at("name").get<std::string>(),
                            .command = probe.at("command").get<Command>(),
                            .bytes = probe.at("bytes").get<uint64_t>()});
  }
  for (const auto& [row, parts] : json.at("floors").items()) {
    // A row may have no part: then nothing bounds it from below.
    auto& floor = table.floors[row];
    for (const Json& part : parts)
      floor.push_back({part.at("probe").get<std::string>(), part.at("bytes").get<uint64_t>()});
  }
  for (const Json& way : json.at("ways")) {
    Way& added = table.ways.emplace_back(
        Way{way.at("name").get<std::string>(), commands_of(way, "before"), {}});
    for (const Json& stage : way.at("stages")) added.stages.push_back(stage_of(stage));
  }
  return table;
}

Status bad(std::string message) {
  return {Code::kBadFormat, "plan: " + std::move(message)};
}

Status check_way(const Plan& plan, const Way& way) {
  std::multiset<std::string> seen;
  for (const Stage& stage : way.stages) {
    seen.insert(stage.row);
    if (stage.first_line_row) seen.insert(*stage.first_line_row);
    if (stage.command.empty())
      return bad(fmt::format("way {}: row {} has an empty command", way.name, stage.row));
  }
  for (const std::string& row : plan.rows) {
    if (seen.count(row) != 1)
      return bad(
          fmt::format("way {} has row {} {} times, not once", way.name, row, seen.count(row)));
  }
  if (seen.size() != plan.rows.size())
    return bad(fmt::format("way {} has a row that is not one of the plan's {}", way.name,
                           plan.rows.size()));
  return Status::ok();
}

Status check_table(const Plan& plan, const TablePlan& table) {
  std::set<std::string> probes;
  for (const Probe& probe : table.probes) {
    if (probe.bytes == 0 || probe.command.empty())
      return bad(fmt::format("probe {} has no bytes or no command", probe.name));
    probes.insert(probe.name);
  }
  for (const std::string& row : plan.rows) {
    if (!table.floors.contains(row)) return bad(fmt::format("row {} has no floor", row));
  }
  for (const auto& [row, parts] : table.floors) {
    for (const FloorPart& part : parts) {
      if (!probes.contains(part.probe))
        return bad(fmt::format("the floor of {} names no probe: {}", row, part.probe));
    }
  }
  if (table.ways.empty()) return bad("a table has no ways");
  for (const Way& way : table.ways) TARN_TRY(check_way(plan, way));
  return Status::ok();
}

}  // namespace

Result<Plan> parse_plan(std::string_view text) {
  Plan plan;
  try {
    const Json json = Json::parse(text);
    json.at("rows").get_to(plan.rows);
    json.at("runs").get_to(plan.runs);
    plan.stage_seconds_max = json.value("stage_seconds_max", kStageSecondsDefault);
    plan.machine = json.at("machine");
    plan.dataset = json.at("dataset");
    plan.settings = json.value("settings", Json::object());
    plan.notes = json.value("notes", std::vector<std::string>{});
    plan.missing = json.value("missing", std::vector<std::string>{});
    for (const Json& table : json.at("tables")) plan.tables.push_back(table_of(table));
  } catch (const nlohmann::json::exception& error) {
    return bad(error.what());
  }
  if (plan.runs < 1 || plan.runs > kRunsMax)
    return bad(fmt::format("{} runs, not 1 to {}", plan.runs, kRunsMax));
  if (plan.rows.empty() || plan.tables.empty()) return bad("no rows, or no tables");
  for (const TablePlan& table : plan.tables) TARN_TRY(check_table(plan, table));
  return plan;
}

}  // namespace tarn::pipeline
