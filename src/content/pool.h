// Pool of new unnamed blobs, made ahead so that CREATE does not pay for them.
//
// A background thread fills it to `files` and again once a quarter is gone; `take` makes one on the
// spot when it is empty. With `files` 0 there is no thread. Thread-safe.
#pragma once

#include <thread>
#include <vector>

#include "content/local_file.h"

namespace tarn::content {

class Pool {
 public:
  Pool(std::shared_ptr<LocalFiles> files, uint32_t size);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// kNoSpace, kTooManyOpenFiles, kIo.
  Result<LocalBlobRef> take();
  uint64_t ready();
  void stop();

 private:
  void fill();

  const std::shared_ptr<LocalFiles> files_;
  const uint32_t size_;
  Mutex mutex_{"content.pool", 365};
  CondVar wake_;
  std::vector<LocalBlobRef> ready_;
  bool is_stopped_ = false;
  std::thread thread_;
};

}  // namespace tarn::content
