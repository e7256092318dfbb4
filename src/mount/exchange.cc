#include "mount/exchange.h"

#include "base/kill_point.h"
#include "base/log.h"
#include "mount/dispatcher.h"

namespace tarn::mount {

Result<Request> Request::parse(std::span<const std::byte> bytes) {
  Request request;
  if (bytes.size() < sizeof request.header_) {
    return Status(Code::kBadFormat, "a request is shorter than its header");
  }
  std::memcpy(&request.header_, bytes.data(), sizeof request.header_);
  size_t extensions = size_t{request.header_.total_extlen} * 8;
  if (request.header_.len > bytes.size() ||
      request.header_.len < sizeof request.header_ + extensions) {
    return Status(Code::kBadFormat, "a request's length does not fit its header");
  }
  request.rest_ = bytes.subspan(sizeof request.header_,
                                request.header_.len - sizeof request.header_ - extensions);
  return request;
}

Result<std::string_view> Request::take_name() {
  const void* end = rest_.empty() ? nullptr : std::memchr(rest_.data(), 0, rest_.size());
  if (end == nullptr) return Status(Code::kInvalidArgument, "a name in a request has no end");
  auto length = static_cast<size_t>(static_cast<const std::byte*>(end) - rest_.data());
  std::string_view name(reinterpret_cast<const char*>(rest_.data()), length);
  rest_ = rest_.subspan(length + 1);
  return name;
}

Result<std::span<const std::byte>> Request::take_bytes(size_t count) {
  if (rest_.size() < count) return Status(Code::kInvalidArgument, "a request is too short");
  auto bytes = rest_.first(count);
  rest_ = rest_.subspan(count);
  return bytes;
}

fs::Caller Exchange::caller(uint32_t umask) const {
  fs::Caller caller;
  caller.uid = request_.header().uid;
  caller.gid = request_.header().gid;
  caller.umask = umask;
  caller.is_checked_by_kernel = true;
  caller.request = {connection_, request_.unique(), request_.is_resent()};
  return caller;
}

Status Exchange::answer_bytes(std::span<const std::byte> data) {
  std::array<iovec, 1> parts{iovec{const_cast<std::byte*>(data.data()), data.size()}};
  return send(0, parts);
}

void Exchange::fail(const Status& status) {
  if (is_answered_) return;
  if (status.is(Code::kIo) || status.is(Code::kInternal) || code_is_data_at_risk(status.code())) {
    log_error("mount.request_failed", "op={} ino={} status=\"{}\"", operation_name(opcode_number()),
              node().value, status.to_string());
  } else {
    log_debug("mount.request", "op={} ino={} status=\"{}\"", operation_name(opcode_number()),
              node().value, status.to_string());
  }
  int error = status.to_errno();
  static_cast<void>(send(error == 0 ? EIO : error, {}));
}

Status Exchange::send(int error, std::span<const iovec> parts) {
  CHECK(!is_answered_, "a request was answered twice");
  is_answered_ = true;
  error_ = error;
  TARN_KILL_POINT(std::string("mount.before_reply.") + operation_name(opcode_number()));
  if (pending_ != nullptr && !pending_->claim()) {
    return Status(Code::kInterrupted, "the caller was interrupted");
  }
  Status status = queue_.answer(request_.header().unique, error, parts);
  if (status.is_ok()) return status;
  if (!status.is(Code::kNotFound)) {
    log_debug("mount.answer", "op={} status=\"{}\"", operation_name(opcode_number()),
              status.to_string());
  }
  return Status(Code::kInterrupted, "the kernel did not take the answer");
}

}  // namespace tarn::mount
