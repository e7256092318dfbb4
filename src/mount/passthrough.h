// Passthrough: registers backing files with the kernel, so that reads, writes and mmap skip Tarn.
//
// Implements content::Attacher with FUSE_DEV_IOC_BACKING_OPEN and _CLOSE. Registered ids are also
// written to the mount's shared state: after a take-over `close_others` drops the ids of the dead
// worker's files that nobody adopted. Where the kernel or the privileges do not allow passthrough
// the first refusal is remembered, attach fails with kNotSupported from then on (files are served)
// and `mode` says why and what would change it. Thread-safe.
#pragma once

#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "content/content.h"
#include "mount/shared_state.h"

namespace tarn::mount {

class Passthrough final : public content::Attacher {
 public:
  /// `fuse_fd` is any descriptor of the connection; both must outlive this.
  Passthrough(int fuse_fd, SharedFields& shared);

  /// Registers `fd`; the id is above 0. kNotSupported: not on this mount (see mode); any other
  /// error concerns this file only.
  Result<int32_t> attach(int fd) override;
  /// Unregisters; files that are open in the kernel keep working.
  void detach(int32_t id) override;

  /// After a take-over: unregisters every id that was registered before this object was made and is
  /// not in `in_use`. Returns how many.
  size_t close_others(std::span<const int32_t> in_use);

  struct Mode {
    bool is_on = false;
    std::string reason;  // why not, or "no file has used it yet"
  };
  Mode mode();

 private:
  const int fuse_fd_;
  SharedFields& shared_;
  Mutex mutex_{"mount.passthrough", 930};
  std::vector<int32_t> free_places_;                    // indexes into backing_ids
  std::vector<std::pair<int32_t, int32_t>> inherited_;  // (id, place)
  std::unordered_map<int32_t, int32_t> places_;         // id -> place
  bool is_refused_ = false;
  bool is_proven_ = false;
  std::string reason_;
};

}  // namespace tarn::mount
