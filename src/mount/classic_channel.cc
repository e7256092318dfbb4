#include "mount/classic_channel.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

#include <fmt/format.h>

#include "base/log.h"
#include "base/mutex.h"

namespace tarn::mount {
namespace {

// read(2) on /dev/fuse is ended by a signal: polling first would wake every queue for one request.
const int kWakeSignal = SIGRTMIN + 7;

void install_wake_signal() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    sigemptyset(&action.sa_mask);
    sigaction(kWakeSignal, &action, nullptr);
  });
}

Status write_message(int fd, uint64_t unique, int code, std::span<const iovec> parts) {
  CHECK(parts.size() <= Queue::kPartsMax);
  wire::OutHeader header{sizeof header, code, unique};
  std::array<iovec, Queue::kPartsMax + 1> all;
  all[0] = {&header, sizeof header};
  for (size_t i = 0; i < parts.size(); ++i) {
    all[i + 1] = parts[i];
    header.len += static_cast<uint32_t>(parts[i].iov_len);
  }
  for (;;) {
    if (writev(fd, all.data(), static_cast<int>(parts.size() + 1)) >= 0) return Status::ok();
    if (errno == EINTR) continue;
    if (errno == ENOENT)
      return Status(Code::kNotFound, "the kernel does not wait for this message");
    return last_errno("writing to /dev/fuse");
  }
}

class ClassicQueue final : public Queue {
 public:
  ClassicQueue(UniqueFd fd, const std::atomic<bool>& is_woken)
      : fd_(std::move(fd)), is_woken_(is_woken) {}
  ~ClassicQueue() override {
    if (buffer_ != nullptr) munmap(buffer_, kQueueBufferBytes);
  }

  Status init() {
    // Every page is there before the first read: a thread that is killed while it takes a request
    // over cannot fault pages in any more, and the kernel then ends that request with EIO instead
    // of keeping it for the next worker. For the same reason a fork must not make them
    // copy-on-write.
    void* memory = mmap(nullptr, kQueueBufferBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) return last_errno("mapping a buffer of the mount");
    if (madvise(memory, kQueueBufferBytes, MADV_DONTFORK) != 0) {
      log_debug("mount.buffer", "status=\"{}\"", last_errno("madvise").to_string());
    }
    buffer_ = static_cast<std::byte*>(memory);
    return Status::ok();
  }

  Result<Message> receive() override {
    {
      std::lock_guard lock(waiter_mutex_);
      waiter_ = pthread_self();
      is_waiting_ = true;
    }
    auto result = receive_now();
    std::lock_guard lock(waiter_mutex_);
    is_waiting_ = false;
    return result;
  }

  Status answer(uint64_t unique, int error, std::span<const iovec> parts) override {
    return write_message(fd_.get(), unique, -error, parts);
  }

  bool interrupt() {
    std::lock_guard lock(waiter_mutex_);
    if (is_waiting_) pthread_kill(waiter_, kWakeSignal);
    return is_waiting_;
  }

  int fd() const { return fd_.get(); }

 private:
  Result<Message> receive_now() {
    for (;;) {
      if (is_woken_.load(std::memory_order_acquire)) {
        return Status(Code::kInterrupted, "the channel is stopping");
      }
      ssize_t got = read(fd_.get(), buffer_, kQueueBufferBytes);
      if (got > 0) {
        if (static_cast<size_t>(got) < sizeof(wire::InHeader)) {
          return Status(Code::kIo, fmt::format("a request of {} bytes is too short", got));
        }
        // The space after the first page: a request that fills it is a WRITE, whose answer is
        // short.
        return Message{{buffer_, static_cast<size_t>(got)},
                       {buffer_ + 4096, limits::kRequestBytesMax}};
      }
      if (got == 0 || errno == ENODEV || errno == ECONNABORTED || errno == EPERM) {
        return Status(Code::kUnavailable, "the mount's connection to the kernel has ended");
      }
      // ENOENT: the request was interrupted while it was being handed over.
      if (errno == EINTR || errno == EAGAIN || errno == ENOENT) continue;
      return last_errno("reading /dev/fuse");
    }
  }

  UniqueFd fd_;
  const std::atomic<bool>& is_woken_;
  std::byte* buffer_ = nullptr;
  Mutex waiter_mutex_{"mount.channel.waiter", 940};
  pthread_t waiter_{};
  bool is_waiting_ = false;
};

class ClassicChannel final : public Channel {
 public:
  static Result<std::unique_ptr<Channel>> make(std::vector<UniqueFd> fds) {
    install_wake_signal();
    auto channel = std::make_unique<ClassicChannel>();
    for (UniqueFd& fd : fds) {
      auto queue = std::make_unique<ClassicQueue>(std::move(fd), channel->is_woken_);
      TARN_TRY(queue->init());
      channel->queues_.push_back(std::move(queue));
    }
    return std::unique_ptr<Channel>(std::move(channel));
  }

  size_t queues() const override { return queues_.size(); }
  Queue& queue(size_t index) override { return *queues_[index]; }
  Status notify(wire::Notify code, std::span<const iovec> parts) override {
    return write_message(queues_[0]->fd(), 0, static_cast<int>(code), parts);
  }
  std::string_view name() const override { return "classic"; }

  void wake() override {
    is_woken_.store(true, std::memory_order_release);
    // A thread may have looked at the flag and not yet be in read(2): signal until all have left.
    for (bool is_any_waiting = true; is_any_waiting;) {
      is_any_waiting = false;
      for (auto& queue : queues_) is_any_waiting |= queue->interrupt();
      if (is_any_waiting) usleep(1000);
    }
  }

 private:
  std::atomic<bool> is_woken_{false};
  std::vector<std::unique_ptr<ClassicQueue>> queues_;
};

}  // namespace

Result<UniqueFd> clone_device(int fd) {
  TARN_ASSIGN(UniqueFd device, open_at(AT_FDCWD, "/dev/fuse", O_RDWR));
  auto source = static_cast<uint32_t>(fd);
  if (ioctl(device.get(), wire::kIoctlClone, &source) != 0) {
    return last_errno("cloning the descriptor of /dev/fuse");
  }
  return device;
}

Result<std::unique_ptr<Channel>> make_classic_channel(std::vector<UniqueFd> fds) {
  if (fds.empty() || fds.size() > kQueuesMax) {
    return Status(Code::kInvalidArgument,
                  fmt::format("a channel has 1 to {} queues, not {}", kQueuesMax, fds.size()));
  }
  return ClassicChannel::make(std::move(fds));
}

}  // namespace tarn::mount
