#include "app/console.h"

#include <unistd.h>

#include <cstdio>

#include <fmt/format.h>

#include "app/machine.h"

namespace tarn::app {

int exit_code_of(const Status& status) {
  if (status.is_ok()) return kDone;
  return status.is(Code::kUnavailable) ? kNothingToTalkTo : kFailed;
}

int finish(const Status& status) {
  if (!status.is_ok()) fmt::print(stderr, "tarn: {}\n", status.message());
  return exit_code_of(status);
}

int refuse(const Status& status) {
  const int code = finish(status);
  return code == kFailed ? kWrongUsage : code;
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

Progress::Progress(std::string what)
    : what_(std::move(what)),
      started_(Clock::system().monotonic()),
      is_terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  // The line is taken back, so that what follows stands alone.
  if (is_drawn_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(uint64_t done, uint64_t total) {
  const TimeNs spent = Clock::system().monotonic() - started_;
  if (!is_terminal_ || spent < kSecondNs) return;
  is_drawn_ = true;
  const auto rate =
      static_cast<uint64_t>(static_cast<double>(done) / (static_cast<double>(spent) / 1e9));
  if (total == 0) {
    fmt::print(stderr, "\r\033[K{} {} at {}/s", what_, human_bytes(done), human_bytes(rate));
  } else {
    fmt::print(stderr, "\r\033[K{} {:3.0f} % of {} at {}/s", what_,
               100.0 * static_cast<double>(done) / static_cast<double>(total), human_bytes(total),
               human_bytes(rate));
  }
  std::fflush(stderr);
}

}  // namespace tarn::app
