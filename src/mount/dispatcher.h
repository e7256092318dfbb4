// The dispatcher: finds each request's handler, and decides which thread runs it.
//
// One table (dispatcher.cc) names every operation with its handler (ops_*.cc, declared in ops.h)
// and where it runs: on the queue's thread, when it ends within about 200 us, or in the pool, when
// it may wait for a disk or copy data; for some operations a function looks at the request to
// decide. Operations that are not in the table are answered ENOSYS. A handler answers through the
// Exchange and returns Ok, or returns the Status that becomes the errno. Thread-safe: `handle` is
// called by every queue's thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/worker_pool.h"
#include "fs/fs.h"
#include "mount/exchange.h"
#include "mount/interrupts.h"
#include "mount/shared_state.h"

namespace tarn::mount {

/// How long the kernel may believe what it was told. One machine: every other change is notified,
/// so that they may be long; attributes of a file that is not settled are never believed.
struct Validity {
  TimeNs entry = 86'400 * kSecondNs;
  TimeNs attributes = 86'400 * kSecondNs;
  TimeNs absent = 86'400 * kSecondNs;  // names that do not exist
};

struct DispatcherOptions {
  Validity validity;
  uint64_t connection = 0;
  size_t pool_threads = 16;  // fsyncs of that many callers share one flush
  bool has_setxattr_ext = true;
};

class Dispatcher;

using Handler = Status (*)(Dispatcher&, Exchange&);
/// True: run it in the pool. May consume its copy of the request.
using SlowTest = bool (*)(Dispatcher&, Request);

struct Operation {
  wire::Opcode opcode;
  const char* name;
  Handler handler;
  SlowTest is_slow = nullptr;  // null: always on the queue's thread
  OnInterrupt on_interrupt = OnInterrupt::kNever;
};

/// "lookup", "read"; "unknown" for numbers that are not in the table.
const char* operation_name(uint32_t opcode);

struct OperationCounts {
  std::string name;
  uint64_t requests = 0;
  uint64_t errors = 0;
};

struct DispatcherStatistics {
  std::vector<OperationCounts> operations;  // those with requests
  uint64_t requests = 0;
  uint64_t in_pool = 0;      // of those, run in the pool
  uint64_t interrupted = 0;  // INTERRUPT messages
  uint64_t resent = 0;       // with the resend bit
  /// Requests answered within 2^i microseconds, from receipt to answer; the last holds the rest.
  std::array<uint64_t, 24> latency{};
};

class Dispatcher {
 public:
  /// `file_system` and `channel` must outlive this.
  Dispatcher(fs::FileSystem& file_system, Channel& channel, DispatcherOptions options);
  ~Dispatcher();

  /// Works on one request; when it returns the message's memory may be reused.
  void handle(Queue& queue, const Message& message);
  /// Runs what is in the pool to its end. No handle may be running or come.
  void drain() { pool_.stop(); }

  fs::FileSystem& file_system() { return file_system_; }
  Channel& channel() { return channel_; }
  const DispatcherOptions& options() const { return options_; }
  InterruptTable& interrupts() { return interrupts_; }
  DispatcherStatistics statistics() const;

 private:
  void run(const Operation& operation, Exchange& exchange, TimeNs began);
  void run_in_pool(const Operation& operation, const Request& request, Queue& queue,
                   std::span<const std::byte> bytes, TimeNs began);
  void count(uint32_t opcode, int error, TimeNs began);

  fs::FileSystem& file_system_;
  Channel& channel_;
  const DispatcherOptions options_;
  InterruptTable interrupts_;
  struct Counter {
    std::atomic<uint64_t> requests{0}, errors{0};
  };
  std::array<Counter, wire::kOpcodesEnd> counters_;
  std::array<std::atomic<uint64_t>, 24> latency_{};
  std::atomic<uint64_t> unknown_{0}, in_pool_{0}, interrupted_{0}, resent_{0};
  WorkerPool pool_;
};

}  // namespace tarn::mount
