#include "app/keeper_link.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/log.h"

namespace tarn::app {
namespace {

struct Header {
  uint32_t kind;
  uint32_t reserved;
  uint64_t id;
};
static_assert(sizeof(Header) == 16);
constexpr size_t kTextBytesMax = 4096;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

}  // namespace

Status send_link(int socket, LinkKind kind, uint64_t id, const std::string& text, int fd) {
  Header header{static_cast<uint32_t>(kind), 0, id};
  iovec parts[2] = {{&header, sizeof header}, {const_cast<char*>(text.data()), text.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = text.empty() ? 1 : 2;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  for (;;) {
    if (sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return Status::ok();
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET) {
      return Status(Code::kUnavailable, "the other process has ended");
    }
    return last_errno("sending between keeper and worker");
  }
}

Result<LinkMessage> receive_link(int socket) {
  Header header{};
  std::string text(kTextBytesMax, '\0');
  iovec parts[2] = {{&header, sizeof header}, {text.data(), text.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got == 0 || (got < 0 && errno == ECONNRESET)) {
    return Status(Code::kUnavailable, "the other process has ended");
  }
  if (got < 0) return last_errno("receiving between keeper and worker");
  if (static_cast<size_t>(got) < sizeof header) {
    return Status(Code::kBadFormat, fmt::format("a message of {} bytes is too short", got));
  }
  LinkMessage result;
  result.kind = static_cast<LinkKind>(header.kind);
  result.id = header.id;
  result.text = text.substr(0, static_cast<size_t>(got) - sizeof header);
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    result.fd.reset(fd);
  }
  return result;
}

void notify_manager(const std::string& text) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  size_t length = std::min(std::strlen(path), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path, length);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (sendto(socket.get(), text.data(), text.size(), MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&address), bytes) < 0) {
    log_warn("keeper.notify", "socket=\"{}\" status=\"{}\"", path,
             last_errno("sendto").to_string());
  }
}

std::string WorkerInheritance::encode() const {
  return fmt::format("fuse={};state={};handles={};control={};kept={};takeover={}",
                     fmt::join(fuse_fds, ","), state_fd, handles_fd, control_fd, kept_fd,
                     is_take_over ? 1 : 0);
}

Result<WorkerInheritance> WorkerInheritance::adopt(const std::string& argument) {
  WorkerInheritance result;
  auto malformed = [&] {
    return Status(Code::kInvalidArgument,
                  fmt::format("'{}' is not what a keeper hands to its worker", argument));
  };
  for (std::string_view field : split(argument, ';')) {
    size_t equals = field.find('=');
    if (equals == std::string_view::npos) return malformed();
    std::string_view key = field.substr(0, equals);
    for (std::string_view word : split(field.substr(equals + 1), ',')) {
      int value = -1;
      auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
      if (error != std::errc() || end != word.data() + word.size()) return malformed();
      if (key == "takeover") {
        result.is_take_over = value != 0;
        continue;
      }
      if (value >= 0 && fcntl(value, F_SETFD, FD_CLOEXEC) != 0) {
        return last_errno(fmt::format("descriptor {} of '{}'", value, argument));
      }
      if (key == "fuse") {
        result.fuse_fds.push_back(value);
      } else if (key == "state") {
        result.state_fd = value;
      } else if (key == "handles") {
        result.handles_fd = value;
      } else if (key == "control") {
        result.control_fd = value;
      } else if (key == "kept") {
        result.kept_fd = value;
      } else {
        return malformed();
      }
    }
  }
  if (result.control_fd < 0 || result.kept_fd < 0) return malformed();
  return result;
}

Status tell_ready(const WorkerInheritance& inheritance, const std::string& line) {
  return send_link(inheritance.control_fd, LinkKind::kReady, 0, line.substr(0, kTextBytesMax));
}

Result<WorkerEnd> wait_for_end(const WorkerInheritance& inheritance, int session_ended_fd) {
  // A handler and not SIG_IGN, which the programs that the worker starts would inherit.
  struct sigaction action{};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  for (;;) {
    pollfd waits[2] = {{inheritance.control_fd, POLLIN, 0}, {session_ended_fd, POLLIN, 0}};
    if (poll(waits, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return last_errno("waiting for the keeper");
    }
    if (waits[0].revents != 0) {
      auto message = receive_link(inheritance.control_fd);
      if (message.is(Code::kUnavailable)) return WorkerEnd::kKeeperGone;
      if (!message.is_ok()) return message.status();
      if (message->kind == LinkKind::kEnd) return WorkerEnd::kAsked;
    }
    if (waits[1].revents != 0) return WorkerEnd::kUnmounted;
  }
}

Status KeptStore::serve(int socket) {
  TARN_ASSIGN(auto message, receive_link(socket));
  if (message.kind == LinkKind::kKeep) {
    // A descriptor that found no place in this process's table does not arrive.
    bool is_full =
        !message.fd || (held_.size() >= kKeptDescriptorsMax && !held_.contains(message.id));
    if (!is_full) held_[message.id] = std::move(message.fd);
    return send_link(socket, is_full ? LinkKind::kFull : LinkKind::kDone);
  }
  if (message.kind == LinkKind::kDrop) {
    held_.erase(message.id);
    return send_link(socket, LinkKind::kDone);
  }
  if (message.kind != LinkKind::kGiveAll) {
    return Status(Code::kBadFormat, "the worker sent a message that is not for the keeper");
  }
  for (auto& [id, fd] : held_) TARN_TRY(send_link(socket, LinkKind::kKept, id, {}, fd.get()));
  return send_link(socket, LinkKind::kDone);
}

Status KeptDescriptors::keep(uint64_t id, int fd) {
  MutexLock lock(mutex_);
  TARN_TRY(send_link(socket_, LinkKind::kKeep, id, {}, fd));
  TARN_ASSIGN(auto answer, receive_link(socket_));
  if (answer.kind == LinkKind::kDone) return Status::ok();
  return Status(
      Code::kTooManyOpenFiles,
      fmt::format("the keeper holds {} descriptors, which is the limit", kKeptDescriptorsMax));
}

Status KeptDescriptors::drop(uint64_t id) {
  MutexLock lock(mutex_);
  TARN_TRY(send_link(socket_, LinkKind::kDrop, id));
  return receive_link(socket_).status();
}

Result<std::vector<std::pair<uint64_t, UniqueFd>>> KeptDescriptors::take_all() {
  MutexLock lock(mutex_);
  TARN_TRY(send_link(socket_, LinkKind::kGiveAll));
  std::vector<std::pair<uint64_t, UniqueFd>> all;
  for (;;) {
    TARN_ASSIGN(auto message, receive_link(socket_));
    if (message.kind != LinkKind::kKept) return all;
    all.emplace_back(message.id, std::move(message.fd));
  }
}

Result<std::unique_ptr<KeeperHolder>> KeeperHolder::open(int socket, bool is_take_over) {
  std::unique_ptr<KeeperHolder> holder(new KeeperHolder(socket));
  if (!is_take_over) return holder;
  TARN_ASSIGN(auto all, holder->kept_.take_all());
  MutexLock lock(holder->mutex_);
  for (auto& [id, fd] : all) holder->left_[id] = std::move(fd);
  return holder;
}

Status KeeperHolder::hold(BlobId blob, int fd) {
  return kept_.keep(blob.value, fd);
}

void KeeperHolder::drop(BlobId blob) {
  // A keeper that is gone ends this process as well.
  if (Status dropped = kept_.drop(blob.value); !dropped.is_ok())
    log_debug("keeper.drop", "status=\"{}\"", dropped.to_string());
}

UniqueFd KeeperHolder::take(BlobId blob) {
  MutexLock lock(mutex_);
  auto at = left_.find(blob.value);
  if (at == left_.end()) return {};
  UniqueFd fd = std::move(at->second);
  left_.erase(at);
  return fd;
}

void KeeperHolder::drop_rest() {
  std::map<uint64_t, UniqueFd> rest;
  {
    MutexLock lock(mutex_);
    rest.swap(left_);
  }
  for (const auto& [id, fd] : rest) drop(BlobId(id));
}

}  // namespace tarn::app
