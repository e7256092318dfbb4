// Measuring two ways of doing one thing, in pairs within one run, and writing the figures down.
//
// A shared machine's speed drifts, so the two sides are measured in turn, in alternating order, and
// each side's figure is the median of its pairs. `write_figures` leaves the form that `./run bench`
// keeps: an object figure -> {ours, theirs, ratio = ours / theirs, unit, pairs}. Header only; for
// the programs in bench/. Thread rules: plain functions, for one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/status.h"

namespace tarn::bench {

inline constexpr int kPairs = 9;

struct Figure {
  std::string name;
  std::string unit;
  double ours = 0;
  double theirs = 0;
  int pairs = 0;

  double ratio() const { return ours / theirs; }
};

/// The middle value; of an even count the upper of the two in the middle.
inline double median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Seconds that `work()` takes by the clock on the wall.
template <class Work>
double seconds_of(Work&& work) {
  auto begin = std::chrono::steady_clock::now();
  std::forward<Work>(work)();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Seconds that this thread spends on a processor in `work()`: for work of one thread that waits
/// for nothing, this leaves out the time for which other programs had the processor.
template <class Work>
double cpu_seconds_of(Work&& work) {
  auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  };
  double begin = now();
  std::forward<Work>(work)();
  return now() - begin;
}

/// Calls `ours` and `theirs`, each of which does its work once and returns its figure in `unit`,
/// once unmeasured and then in `pairs` pairs. Every second pair begins with the other side.
template <class Ours, class Theirs>
Figure measure_pairs(std::string name, std::string unit, Ours&& ours, Theirs&& theirs,
                     int pairs = kPairs) {
  std::vector<double> our_values, their_values;
  ours();
  theirs();
  for (int pair = 0; pair < pairs; ++pair) {
    if (pair % 2 == 0) our_values.push_back(ours());
    their_values.push_back(theirs());
    if (pair % 2 != 0) our_values.push_back(ours());
  }
  return {std::move(name), std::move(unit), median(our_values), median(their_values), pairs};
}

/// One line a figure.
inline void print_figures(const std::vector<Figure>& figures) {
  fmt::print("{:<34} {:>10} {:>10} {:>8}  unit\n", "figure", "ours", "theirs", "ratio");
  for (const Figure& f : figures) {
    fmt::print("{:<34} {:>10.3f} {:>10.3f} {:>8.3f}  {}, median of {} pairs\n", f.name, f.ours,
               f.theirs, f.ratio(), f.unit, f.pairs);
  }
}

/// Writes the figures as JSON; Io when the file cannot be written.
inline Status write_figures(const std::string& path, const std::vector<Figure>& figures) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const Figure& f : figures) {
    json[f.name] = {{"ours", f.ours},
                    {"theirs", f.theirs},
                    {"ratio", f.ratio()},
                    {"unit", f.unit},
                    {"pairs", f.pairs}};
  }
  std::ofstream out(path);
  out << json.dump(2) << "\n";
  out.close();
  if (!out) return {Code::kIo, fmt::format("cannot write the figures to '{}'", path)};
  return {};
}

}  // namespace tarn::bench
