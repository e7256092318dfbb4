#include <deque>

#include "meta/keys.h"
#include "meta/meta.h"
#include "meta/rows.h"

namespace tarn::meta {

Result<ChangeRecord> decode_change(const kv::LogEntry& entry) {
  TARN_ASSIGN(ChangeRecord record, decode_change_record(entry.record));
  record.stamp = entry.stamp;
  return record;
}

Result<std::vector<ChangeRecord>> recent_requests(kv::Store& store, uint64_t connection,
                                                  uint64_t records_max) {
  std::deque<kv::LogEntry> newest;
  // A stamp may have no record or several: look further back until there are enough, or no more.
  uint64_t head = store.head().value;
  for (uint64_t window = records_max * 2;; window *= 4) {
    newest.clear();
    Stamp after{head > window ? head - window : 0};
    TARN_TRY(store.read_log(after, [&](const kv::LogEntry& entry) {
      newest.push_back(entry);
      if (newest.size() > records_max) newest.pop_front();
      return true;
    }));
    if (newest.size() >= records_max || after.value == 0) break;
  }
  std::vector<ChangeRecord> out;
  for (const kv::LogEntry& entry : newest) {
    TARN_ASSIGN(ChangeRecord record, decode_change(entry));
    if (record.request.is_from_kernel() && record.request.connection == connection) {
      out.push_back(std::move(record));
    }
  }
  return out;
}

Result<Stamp> get_cursor(kv::Transaction& txn, std::string_view follower) {
  TARN_ASSIGN(auto value, txn.get(prefixed(Prefix::kCursor, follower)));
  if (!value) return Stamp{};
  TARN_ASSIGN(uint64_t stamp, decode_number(*value));
  return Stamp{stamp};
}

void set_cursor(kv::Transaction& txn, std::string_view follower, Stamp stamp) {
  txn.put_blind(prefixed(Prefix::kCursor, follower), encode_number(stamp.value));
}

}  // namespace tarn::meta
