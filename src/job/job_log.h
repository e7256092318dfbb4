// What a job printed: lines with times, in one bounded file a job.
//
//   line   time in milliseconds since the epoch, decimal | ' ' | text | '\n'
//
// LogWriter takes the bytes of a pipe as they come and writes whole lines; a line over 64 KiB is
// cut into several. After kLogBytesMax bytes it drops what comes and counts it; a last line says
// so. Readers read the file beside the writer; positions are offsets of lines. Thread rules: a
// writer belongs to one thread; the functions are thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/file.h"

namespace tarn::job {

// What a reader can still use; a program that prints more has gone wrong.
inline constexpr uint64_t kLogBytesMax = uint64_t{64} << 20;
inline constexpr size_t kLogLineBytesMax = size_t{64} << 10;
// Of the newest lines, kept in memory to explain a failure.
inline constexpr size_t kLogTailLines = 30;

class LogWriter {
 public:
  /// Makes the file, or empties it. `bytes_max` bounds it.
  static Result<LogWriter> create(const std::string& path, Clock& clock,
                                  uint64_t bytes_max = kLogBytesMax);

  /// Bytes as the program wrote them.
  Status append(std::string_view bytes);
  /// A line of Tarn's own.
  Status append_line(std::string_view text);
  /// Writes a last line without an end, and what was dropped.
  Status finish();

  uint64_t lines() const { return lines_; }
  uint64_t bytes_dropped() const { return bytes_dropped_; }
  /// The newest lines, oldest first.
  const std::deque<std::string>& tail() const { return tail_; }

 private:
  LogWriter(UniqueFd file, Clock& clock, uint64_t bytes_max)
      : file_(std::move(file)), clock_(&clock), bytes_max_(bytes_max) {}
  void put(std::string_view line);
  Status write_out();

  UniqueFd file_;
  Clock* clock_;
  uint64_t bytes_max_;
  std::string partial_;  // a line without its end
  std::string out_;      // lines not yet written
  uint64_t bytes_ = 0, lines_ = 0, bytes_dropped_ = 0;
  int64_t last_ms_ = 0;
  std::deque<std::string> tail_;
};

struct LogEvent {
  int64_t time_ms = 0;
  std::string message;
};
struct LogPage {
  std::vector<LogEvent> events;  // oldest first
  uint64_t begin = 0, end = 0;   // offsets of the first line and after the last
};
/// At most `events_max` lines, and about a megabyte, from the line at `offset` on. kNotFound when
/// the job has printed nothing yet.
Result<LogPage> read_log_after(const std::string& path, uint64_t offset, size_t events_max);
/// The same, the last ones before `offset`.
Result<LogPage> read_log_before(const std::string& path, uint64_t offset, size_t events_max);
/// Bytes of the log; 0 when there is none.
uint64_t log_size(const std::string& path);

}  // namespace tarn::job
