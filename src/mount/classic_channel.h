// The classic channel: one descriptor of /dev/fuse and one buffer a queue.
//
// Each queue blocks in read(2) on its own descriptor, made by `clone_device` from the one that was
// mounted, so that the answer is written where the request was read and two queues share no lock of
// the kernel's. The buffer (one request of the largest size and a page) is reused for the data of
// an answer, which writev(2) sends without a copy. Sockets that keep message boundaries work too
// (tests). Thread rules: as channel.h.
#pragma once

#include <memory>
#include <vector>

#include "base/file.h"
#include "base/limits.h"
#include "mount/channel.h"

namespace tarn::mount {

/// Another descriptor of the connection of `fd` (FUSE_DEV_IOC_CLONE). INIT must be answered before.
Result<UniqueFd> clone_device(int fd);

/// One buffer: a request of the largest size with its header, and the page that holds that header.
inline constexpr size_t kQueueBufferBytes = limits::kRequestBytesMax + 4096;
/// Buffers of a channel are at most limits::kMountBufferBytesMax together.
inline constexpr size_t kQueuesMax = 64;
static_assert(kQueuesMax * kQueueBufferBytes <= limits::kMountBufferBytesMax);

/// A channel over `fds`, one queue each. kInvalidArgument for none or more than kQueuesMax.
Result<std::unique_ptr<Channel>> make_classic_channel(std::vector<UniqueFd> fds);

}  // namespace tarn::mount
