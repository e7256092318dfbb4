// The ballast: disk space held back so that the store can still commit when the disk is full.
//
// ROOT/ballast is a file of allocated, never written blocks. `release` gives them back (deleting
// goes on, and needs commits); `restore` takes them again once there is room. Thread-safe.
#pragma once

#include <cstdint>

#include "base/mutex.h"
#include "base/status.h"

namespace tarn::content {

class Ballast {
 public:
  /// `directory_fd` of ROOT must stay open. `wanted` in bytes.
  Ballast(int directory_fd, uint64_t wanted) : directory_fd_(directory_fd), wanted_(wanted) {}

  uint64_t wanted() const { return wanted_; }
  /// Bytes allocated on disk now.
  uint64_t present() const;
  /// The blocks are free for others when this returns.
  Status release();
  /// Allocates it if it is not there and `has_room`. A file system without fallocate goes without.
  void restore(bool has_room);

 private:
  const int directory_fd_;
  const uint64_t wanted_;
  // Held over the system calls: they are rare and must not interleave.
  Mutex mutex_{"content.ballast", 390};
};

}  // namespace tarn::content
