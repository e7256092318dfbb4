#include "base/limits.h"
#include "base/mutex.h"
#include "meta/keys.h"
#include "meta/meta.h"
#include "meta/rows.h"

namespace tarn::meta {
namespace {
// Inode 1 is the root; the numbers up to 15 are kept for inodes that Tarn may itself define.
constexpr uint64_t kFirstInode = 16;
constexpr uint64_t kFirstBlob = 1;
}  // namespace

struct IdAllocator::State {
  State(kv::Store& s, Kind k) : store(s), kind(k) {}

  kv::Store& store;
  const Kind kind;
  // Not held while a block is fetched: the store's own mutexes rank lower.
  Mutex mutex{"meta.ids", 210};
  CondVar is_fetched;
  uint64_t next = 0;
  uint64_t end = 0;
  bool is_fetching = false;

  /// First number of a block that is durably ours.
  Result<uint64_t> fetch() {
    uint64_t first = 0;
    auto body = [&](kv::Transaction& txn) -> Status {
      std::string key = prefixed(Prefix::kNextId, std::string(1, static_cast<char>(kind)));
      TARN_ASSIGN(auto value, txn.get_tracked(key));
      first = kind == Kind::kInode ? kFirstInode : kFirstBlob;
      if (value) {
        TARN_ASSIGN(first, decode_number(*value));
      }
      txn.put(key, encode_number(first + limits::kIdBlock));
      return {};
    };
    TARN_ASSIGN(kv::Committed committed, kv::transact(store, body));
    TARN_TRY(store.sync(committed.stamp));
    return first;
  }
};

IdAllocator::IdAllocator(kv::Store& store, Kind kind)
    : state_(std::make_unique<State>(store, kind)) {}
IdAllocator::~IdAllocator() = default;

Result<uint64_t> IdAllocator::next() {
  State& s = *state_;
  MutexLock lock(s.mutex);
  while (s.next == s.end) {
    if (s.is_fetching) {
      s.is_fetched.wait(lock);
      continue;
    }
    s.is_fetching = true;
    lock.unlock();
    Result<uint64_t> first = s.fetch();
    lock.lock();
    s.is_fetching = false;
    s.is_fetched.notify_all();
    if (!first) return first.status();
    s.next = *first;
    s.end = *first + limits::kIdBlock;
  }
  return s.next++;
}

}  // namespace tarn::meta
