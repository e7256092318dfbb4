#include "pipeline/report.h"

#include <algorithm>
#include <array>
#include <thread>

#include <fmt/format.h>

#include "base/check.h"

namespace tarn::pipeline {
namespace {

// The aims that shortfalls_of compares with.
constexpr double kFloorFactor = 1.25, kFloorAdd = 0.05, kSameToolFactor = 1.05;

/// Rows in which in_place_tools runs the very tool of `copy` on the same bytes.
constexpr std::array kSameToolRows = {"integrity", "verify", "pickled", "meta", "preview", "train"};

/// All values of a capture, over ways and runs, are one.
void check_agreement(const TableReport& table, const std::string& name, const char* what,
                     std::vector<std::string>& flags) {
  const Json* first = nullptr;
  for (const WayReport& way : table.ways) {
    const auto found = way.captures.find(name);
    if (found == way.captures.end()) {
      flags.push_back(fmt::format("{}, {}, {}: {} has no {}", table.archive, table.link,
                                  table.cache, way.name, what));
      continue;
    }
    for (const Json& value : found->second) {
      if (first == nullptr) first = &value;
      if (value != *first)
        flags.push_back(fmt::format("{}, {}, {}: {} of {} is {}, not {}", table.archive, table.link,
                                    table.cache, what, way.name, value.dump(), first->dump()));
    }
  }
}

Json captured(const TableReport& table, const std::string& name) {
  Json out = Json::object();
  for (const WayReport& way : table.ways) {
    const auto found = way.captures.find(name);
    if (found != way.captures.end() && !found->second.empty()) out[way.name] = found->second.back();
  }
  return out;
}

Json table_json(const Report& report, const TableReport& table) {
  Json ways = Json::object(), all = Json::object(), what = Json::object();
  Json copied = Json::object(), decompressed = Json::object(), used = Json::object();
  Json totals = Json::object(), totals_train = Json::object(), others = Json::object();
  for (const WayReport& way : table.ways) {
    for (const std::string& row : report.rows) {
      ways[way.name][row] = way.median(row);
      all[way.name][row] = way.seconds.at(row);
      what[way.name][row] = way.what.at(row);
      const Usage& usage = way.used.at(row);
      used[way.name][row] = {{"cpu_seconds", usage.cpu}, {"disk_seconds", usage.disk}};
    }
    copied[way.name] = way.bytes_copied;
    decompressed[way.name] = way.bytes_decompressed;
    totals[way.name] = way.total(report.rows, false);
    totals_train[way.name] = way.total(report.rows, true);
    for (const auto& [name, values] : way.captures) {
      if (name != "loss" && name != "sum") others[way.name][name] = values;
    }
  }
  Json floors = Json::object(), probes = Json::object();
  for (const std::string& row : report.rows) floors[row] = table.floors.at(row);
  for (const auto& [name, seconds] : table.probe_seconds)
    probes[name] = {{"bytes", table.probe_bytes.at(name)}, {"seconds", seconds}};
  return {{"archive", table.archive},
          {"link", table.link},
          {"cache", table.cache},
          {"ways", std::move(ways)},
          {"floors", std::move(floors)},
          {"bytes_copied", std::move(copied)},
          {"bytes_decompressed", std::move(decompressed)},
          {"loss", captured(table, "loss")},
          {"sum", captured(table, "sum")},
          {"totals_without_train", std::move(totals)},
          {"totals_with_train", std::move(totals_train)},
          {"gains",
           {{"in_place", table.ratio(report.rows, "copy", "in_place_tools")},
            {"tools", table.ratio(report.rows, "copy_fast", "in_place_reread")},
            {"stored_digests", table.ratio(report.rows, "in_place_reread", "in_place_stored")},
            {"copy_over_in_place_reread", table.ratio(report.rows, "copy", "in_place_reread")},
            {"copy_over_in_place_stored", table.ratio(report.rows, "copy", "in_place_stored")},
            {"copy_over_again", table.ratio(report.rows, "copy", "again")}}},
          {"probes", std::move(probes)},
          {"figures", std::move(others)},
          {"each_run", std::move(all)},
          {"machine_busy_last_run", std::move(used)},
          {"commands", std::move(what)}};
}

}  // namespace

double median_of(std::vector<double> values) {
  CHECK(!values.empty(), "a median of nothing");
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double WayReport::median(const std::string& row) const {
  return median_of(seconds.at(row));
}

std::string WayReport::bound(const std::string& row) const {
  const auto found = used.find(row);
  if (found == used.end()) return "nothing is known of what it waited for";
  return bound_of(found->second, seconds.at(row).back(), std::thread::hardware_concurrency());
}

double WayReport::total(const std::vector<std::string>& rows, bool with_train) const {
  double sum = 0;
  for (const std::string& row : rows) {
    if (row == "ingest" || (row == "train" && !with_train)) continue;
    sum += median(row);
  }
  return sum;
}

double WayReport::extract_and_verify() const {
  double sum = 0;
  for (const char* row : {"extract", "verify"}) {
    if (const auto found = seconds.find(row); found != seconds.end())
      sum += median_of(found->second);
  }
  return sum;
}

std::string WayReport::shown_loss() const {
  const auto found = captures.find("loss");
  if (found == captures.end()) return "-";
  const Json& loss = found->second.back();
  return loss.is_number() ? fmt::format("{:.8f}", loss.get<double>()) : loss.dump();
}

double TableReport::floor_of_extract_and_verify() const {
  double sum = 0;
  for (const char* row : {"extract", "verify"}) {
    if (const auto found = floors.find(row); found != floors.end()) sum += found->second;
  }
  return sum;
}

const WayReport* TableReport::way(const std::string& name) const {
  const auto found = std::find_if(ways.begin(), ways.end(),
                                  [&](const WayReport& way) { return way.name == name; });
  return found == ways.end() ? nullptr : &*found;
}

double TableReport::ratio(const std::vector<std::string>& rows, const std::string& slower,
                          const std::string& faster) const {
  const WayReport* above = way(slower);
  const WayReport* below = way(faster);
  if (above == nullptr || below == nullptr) return 0;
  return above->total(rows, false) / below->total(rows, false);
}

std::vector<std::string> flags_of(const Report& report) {
  std::vector<std::string> flags;
  for (const TableReport& table : report.tables) {
    check_agreement(table, "sum", "the sum of the records", flags);
    check_agreement(table, "loss", "the final loss", flags);
  }
  return flags;
}

std::vector<std::string> shortfalls_of(const Report& report) {
  std::vector<std::string> out;
  for (const TableReport& table : report.tables) {
    const std::string where =
        fmt::format("{}, {}, caches {}", table.archive, table.link, table.cache);
    for (const char* name : {"in_place_reread", "in_place_stored"}) {
      const WayReport* way = table.way(name);
      if (way == nullptr) continue;
      for (const std::string& row : report.rows) {
        const double aim = kFloorFactor * table.floors.at(row) + kFloorAdd;
        if (row != "train" && way->median(row) > aim)
          out.push_back(
              fmt::format("{}: {} of {} took {:.3f} s, above 1.25 x its floor + 0.05 s = "
                          "{:.3f} s; {}",
                          where, row, name, way->median(row), aim, way->bound(row)));
      }
    }
    const WayReport* tools = table.way("in_place_tools");
    const WayReport* copy = table.way("copy");
    if (tools == nullptr || copy == nullptr) continue;
    for (const std::string row : kSameToolRows) {
      if (!tools->seconds.contains(row) || !copy->seconds.contains(row)) continue;
      const double aim = kSameToolFactor * copy->median(row);
      if (tools->median(row) > aim)
        out.push_back(
            fmt::format("{}: {} of in_place_tools took {:.3f} s, {:.2f} x the same tool "
                        "on the local disk ({:.3f} s); {}",
                        where, row, tools->median(row), tools->median(row) / copy->median(row),
                        copy->median(row), tools->bound(row)));
    }
  }
  return out;
}

Json to_json(const Report& report) {
  Json tables = Json::array();
  for (const TableReport& table : report.tables) tables.push_back(table_json(report, table));
  return {{"machine", report.machine},   {"dataset", report.dataset},
          {"settings", report.settings}, {"runs", report.runs},
          {"rows", report.rows},         {"missing", report.missing},
          {"flags", flags_of(report)},   {"below_aim", shortfalls_of(report)},
          {"notes", report.notes},       {"tables", std::move(tables)}};
}

}  // namespace tarn::pipeline
