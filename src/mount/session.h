// A session: one worker process's service of one mount, from its descriptors to its statistics.
//
// create() makes the channel over the descriptors and the Attacher that the file system needs;
// start(fs) registers the invalidator and starts one thread a queue (after a take-over it then has
// the kernel send again what the dead worker left unanswered); stop() lets requests in hand and in
// the pool end, and joins. The mount itself belongs to the keeper. When the connection ends
// by itself (unmounted) `ended_fd` becomes readable. The session outlives the file system, which
// holds its Attacher. Thread-safe; start and stop once each.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fs/fs.h"
#include "mount/classic_channel.h"
#include "mount/dispatcher.h"
#include "mount/notifier.h"
#include "mount/passthrough.h"
#include "mount/shared_state.h"

namespace tarn::mount {

struct SessionOptions {
  std::vector<UniqueFd> fds;  // of /dev/fuse, one a queue
  bool is_take_over = false;  // another worker served this connection before
  Validity validity;
  size_t pool_threads = 16;
};

class Session {
 public:
  /// `shared` must outlive the session.
  static Result<std::unique_ptr<Session>> create(SessionOptions options, SharedState& shared);
  ~Session();

  /// For FsOptions: attacher and connection.
  Passthrough& passthrough() { return *passthrough_; }
  uint64_t connection() const { return shared_->connection; }
  const Negotiated& negotiated() const { return shared_->negotiated; }

  Status start(fs::FileSystem& file_system);
  /// Answers what was read and ends the threads. Requests that come later wait in the kernel, for
  /// the next worker or until the connection is aborted. The file system is not closed.
  void stop();
  /// Readable once the connection has ended (an eventfd; not to be read).
  int ended_fd() const { return ended_.get(); }

  struct Report {
    std::string channel;  // "classic"
    size_t queues = 0;
    std::string negotiated;  // one line
    bool is_passthrough_on = false;
    std::string passthrough_reason;
    bool is_resend_on = false;  // without it a worker's crash ends the mount
    uint64_t worker_starts = 0;
    DispatcherStatistics requests;
  };
  Report report() const;

 private:
  Session(std::unique_ptr<Channel> channel, SharedState& shared, SessionOptions options,
          int fuse_fd, UniqueFd ended);
  void serve(Queue& queue);

  SessionOptions options_;
  SharedState& shared_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<Passthrough> passthrough_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Notifier> notifier_;
  fs::FileSystem* file_system_ = nullptr;
  UniqueFd ended_;
  std::vector<std::thread> threads_;
};

/// Queues for this machine: twice its cores, from 4 to 32.
size_t default_queues();

}  // namespace tarn::mount
