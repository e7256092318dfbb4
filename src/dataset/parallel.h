// parallel_for: the same work for 0 to count - 1 on several threads.
//
// For work that is long against the start of a thread (files, chunks of megabytes). Items are
// taken in order, one at a time, so that uneven items even out. Thread rules: `work` is called
// from several threads at once and must not throw.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace tarn::dataset {

/// Threads that keep this machine's cores and its disk busy: a thread that waits for the disk
/// leaves its core to another.
inline size_t io_threads() {
  return std::thread::hardware_concurrency() + size_t{2};
}

template <class Work>
void parallel_for(size_t count, size_t threads_max, const Work& work) {
  std::atomic<size_t> next = 0;
  const auto run = [&] {
    for (size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::jthread> threads;
  for (size_t i = 1; i < threads_max && i < count; ++i) threads.emplace_back(run);
  run();
}

}  // namespace tarn::dataset
