// Usage: how busy the machine was during a stage, to say what a slow stage waited for.
//
// Of the whole machine, so that a server's work counts, and that of every other program too: a
// stage on a machine that is not quiet shows it. Counted by the kernel in steps of 10 ms.
// Thread rules: plain values and functions.
#pragma once

#include <string>

namespace tarn::pipeline {

/// Seconds since boot, or between two moments.
struct Usage {
  double cpu = 0;   // all cores together: user, system, interrupts
  double disk = 0;  // of the disk that was busy longest
  Usage operator-(const Usage& earlier) const { return {cpu - earlier.cpu, disk - earlier.disk}; }
};

/// Now, from /proc/stat and /proc/diskstats; zeros where they cannot be read.
Usage usage_now();

/// What bounded `seconds` of a stage: the disk, the cores, one thread, or waiting for something
/// else; with the figures it is read from.
std::string bound_of(const Usage& used, double seconds, unsigned cores);

}  // namespace tarn::pipeline
