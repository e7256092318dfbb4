#include "mount/interrupts.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include "base/file.h"
#include "mount/channel.h"

namespace tarn::mount {
namespace {

constexpr uint64_t plain(uint64_t unique) {
  return unique & ~wire::kUniqueResend;
}

}  // namespace

bool is_ending(uint32_t pid) {
  if (pid == 0) return false;  // not visible in this pid namespace
  auto text = read_file(fmt::format("/proc/{}/status", pid), 64 * 1024);
  if (!text.is_ok()) return true;
  // A fatal signal becomes SIGKILL, pending at each thread, whatever signal it was.
  for (const char* field : {"\nSigPnd:\t", "\nShdPnd:\t"}) {
    size_t at = text->find(field);
    if (at == std::string::npos) continue;
    uint64_t mask = std::strtoull(text->c_str() + at + 9, nullptr, 16);
    if ((mask & (uint64_t{1} << (9 - 1))) != 0) return true;
  }
  return false;
}

void InterruptTable::add(const std::shared_ptr<PendingRequest>& request) {
  bool is_early = false;
  {
    MutexLock lock(mutex_);
    uint64_t unique = plain(request->unique_);
    requests_[unique] = request;
    auto found = std::ranges::find(early_, unique);
    if (found != early_.end()) {
      *found = 0;
      is_early = true;
    }
  }
  if (is_early) apply(*request);
}

void InterruptTable::remove(const PendingRequest& request) {
  MutexLock lock(mutex_);
  requests_.erase(plain(request.unique_));
}

void InterruptTable::interrupt(uint64_t unique) {
  std::shared_ptr<PendingRequest> request;
  {
    MutexLock lock(mutex_);
    auto found = requests_.find(plain(unique));
    if (found == requests_.end()) {
      early_[early_next_++ % early_.size()] = plain(unique);
      return;
    }
    request = found->second;
  }
  apply(*request);
}

void InterruptTable::apply(PendingRequest& request) {
  request.is_interrupted_.store(true);
  using State = PendingRequest::State;
  bool is_given_up = request.move(State::kWaiting, State::kClaimed);
  if (!is_given_up) {
    bool may_abandon = request.policy_ == OnInterrupt::kAlways ||
                       (request.policy_ == OnInterrupt::kIfEnding && is_ending_(request.pid_));
    is_given_up = may_abandon && request.claim();
  }
  if (!is_given_up) return;
  // kNotFound means that the kernel gave the request up itself.
  static_cast<void>(request.queue_.answer(request.unique_, EINTR, {}));
}

}  // namespace tarn::mount
