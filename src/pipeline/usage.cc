#include "pipeline/usage.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

namespace tarn::pipeline {
namespace {

// Below this a stage is too short for steps of 10 ms.
constexpr double kSecondsMin = 0.1;
constexpr double kBusyDisk = 0.8, kBusyCores = 0.9, kBusyThread = 0.8;

/// Fields of "cpu" in proc(5): user nice system idle iowait irq softirq, in clock ticks.
double cpu_seconds() {
  std::ifstream in("/proc/stat");
  std::string name;
  std::array<double, 7> ticks{};
  in >> name;
  for (double& each : ticks) in >> each;
  if (!in) return 0;
  const double busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
  return busy / static_cast<double>(sysconf(_SC_CLK_TCK));
}

/// Field 13 of the kernel's iostats.rst, milliseconds spent doing I/O, of the busiest device.
double disk_seconds() {
  std::ifstream in("/proc/diskstats");
  double most = 0;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string word;
    double number = 0;
    words >> word >> word >> word;
    for (int field = 4; field <= 13; ++field) words >> number;
    if (words) most = std::max(most, number / 1000);
  }
  return most;
}

}  // namespace

Usage usage_now() {
  return {cpu_seconds(), disk_seconds()};
}

std::string bound_of(const Usage& used, double seconds, unsigned cores) {
  if (seconds < kSecondsMin) return "too short to see what it waited for";
  const double busy_cores = used.cpu / seconds;
  const double busy_disk = std::min(used.disk / seconds, 1.0);
  const std::string figures = fmt::format("{:.1f} of {} cores busy, the disk {:.0f} % of the time",
                                          busy_cores, cores, busy_disk * 100);
  if (busy_cores >= kBusyCores * cores) return "bounded by the cores: " + figures;
  if (busy_disk >= kBusyDisk) return "bounded by the disk: " + figures;
  if (busy_cores >= kBusyThread) return "bounded by one thread: " + figures;
  return "bounded by waiting for neither cores nor disk: " + figures;
}

}  // namespace tarn::pipeline
