// Report: what a run of the pipeline found, and what it says in text, JSON and HTML.
//
// Every number in it was measured: seconds are medians over the runs, floors come from probes of
// the same run. Totals leave `ingest` out (data has to be stored once in every way) and, where said
// so, `train` (storage does not matter there). Thread rules: plain values and functions.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pipeline/plan.h"
#include "pipeline/usage.h"

namespace tarn::pipeline {

/// One way of one table.
struct WayReport {
  std::string name;
  std::map<std::string, std::vector<double>> seconds;  // row -> one value a run
  std::map<std::string, Usage> used;                   // row -> the machine's, in the last run
  std::map<std::string, std::string> what;             // row -> the command, for people
  uint64_t bytes_copied = 0, bytes_decompressed = 0;   // of one run
  std::map<std::string, std::vector<Json>> captures;   // name -> one value a run

  double median(const std::string& row) const;
  /// What bounded the row in the last run, for people (bound_of).
  std::string bound(const std::string& row) const;
  /// Sum of the medians of all rows but `ingest`, and but `train` unless asked for.
  double total(const std::vector<std::string>& rows, bool with_train) const;
  /// Medians of extract and verify together, as the published table very likely counts verify;
  /// rows that are not there count nothing.
  double extract_and_verify() const;
  /// The final loss for people, or "-".
  std::string shown_loss() const;
};

struct TableReport {
  std::string archive, link, cache;
  std::vector<WayReport> ways;
  std::map<std::string, double> floors;                      // row -> seconds
  std::map<std::string, std::vector<double>> probe_seconds;  // probe -> one value a run
  std::map<std::string, uint64_t> probe_bytes;

  const WayReport* way(const std::string& name) const;
  double floor_of_extract_and_verify() const;
  /// Total of `slower` over total of `faster`, without train; 0 when one is not there.
  double ratio(const std::vector<std::string>& rows, const std::string& slower,
               const std::string& faster) const;
};

struct Report {
  std::vector<std::string> rows;
  uint32_t runs = 1;
  Json machine, dataset, settings;
  std::vector<std::string> notes, missing;
  std::vector<TableReport> tables;
};

/// The middle value, or the mean of the middle two; `values` is not empty.
double median_of(std::vector<double> values);

/// What is wrong with the run: record sums or losses that differ between ways. Empty when sound.
std::vector<std::string> flags_of(const Report& report);
/// Rows that are slower than the aims: Tarn's own commands above 1.25 x floor + 0.05 s, the usual
/// tools on the mount above 1.05 x the same tool on the local disk. Each with what bounded it.
std::vector<std::string> shortfalls_of(const Report& report);

Json to_json(const Report& report);
std::string to_text(const Report& report);
/// One page without outside parts; `preview_png` (may be empty) is put into it.
std::string to_html(const Report& report, std::string_view preview_png);

}  // namespace tarn::pipeline
