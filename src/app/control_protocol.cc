#include "app/control_protocol.h"

#include <sys/socket.h>

#include <cstring>

#include <fmt/format.h>

namespace tarn::app {
namespace {

Status socket_error(const char* what) {
  if (errno == EAGAIN || errno == EWOULDBLOCK)
    return {Code::kTimedOut, fmt::format("{}: the peer does not go on", what)};
  if (errno == EPIPE || errno == ECONNRESET)
    return {Code::kUnavailable, fmt::format("{}: the peer is gone", what)};
  return last_errno(what);
}

/// Sends one byte with a descriptor beside it.
Status send_with_descriptor(int socket, const std::byte& byte, int descriptor) {
  iovec part{const_cast<std::byte*>(&byte), 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) return socket_error("send to the control socket");
  return {};
}

Status send_bytes(int socket, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return socket_error("send to the control socket");
    }
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return {};
}

/// Keeps the first descriptor of a message and closes the others.
void take_descriptors(const msghdr& message, UniqueFd& kept) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message), header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      UniqueFd owned(fd);
      if (!kept) kept = std::move(owned);
    }
  }
}

/// Fills `out`; returns how many bytes came before the peer's end.
Result<size_t> receive_bytes(int socket, std::span<std::byte> out, UniqueFd& descriptor) {
  size_t done = 0;
  while (done < out.size()) {
    iovec part{out.data() + done, out.size() - done};
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0) {
      if (errno == EINTR) continue;
      return socket_error("receive from the control socket");
    }
    take_descriptors(message, descriptor);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

/// Length of the UTF-8 sequence at the start of `text`; 0 when it is none. Refuses overlong forms,
/// surrogates and what lies above U+10FFFF, as RFC 3629 does.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  const unsigned second = byte(1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F))
    return 0;
  return length;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

Status wrong_argument(const char* name, const char* wanted) {
  return {Code::kInvalidArgument, fmt::format("argument '{}' must be {}", name, wanted)};
}

}  // namespace

Status send_frame(int socket, const Json& body, int descriptor) {
  const std::string text = to_line(body);
  if (text.size() > kFrameBytesMax)
    return {Code::kFileTooLarge, fmt::format("a message of {} bytes is over the limit of {}",
                                             text.size(), kFrameBytesMax)};
  std::string bytes;
  bytes.reserve(text.size() + 4);
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes += static_cast<char>(static_cast<unsigned char>(text.size() >> shift));
  bytes += text;
  auto rest = as_bytes(bytes);
  if (descriptor >= 0) {
    TARN_TRY(send_with_descriptor(socket, rest.front(), descriptor));
    rest = rest.subspan(1);
  }
  return send_bytes(socket, rest);
}

Result<std::optional<Frame>> receive_frame(int socket) {
  Frame frame;
  std::byte head[4];
  TARN_ASSIGN(const size_t head_bytes, receive_bytes(socket, head, frame.descriptor));
  if (head_bytes == 0) return std::optional<Frame>();
  size_t length = 0;
  for (const std::byte b : head) length = length << 8 | std::to_integer<size_t>(b);
  if (head_bytes < sizeof head || length > kFrameBytesMax)
    return Status(Code::kBadFormat, "what came over the control socket is no frame");
  std::string text(length, '\0');
  TARN_ASSIGN(const size_t body_bytes,
              receive_bytes(socket, std::as_writable_bytes(std::span(text)), frame.descriptor));
  if (body_bytes < length)
    return Status(Code::kUnavailable, "the peer ended in the middle of a message");
  frame.body = Json::parse(text, nullptr, false);
  if (!frame.body.is_object())
    return Status(Code::kBadFormat, "what came over the control socket is no JSON object");
  return std::optional<Frame>(std::move(frame));
}

std::string to_wire(std::string_view name) {
  std::string text;
  text.reserve(name.size());
  while (!name.empty()) {
    const size_t length = name[0] == '%' ? 0 : utf8_length(name);
    if (length == 0) {
      text += fmt::format("%{:02X}", static_cast<unsigned char>(name[0]));
      name.remove_prefix(1);
    } else {
      text += name.substr(0, length);
      name.remove_prefix(length);
    }
  }
  return text;
}

Result<std::string> from_wire(std::string_view text) {
  std::string name;
  name.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      name += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0)
      return Status(Code::kBadFormat, fmt::format("'{}' has a '%' without two digits", text));
    name += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return name;
}

Json status_to_json(const Status& status) {
  return {{"code", code_name(status.code())}, {"message", status.message()}};
}

Status status_from_json(const Json& json) {
  if (!json.is_object()) return {Code::kInternal, "an error without a message"};
  const std::string name = json.value("code", "");
  const std::string message = json.value("message", "");
  for (int code = 1; code <= static_cast<int>(Code::kInternal); ++code)
    if (code_name(static_cast<Code>(code)) == name) return {static_cast<Code>(code), message};
  return {Code::kInternal, message};
}

std::string to_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::string> text_argument(const Json& arguments, const char* name) {
  const auto found = arguments.find(name);
  if (found == arguments.end() || !found->is_string()) return wrong_argument(name, "a text");
  return found->get<std::string>();
}

Result<std::string> path_argument(const Json& arguments, const char* name) {
  TARN_ASSIGN(const std::string text, text_argument(arguments, name));
  return from_wire(text);
}

Result<bool> flag_argument(const Json& arguments, const char* name) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) return false;
  if (!found->is_boolean()) return wrong_argument(name, "true or false");
  return found->get<bool>();
}

}  // namespace tarn::app
