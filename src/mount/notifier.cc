#include "mount/notifier.h"

#include <array>

#include "base/log.h"
#include "base/worker_pool.h"

namespace tarn::mount {
namespace {

thread_local bool is_answering = false;

}  // namespace

Notifier::AnsweringScope::AnsweringScope() : was_answering_(is_answering) {
  is_answering = true;
}
Notifier::AnsweringScope::~AnsweringScope() {
  is_answering = was_answering_;
}

Notifier::Notifier(Channel& channel, uint64_t connection)
    : channel_(channel), connection_(connection) {
  thread_ = std::thread([this] {
    set_thread_name("tarn-notify");
    while (auto item = queue_.pop()) {
      send(*item);
      if (item->done != nullptr) item->done->set_value();
    }
  });
}

Notifier::~Notifier() {
  stop();
}

void Notifier::stop() {
  queue_.close();
  if (thread_.joinable()) thread_.join();
}

void Notifier::invalidate_entry(Ino parent, const std::string& name, const meta::Request& origin) {
  if (origin.is_from_kernel() && origin.connection == connection_) return;
  post({parent, true, name, nullptr});
}

void Notifier::invalidate_inode(Ino ino, const meta::Request& origin) {
  if (origin.is_from_kernel() && origin.connection == connection_) return;
  post({ino, false, {}, nullptr});
}

void Notifier::post(Item item) {
  if (is_answering) {
    // Refused only when the session is ending, or when the kernel has not taken 1,024 of them.
    if (!queue_.try_push(std::move(item)))
      log_warn("mount.notify_dropped", "ino={}", item.ino.value);
    return;
  }
  std::promise<void> done;
  item.done = &done;
  if (queue_.push(std::move(item))) done.get_future().wait();
}

void Notifier::send(const Item& item) {
  Status status;
  if (item.is_entry) {
    wire::InvalidateEntryOut out{item.ino.value, static_cast<uint32_t>(item.name.size()), 0};
    std::array<iovec, 2> parts{iovec{&out, sizeof out},
                               iovec{const_cast<char*>(item.name.c_str()), item.name.size() + 1}};
    status = channel_.notify(wire::Notify::kInvalidateEntry, parts);
  } else {
    wire::InvalidateInodeOut out{item.ino.value, 0, 0};
    std::array<iovec, 1> parts{iovec{&out, sizeof out}};
    status = channel_.notify(wire::Notify::kInvalidateInode, parts);
  }
  // What the kernel does not know it has not cached.
  if (!status.is_ok() && !status.is(Code::kNotFound)) {
    log_debug("mount.notify", "ino={} name=\"{}\" status=\"{}\"", item.ino.value, item.name,
              status.to_string());
  }
}

Status invalidate_attributes(Channel& channel, Ino ino) {
  wire::InvalidateInodeOut out{ino.value, -1, 0};
  std::array<iovec, 1> parts{iovec{&out, sizeof out}};
  return channel.notify(wire::Notify::kInvalidateInode, parts);
}

}  // namespace tarn::mount
