// Plan: what a run of the pipeline measures, read from a JSON document.
//
// A plan says which commands make up each row (stage) of each way, which probes give the floors,
// and how often everything runs. It holds commands only: no number of a report comes from a plan
// except sizes in bytes. Format: docs of the document stand at parse_plan. Thread rules: plain
// values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace tarn::pipeline {

using Json = nlohmann::ordered_json;
using Command = std::vector<std::string>;

/// A row of one way: a command that is timed from its start to its end.
struct Stage {
  std::string row;
  Command command;
  std::string what;  // for people: what the command is
  /// When set, the time to the command's first line of output (its second, where time begins at
  /// the first) is this row, and `row` is the rest.
  std::optional<std::string> first_line_row;
  /// The command's first line says that its client is ready; time begins there, not at its start.
  bool begins_at_first_line = false;
  uint64_t bytes_copied = 0;        // stored data-set bytes that it writes again
  uint64_t bytes_decompressed = 0;  // bytes that it inflates
  /// Name in the report -> key in the last line of output, a JSON object.
  std::map<std::string, std::string> captures;
};

struct Way {
  std::string name;
  std::vector<Command> before;  // untimed, before each run: makes room, never does a stage's work
  std::vector<Stage> stages;
};

/// A command that does one thing to a known number of bytes, timed as a stage is.
struct Probe {
  std::string name;
  Command command;
  uint64_t bytes = 0;
};

/// The floor of a row: `bytes` at the speed of `probe`. With several, the slowest counts.
struct FloorPart {
  std::string probe;
  uint64_t bytes = 0;
};

struct TablePlan {
  std::string archive, link, cache;
  bool drops_caches = false;
  std::vector<Probe> probes;
  std::map<std::string, std::vector<FloorPart>> floors;  // by row
  std::vector<Way> ways;
  std::vector<Command> after;
};

struct Plan {
  std::vector<std::string> rows;
  uint32_t runs = 1;
  uint64_t stage_seconds_max = 0;
  Json machine, dataset, settings;  // go into the report as they are
  std::vector<std::string> notes;
  std::vector<std::string> missing;
  std::vector<TablePlan> tables;
};

inline constexpr uint32_t kRunsMax = 99;

/// Reads a plan and checks it: every way has every row once, every floor names a probe. BadFormat
/// says where. Keys are the members above, in the same nesting; `captures` is an object, `floors`
/// maps a row to [{probe, bytes}].
Result<Plan> parse_plan(std::string_view text);

}  // namespace tarn::pipeline
