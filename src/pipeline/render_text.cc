#include <fmt/format.h>

#include "pipeline/report.h"

namespace tarn::pipeline {
namespace {

void add_line(std::string& out, const std::string& first, const std::vector<std::string>& cells) {
  out += fmt::format("{:<22}", first);
  for (const std::string& cell : cells) out += fmt::format("{:>17}", cell);
  out += "\n";
}

std::string seconds(double value) {
  return fmt::format("{:.3f}", value);
}

std::string megabytes(uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

void add_table(std::string& out, const Report& report, const TableReport& table) {
  out += fmt::format(
      "\nArchive {}, link {}, caches {}. Seconds{}.\n", table.archive, table.link, table.cache,
      report.runs == 1 ? " of one run" : fmt::format(", medians of {} runs", report.runs));
  std::vector<std::string> heads, cells;
  for (const WayReport& way : table.ways) heads.push_back(way.name);
  heads.push_back("floor");
  add_line(out, "row", heads);
  const auto for_each_way = [&](const std::string& first, auto&& value, const std::string& last) {
    cells.clear();
    for (const WayReport& way : table.ways) cells.push_back(value(way));
    cells.push_back(last);
    add_line(out, first, cells);
  };
  for (const std::string& row : report.rows) {
    for_each_way(
        row, [&](const WayReport& way) { return seconds(way.median(row)); },
        seconds(table.floors.at(row)));
  }
  for_each_way(
      "total without train",
      [&](const WayReport& way) { return seconds(way.total(report.rows, false)); }, "");
  for_each_way(
      "total with train",
      [&](const WayReport& way) { return seconds(way.total(report.rows, true)); }, "");
  for_each_way(
      "extract + verify", [&](const WayReport& way) { return seconds(way.extract_and_verify()); },
      seconds(table.floor_of_extract_and_verify()));
  for_each_way(
      "bytes copied", [](const WayReport& way) { return megabytes(way.bytes_copied); }, "");
  for_each_way(
      "bytes decompressed", [](const WayReport& way) { return megabytes(way.bytes_decompressed); },
      "");
  for_each_way("final loss", [](const WayReport& way) { return way.shown_loss(); }, "");
  const auto ratio = [&](const char* slower, const char* faster) {
    return table.ratio(report.rows, slower, faster);
  };
  out += fmt::format(
      "Totals leave out ingest, which every way needs once. Without train:\n"
      "  copy over in_place_stored {:.1f}x, over in_place_reread {:.1f}x, over again {:.1f}x\n"
      "  of that: in place {:.2f}x (copy to in_place_tools), tools {:.2f}x (copy_fast to "
      "in_place_reread), stored digests {:.2f}x (in_place_reread to in_place_stored)\n",
      ratio("copy", "in_place_stored"), ratio("copy", "in_place_reread"), ratio("copy", "again"),
      ratio("copy", "in_place_tools"), ratio("copy_fast", "in_place_reread"),
      ratio("in_place_reread", "in_place_stored"));
}

void add_list(std::string& out, const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  out += fmt::format("\n{}\n", title);
  for (const std::string& line : lines) out += fmt::format("  * {}\n", line);
}

}  // namespace

std::string to_text(const Report& report) {
  std::string out =
      "The pipeline from archive to training, in place on Tarn and in the usual way\n\n";
  out += fmt::format("machine: {}\ndata set: {}\nsettings: {}\n", report.machine.dump(),
                     report.dataset.dump(), report.settings.dump());
  for (const TableReport& table : report.tables) add_table(out, report, table);
  add_list(out, "FLAGS: this run is not sound", flags_of(report));
  add_list(out, "Not measured as it should be yet", report.missing);
  add_list(out, "Below the aims", shortfalls_of(report));
  add_list(out, "Notes", report.notes);
  return out;
}

}  // namespace tarn::pipeline
