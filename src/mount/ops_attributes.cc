#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "mount/encode.h"
#include "mount/ops.h"

namespace tarn::mount::ops {
namespace {

constexpr std::string_view kDigestNames[] = {"user.tarn.md5", "user.tarn.crc64nvme",
                                             "user.tarn.sha256"};

/// Answers GETXATTR and LISTXATTR: the size when the caller asked with 0, else the value.
Status answer_value(Exchange& exchange, uint32_t size, std::string_view value) {
  if (size == 0) {
    return exchange.answer(wire::GetxattrOut{static_cast<uint32_t>(value.size()), 0});
  }
  if (value.size() > size) {
    return Status(Code::kRangeTooSmall, "the caller's buffer is smaller than the attribute");
  }
  return exchange.answer_bytes(as_bytes(value));
}

}  // namespace

Status getattr(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto attributes,
              dispatcher.file_system().get_attributes(exchange.caller(), exchange.node()));
  return exchange.answer(encode_attr_out(attributes, dispatcher.options().validity));
}

Status statx(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto attributes,
              dispatcher.file_system().get_attributes(exchange.caller(), exchange.node()));
  return exchange.answer(encode_statx(attributes, dispatcher.options().validity));
}

Status setattr(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::SetattrIn>());
  std::optional<Fh> fh;
  if ((in.valid & wire::fattr::kFh) != 0) fh = Fh(in.fh);
  TARN_ASSIGN(auto attributes, dispatcher.file_system().set_attributes(
                                   exchange.caller(), exchange.node(), decode_setattr(in), fh));
  return exchange.answer(encode_attr_out(attributes, dispatcher.options().validity));
}

bool setattr_is_slow(Dispatcher& dispatcher, Request request) {
  auto in = request.take<wire::SetattrIn>();
  if (!in.is_ok() || (in->valid & wire::fattr::kSize) == 0) return false;
  int flags = in->size == 0 ? O_WRONLY | O_TRUNC : O_WRONLY;
  return !dispatcher.file_system().open_is_quick(request.node(), flags);
}

Status access(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::AccessIn>());
  TARN_TRY(dispatcher.file_system().access(exchange.caller(), exchange.node(),
                                           static_cast<int>(in.mask)));
  return exchange.answer();
}

Status statfs(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto result, dispatcher.file_system().statfs());
  return exchange.answer(encode_statfs(result));
}

Status setxattr(Dispatcher& dispatcher, Exchange& exchange) {
  wire::SetxattrIn in{};
  if (dispatcher.options().has_setxattr_ext) {
    TARN_ASSIGN(in, exchange.request().take<wire::SetxattrIn>());
  } else {
    TARN_ASSIGN(auto short_form, exchange.request().take<wire::GetxattrIn>());
    in.size = short_form.size;
    in.flags = short_form.padding;
  }
  TARN_ASSIGN(auto name, exchange.request().take_name());
  TARN_ASSIGN(auto value, exchange.request().take_bytes(in.size));
  fs::FileSystem& file_system = dispatcher.file_system();
  TARN_TRY(file_system.set_xattr(exchange.caller(), exchange.node(), name, as_text(value),
                                 static_cast<int>(in.flags)));
  if ((in.setxattr_flags & wire::kSetxattrAclKillSgid) != 0) {
    // The caller set an ACL and is not in the file's group.
    TARN_ASSIGN(auto now, file_system.get_attributes(exchange.caller(), exchange.node()));
    if ((now.mode & S_ISGID) != 0) {
      fs::SetAttributes change;
      change.mode = now.mode & 07777 & ~static_cast<uint32_t>(S_ISGID);
      TARN_TRY(file_system.set_attributes(exchange.caller(), exchange.node(), change, {}));
    }
  }
  return exchange.answer();
}

Status getxattr(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::GetxattrIn>());
  TARN_ASSIGN(auto name, exchange.request().take_name());
  TARN_ASSIGN(auto value,
              dispatcher.file_system().get_xattr(exchange.caller(), exchange.node(), name));
  return answer_value(exchange, in.size, value);
}

bool getxattr_is_slow(Dispatcher&, Request request) {
  if (!request.take<wire::GetxattrIn>().is_ok()) return false;
  auto name = request.take_name();
  return name.is_ok() && std::ranges::find(kDigestNames, *name) != std::end(kDigestNames);
}

Status listxattr(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::GetxattrIn>());
  TARN_ASSIGN(auto names, dispatcher.file_system().list_xattrs(exchange.caller(), exchange.node()));
  std::string list;
  for (const std::string& name : names) list.append(name).push_back('\0');
  return answer_value(exchange, in.size, list);
}

Status removexattr(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto name, exchange.request().take_name());
  TARN_TRY(dispatcher.file_system().remove_xattr(exchange.caller(), exchange.node(), name));
  return exchange.answer();
}

}  // namespace tarn::mount::ops
