// Keeps the kernel's caches right when somebody else than the kernel changed something.
//
// Implements fs::Invalidator: each call sends a notification from the notifier's own thread and
// returns when the kernel has done it, so that what S3 answered is what the mount shows. Changes
// that came from a request of this very connection are skipped: the kernel made them. A thread
// that is answering a kernel request must not wait for the kernel (it may hold the inode's lock
// until that answer), so there the notification is queued and the call returns at once.
// Thread rules: call with no lock held; thread-safe.
#pragma once

#include <future>
#include <string>
#include <thread>

#include "base/queue.h"
#include "fs/fs.h"
#include "mount/channel.h"

namespace tarn::mount {

class Notifier final : public fs::Invalidator {
 public:
  /// Starts the thread. `channel` must outlive this.
  Notifier(Channel& channel, uint64_t connection);
  ~Notifier() override;

  /// Sends what was asked for, then nothing any more: later calls return at once.
  void stop();

  /// Names below `parent`, absent ones included; the attributes of `parent` become stale too.
  void invalidate_entry(Ino parent, const std::string& name, const meta::Request& origin) override;
  /// Attributes and cached pages of `ino`.
  void invalidate_inode(Ino ino, const meta::Request& origin) override;

  /// Marks the calling thread as one that answers kernel requests while it lives.
  class AnsweringScope {
   public:
    AnsweringScope();
    ~AnsweringScope();
    AnsweringScope(const AnsweringScope&) = delete;
    AnsweringScope& operator=(const AnsweringScope&) = delete;

   private:
    bool was_answering_;
  };

 private:
  struct Item {
    Ino ino;
    bool is_entry = false;
    std::string name;
    std::promise<void>* done = nullptr;
  };
  void post(Item item);
  void send(const Item& item);

  Channel& channel_;
  const uint64_t connection_;
  BoundedQueue<Item> queue_{"mount.notifier.queue", 920, 1024};
  std::thread thread_;
};

/// The attributes of `ino` that the kernel has cached become stale; its pages stay. Takes no lock
/// in the kernel that a request could hold, so that a thread may call it while it answers one on
/// `ino`.
Status invalidate_attributes(Channel& channel, Ino ino);

}  // namespace tarn::mount
