#include "app/control_client.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "app/control_socket.h"

namespace tarn::app {
namespace {

uint32_t current_umask() {
  const mode_t mask = umask(0);
  umask(mask);
  return mask;
}

}  // namespace

Result<ControlClient> ControlClient::connect(const std::string& root) {
  const auto directory = open_at(AT_FDCWD, root, O_PATH | O_DIRECTORY);
  if (directory.is(Code::kNotFound))
    return Status(Code::kUnavailable, fmt::format("there is no '{}'", root));
  if (!directory.is_ok()) return directory.status();
  UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket_fd) return last_errno("socket");
  const sockaddr_un address = control_address(directory.value().get());
  if (::connect(socket_fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return ControlClient(std::move(socket_fd));
  if (errno == ENOENT || errno == ECONNREFUSED)
    return Status(Code::kUnavailable,
                  fmt::format("no Tarn runs on '{0}' (start it with: tarn serve {0})", root));
  if (errno == EACCES)
    return Status(Code::kAccessDenied,
                  fmt::format("'{}/control.sock' is another user's: only its owner and root may "
                              "give commands",
                              root));
  return last_errno(fmt::format("connect to '{}/control.sock'", root));
}

Result<Json> ControlClient::call(const std::string& command, Json arguments,
                                 const Observer& observer, int descriptor) {
  const Json request = {{"protocol", kControlProtocol},
                        {"id", fmt::format("{}-{}", getpid(), ++calls_)},
                        {"command", command},
                        {"umask", current_umask()},
                        {"arguments", std::move(arguments)}};
  TARN_TRY(send_frame(socket_.get(), request, descriptor));
  while (true) {
    TARN_ASSIGN(const std::optional<Frame> frame, receive_frame(socket_.get()));
    if (!frame.has_value())
      return Status(Code::kUnavailable,
                    fmt::format("the running program ended before it answered '{}'", command));
    const Json& body = frame->body;
    if (const auto found = body.find("result"); found != body.end()) return *found;
    if (const auto found = body.find("error"); found != body.end()) return status_from_json(*found);
    if (const auto found = body.find("progress"); found != body.end() && observer.progress)
      observer.progress(found->value("done", uint64_t{0}), found->value("total", uint64_t{0}));
    if (const auto found = body.find("items"); found != body.end() && observer.items)
      observer.items(*found);
  }
}

}  // namespace tarn::app
