// A channel: how requests of one kernel connection arrive and how their answers go back.
//
// A channel has queues; one thread works on a queue: receive, answer, receive. An answer may also
// be given later and from another thread (the pool), any number of requests of a queue being
// unanswered meanwhile. The classic channel (classic_channel.h) has one descriptor of /dev/fuse a
// queue; a channel over io_uring fits the same interface: `Message::room` is then the payload
// buffer of the entry. Thread rules: receive by one thread a queue; answer, notify and wake by any.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.h"
#include "mount/fuse_kernel.h"

namespace tarn::mount {

/// One request as it came. `bytes` and `room` are valid until the next receive on its queue.
struct Message {
  std::span<const std::byte> bytes;  // InHeader and what follows
  std::span<std::byte> room;         // free space of a whole request, where answers are made
};

class Queue {
 public:
  virtual ~Queue() = default;
  /// The next request. kInterrupted after `wake`, kUnavailable when the connection has ended
  /// (unmounted or aborted).
  virtual Result<Message> receive() = 0;
  /// Answers the request `unique` (as received, resend bit included) with a positive errno or 0 and
  /// the concatenation of `parts` (at most kPartsMax). kNotFound: the kernel no longer waits for
  /// it.
  virtual Status answer(uint64_t unique, int error, std::span<const iovec> parts) = 0;
  static constexpr size_t kPartsMax = 7;
};

class Channel {
 public:
  virtual ~Channel() = default;
  virtual size_t queues() const = 0;
  virtual Queue& queue(size_t index) = 0;
  /// Sends a notification. kNotFound: the kernel does not know the inode or entry.
  virtual Status notify(wire::Notify code, std::span<const iovec> parts) = 0;
  /// Every receive that waits, and every later one, returns kInterrupted.
  virtual void wake() = 0;
  /// "classic", "io_uring".
  virtual std::string_view name() const = 0;
};

}  // namespace tarn::mount
