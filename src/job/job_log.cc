#include "job/job_log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "job/s3_uri.h"

namespace tarn::job {
namespace {

// CloudWatch's own limit on one answer.
constexpr size_t kPageBytesMax = size_t{1} << 20;

/// Splits whole lines of `text`, which begins at `begin` of the file, into events.
LogPage parse(std::string_view text, uint64_t begin, size_t events_max) {
  LogPage page{{}, begin, begin};
  while (page.events.size() < events_max) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) break;
    LogEvent event;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + end, event.time_ms);
    const size_t digits = static_cast<size_t>(rest - text.data());
    if (error == std::errc() && digits < end)
      event.message = std::string(text.substr(digits + 1, end - digits - 1));
    page.events.push_back(std::move(event));
    page.end += end + 1;
    text.remove_prefix(end + 1);
  }
  return page;
}

Result<std::string> read_part(const std::string& path, uint64_t offset, size_t length) {
  TARN_ASSIGN(const UniqueFd file, open_at(AT_FDCWD, path, O_RDONLY));
  std::string text(length, '\0');
  TARN_ASSIGN(const size_t got,
              read_at(file.get(), offset, std::as_writable_bytes(std::span(text))));
  text.resize(got);
  return text;
}

}  // namespace

Result<LogWriter> LogWriter::create(const std::string& path, Clock& clock, uint64_t bytes_max) {
  TARN_ASSIGN(UniqueFd file,
              open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600));
  return LogWriter(std::move(file), clock, bytes_max);
}

void LogWriter::put(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  // Every byte of a line may grow to one of the replacement; none grows further.
  const std::string text = clean_text(line, kLogLineBytesMax);
  ++lines_;
  tail_.push_back(text.substr(0, 1024));
  if (tail_.size() > kLogTailLines) tail_.pop_front();
  // Times never go back, whatever the clock does.
  last_ms_ = std::max(last_ms_, clock_->now() / kMillisecondNs);
  const std::string record = fmt::format("{} {}\n", last_ms_, text);
  if (bytes_ + record.size() > bytes_max_) {
    bytes_dropped_ += record.size();
    return;
  }
  bytes_ += record.size();
  out_ += record;
}

Status LogWriter::write_out() {
  if (out_.empty()) return {};
  const Status written = write_all(file_.get(), as_bytes(out_));
  out_.clear();
  return written;
}

Status LogWriter::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const size_t take = std::min(end == std::string_view::npos ? bytes.size() : end,
                                 kLogLineBytesMax - partial_.size());
    partial_ += bytes.substr(0, take);
    bytes.remove_prefix(take);
    const bool is_line = !bytes.empty() && bytes.front() == '\n';
    if (is_line) bytes.remove_prefix(1);
    if (is_line || partial_.size() == kLogLineBytesMax) {
      put(partial_);
      partial_.clear();
    }
  }
  return write_out();
}

Status LogWriter::append_line(std::string_view text) {
  if (!partial_.empty()) put(partial_);
  partial_.clear();
  put(text);
  return write_out();
}

Status LogWriter::finish() {
  if (!partial_.empty()) put(partial_);
  partial_.clear();
  if (bytes_dropped_ > 0)
    out_ += fmt::format("{} tarn: the log of a job holds {} bytes; {} more were dropped\n",
                        last_ms_, bytes_max_, bytes_dropped_);
  return write_out();
}

Result<LogPage> read_log_after(const std::string& path, uint64_t offset, size_t events_max) {
  TARN_ASSIGN(const std::string text, read_part(path, offset, kPageBytesMax));
  return parse(text, offset, events_max);
}

Result<LogPage> read_log_before(const std::string& path, uint64_t offset, size_t events_max) {
  offset = std::min(offset, log_size(path));
  const uint64_t begin = offset - std::min<uint64_t>(offset, kPageBytesMax);
  TARN_ASSIGN(std::string text, read_part(path, begin, static_cast<size_t>(offset - begin)));
  // A line that begins before the part, and one that is not whole yet, are left out.
  size_t first = begin == 0 ? 0 : text.find('\n') + 1;
  if (begin != 0 && first == 0) first = text.size();
  LogPage page = parse(std::string_view(text).substr(first), begin + first, SIZE_MAX);
  while (page.events.size() > events_max) {
    page.begin = page.begin + text.find('\n', static_cast<size_t>(page.begin - begin)) + 1 -
                 static_cast<size_t>(page.begin - begin);
    page.events.erase(page.events.begin());
  }
  return page;
}

uint64_t log_size(const std::string& path) {
  struct stat info{};
  return stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

}  // namespace tarn::job
