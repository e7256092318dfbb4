#include "kv/kv.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"

namespace tarn::kv {
namespace {

// The first retry waits at most this long, each later one up to twice as long as the one before. A
// commit takes about 10 us, so the first waits are of that order; the cap keeps a loser from
// sleeping away its time.
constexpr TimeNs kFirstBackoffNs = 20'000;
constexpr TimeNs kBackoffNsMax = 10 * kMillisecondNs;

void back_off(int retry) {
  thread_local std::minstd_rand random{std::random_device{}()};
  TimeNs most = std::min(kFirstBackoffNs << std::min(retry, 16), kBackoffNsMax);
  TimeNs wait = std::uniform_int_distribution<TimeNs>(0, most)(random);
  std::this_thread::sleep_for(std::chrono::nanoseconds(wait));
}

}  // namespace

Range Range::prefix(std::string_view prefix) {
  Range range{std::string(prefix), std::string(prefix)};
  // The end is the prefix with its last byte that is not 0xff raised by one; a prefix of 0xff only
  // has none.
  while (!range.end.empty() && range.end.back() == '\xff') range.end.pop_back();
  if (!range.end.empty()) {
    range.end.back() = static_cast<char>(static_cast<unsigned char>(range.end.back()) + 1);
  }
  return range;
}

Result<Committed> transact(Store& store, const std::function<Status(Transaction&)>& body) {
  TimeNs deadline = 0;
  for (int retry = 0;; ++retry) {
    std::unique_ptr<Transaction> transaction = store.begin();
    TARN_TRY(body(*transaction));
    Result<Stamp> stamp = transaction->commit();
    if (stamp.is_ok()) return Committed{*stamp};
    if (!stamp.is(Code::kConflict)) return stamp.status();
    // The snapshot of the failed try would keep versions alive during the wait.
    transaction.reset();
    TimeNs now = Clock::system().monotonic();
    if (retry == 0) deadline = now + limits::kTransactionRetryNs;
    if (now >= deadline) {
      return Status(Code::kAgain,
                    fmt::format("transaction gave up after {} conflicts in {} ms", retry + 1,
                                limits::kTransactionRetryNs / kMillisecondNs));
    }
    back_off(retry);
  }
}

}  // namespace tarn::kv
