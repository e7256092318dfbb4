#include "pipeline/runner.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/file.h"
#include "pipeline/process.h"

namespace tarn::pipeline {
namespace {

double to_seconds(TimeNs span) {
  return static_cast<double>(span) / static_cast<double>(kSecondNs);
}

/// The last line of `output` that is a JSON object.
Result<Json> last_object(const std::string& output) {
  size_t end = output.size();
  while (end > 0) {
    const size_t newline = output.rfind('\n', end - 1);
    const size_t begin = newline == std::string::npos ? 0 : newline + 1;
    if (begin < end && output[begin] == '{') {
      Json json = Json::parse(output.begin() + static_cast<ptrdiff_t>(begin),
                              output.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
      if (json.is_object()) return json;
    }
    if (begin == 0) break;
    end = begin - 1;
  }
  return Status(Code::kBadFormat, "its output has no line that is a JSON object");
}

Status run_all(const std::vector<Command>& commands, uint64_t seconds_max) {
  for (const Command& command : commands) TARN_TRY(run_timed(command, seconds_max));
  return Status::ok();
}

Status run_probe(const Plan& plan, const TablePlan& table, const Probe& probe,
                 TableReport& report) {
  if (table.drops_caches) TARN_TRY(drop_caches());
  TARN_ASSIGN(const TimedRun run, run_timed(probe.command, plan.stage_seconds_max));
  report.probe_seconds[probe.name].push_back(to_seconds(run.took));
  report.probe_bytes[probe.name] = probe.bytes;
  return Status::ok();
}

Result<double> run_stage(const Plan& plan, const TablePlan& table, const Stage& stage,
                         WayReport& way) {
  if (table.drops_caches) TARN_TRY(drop_caches());
  TARN_ASSIGN(const TimedRun run, run_timed(stage.command, plan.stage_seconds_max));
  const TimeNs begin = stage.begins_at_first_line ? run.first_line : 0;
  const TimeNs split = stage.begins_at_first_line ? run.second_line : run.first_line;
  const TimeNs head = stage.first_line_row ? split - begin : 0;
  way.seconds[stage.row].push_back(to_seconds(run.took - begin - head));
  way.what[stage.row] = stage.what;
  const Usage& at_begin = stage.begins_at_first_line ? run.usage_first_line : run.usage_began;
  const Usage& at_split = stage.begins_at_first_line ? run.usage_second_line : run.usage_first_line;
  way.used[stage.row] = run.usage_ended - (stage.first_line_row ? at_split : at_begin);
  if (stage.first_line_row) {
    way.used[*stage.first_line_row] = at_split - at_begin;
    way.seconds[*stage.first_line_row].push_back(to_seconds(head));
    way.what[*stage.first_line_row] = stage.what;
  }
  if (!stage.captures.empty()) {
    TARN_ASSIGN(const Json object, last_object(run.output));
    for (const auto& [name, key] : stage.captures) {
      if (!object.contains(key))
        return Status(Code::kBadFormat, fmt::format("its output has no '{}'", key));
      way.captures[name].push_back(object[key]);
    }
  }
  return to_seconds(run.took - begin);
}

WayReport& way_report(TableReport& table, const Way& way) {
  const auto found = std::find_if(table.ways.begin(), table.ways.end(),
                                  [&](const WayReport& each) { return each.name == way.name; });
  if (found != table.ways.end()) return *found;
  WayReport& added = table.ways.emplace_back();
  added.name = way.name;
  for (const Stage& stage : way.stages) {
    added.bytes_copied += stage.bytes_copied;
    added.bytes_decompressed += stage.bytes_decompressed;
  }
  return added;
}

void set_floors(const TablePlan& table, TableReport& report) {
  for (const auto& [row, parts] : table.floors) {
    double floor = 0;
    for (const FloorPart& part : parts) {
      const double speed = static_cast<double>(report.probe_bytes.at(part.probe)) /
                           median_of(report.probe_seconds.at(part.probe));
      floor = std::max(floor, static_cast<double>(part.bytes) / speed);
    }
    report.floors[row] = floor;
  }
}

Status run_table(const Plan& plan, const TablePlan& table, const Observer& observer,
                 TableReport& report) {
  for (uint32_t run = 1; run <= plan.runs; ++run) {
    for (const Probe& probe : table.probes) {
      const Status status = run_probe(plan, table, probe, report);
      if (!status.is_ok()) return status.with_context("probe " + probe.name);
      observer(table, run, "probe", probe.name, report.probe_seconds[probe.name].back());
    }
    for (const Way& way : table.ways) {
      TARN_TRY(run_all(way.before, plan.stage_seconds_max));
      WayReport& measured = way_report(report, way);
      for (const Stage& stage : way.stages) {
        const auto seconds = run_stage(plan, table, stage, measured);
        if (!seconds.is_ok())
          return seconds.status().with_context(fmt::format("{}, {}", way.name, stage.row));
        observer(table, run, way.name, stage.row, seconds.value());
      }
    }
  }
  set_floors(table, report);
  return run_all(table.after, plan.stage_seconds_max);
}

}  // namespace

Status drop_caches() {
  sync();
  TARN_ASSIGN(const UniqueFd fd, open_at(AT_FDCWD, "/proc/sys/vm/drop_caches", O_WRONLY));
  return write_all(fd.get(), as_bytes("3\n"));
}

Result<Report> run_plan(const Plan& plan, const Observer& observer) {
  Report report{.rows = plan.rows,
                .runs = plan.runs,
                .machine = plan.machine,
                .dataset = plan.dataset,
                .settings = plan.settings,
                .notes = plan.notes,
                .missing = plan.missing,
                .tables = {}};
  for (const TablePlan& table : plan.tables) {
    TableReport& measured = report.tables.emplace_back();
    measured.archive = table.archive;
    measured.link = table.link;
    measured.cache = table.cache;
    const Status status = run_table(plan, table, observer, measured);
    if (!status.is_ok())
      return status.with_context(
          fmt::format("{}, {}, caches {}", table.archive, table.link, table.cache));
  }
  return report;
}

}  // namespace tarn::pipeline
