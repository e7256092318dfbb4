// Fault injection for the key-value store: wraps any engine and makes chosen commits, reads or
// syncs fail.
//
// Tests arm one fault at a time; it fires on the n-th matching call from now (1 is the next) and
// disarms itself, unless `is_sticky`. Thread-safe.
// Commit faults count only commits that write something; kConflict also those that only have
// tracked reads. A scan, a get_linked and a get count once each.
#pragma once

#include <memory>

#include "kv/kv.h"

namespace tarn::kv {

enum class Fault {
  kNone,
  kConflict,           // commit answers kConflict, nothing applied
  kUnknownApplied,     // commit applies, then answers kUnknownOutcome
  kUnknownNotApplied,  // commit answers kUnknownOutcome, nothing applied
  kDiskErrorOnCommit,  // kIo, nothing applied
  kNoSpaceOnCommit,    // kNoSpace, nothing applied
  kDiskErrorOnRead,    // get, get_tracked, get_linked, scan answer kIo
  kDiskErrorOnSync,    // sync answers kIo
};

class FaultStore : public Store {
 public:
  /// `inner` stays owned by the caller of the factory through the returned object.
  static std::unique_ptr<FaultStore> wrap(std::unique_ptr<Store> inner);
  virtual void arm(Fault fault, int nth = 1, bool is_sticky = false) = 0;
  virtual void disarm() = 0;
  virtual uint64_t fired() const = 0;
};

}  // namespace tarn::kv
