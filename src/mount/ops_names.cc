#include <stdio.h>

#include "mount/encode.h"
#include "mount/ops.h"

namespace tarn::mount::ops {
namespace {

Status answer_entry(Dispatcher& dispatcher, Exchange& exchange,
                    const Result<fs::Attributes>& attributes) {
  if (!attributes.is_ok()) return attributes.status();
  return exchange.answer(encode_entry(*attributes, dispatcher.options().validity));
}

Status do_rename(Dispatcher& dispatcher, Exchange& exchange, Ino target_parent, uint32_t flags) {
  TARN_ASSIGN(auto source, exchange.request().take_name());
  TARN_ASSIGN(auto target, exchange.request().take_name());
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) {
    return Status(Code::kInvalidArgument, "rename with flags that are not supported");
  }
  fs::RenameFlags how{(flags & RENAME_NOREPLACE) != 0, (flags & RENAME_EXCHANGE) != 0};
  TARN_TRY(dispatcher.file_system().rename(exchange.caller(), exchange.node(), source,
                                           target_parent, target, how));
  return exchange.answer();
}

/// True when there is something at (parent, second name of the request).
bool target_exists(Dispatcher& dispatcher, Request& request, Ino parent) {
  auto source = request.take_name();
  auto target = request.take_name();
  if (!source.is_ok() || !target.is_ok()) return false;
  fs::Caller caller;
  caller.is_checked_by_kernel = true;
  return !dispatcher.file_system().lookup(caller, parent, *target).is(Code::kNotFound);
}

}  // namespace

Status lookup(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto name, exchange.request().take_name());
  const Validity& validity = dispatcher.options().validity;
  auto found = dispatcher.file_system().lookup(exchange.caller(), exchange.node(), name);
  if (found.is(Code::kNotFound) && validity.absent != 0) {
    return exchange.answer(encode_absent(validity));
  }
  return answer_entry(dispatcher, exchange, found);
}

Status forget(Dispatcher& dispatcher, Exchange& exchange) {
  exchange.needs_no_answer();
  dispatcher.file_system().forget(exchange.node());
  return Status::ok();
}

Status batch_forget(Dispatcher& dispatcher, Exchange& exchange) {
  exchange.needs_no_answer();
  TARN_ASSIGN(auto in, exchange.request().take<wire::BatchForgetIn>());
  for (uint32_t i = 0; i < in.count; ++i) {
    TARN_ASSIGN(auto one, exchange.request().take<wire::ForgetOne>());
    dispatcher.file_system().forget(Ino(one.nodeid));
  }
  return Status::ok();
}

Status readlink(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto target, dispatcher.file_system().readlink(exchange.caller(), exchange.node()));
  return exchange.answer_bytes(as_bytes(target));
}

Status symlink(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto name, exchange.request().take_name());
  TARN_ASSIGN(auto target, exchange.request().take_name());
  return answer_entry(
      dispatcher, exchange,
      dispatcher.file_system().symlink(exchange.caller(), exchange.node(), name, target));
}

Status mknod(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::MknodIn>());
  TARN_ASSIGN(auto name, exchange.request().take_name());
  return answer_entry(dispatcher, exchange,
                      dispatcher.file_system().mknod(exchange.caller(in.umask), exchange.node(),
                                                     name, in.mode, in.rdev));
}

Status mkdir(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::MkdirIn>());
  TARN_ASSIGN(auto name, exchange.request().take_name());
  return answer_entry(
      dispatcher, exchange,
      dispatcher.file_system().mkdir(exchange.caller(in.umask), exchange.node(), name, in.mode));
}

Status unlink(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto name, exchange.request().take_name());
  TARN_TRY(dispatcher.file_system().unlink(exchange.caller(), exchange.node(), name));
  return exchange.answer();
}

Status rmdir(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto name, exchange.request().take_name());
  TARN_TRY(dispatcher.file_system().rmdir(exchange.caller(), exchange.node(), name));
  return exchange.answer();
}

Status rename(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::RenameIn>());
  return do_rename(dispatcher, exchange, Ino(in.new_directory), 0);
}

Status rename2(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::Rename2In>());
  return do_rename(dispatcher, exchange, Ino(in.new_directory), in.flags);
}

bool rename_is_slow(Dispatcher& dispatcher, Request request) {
  auto in = request.take<wire::RenameIn>();
  return in.is_ok() && target_exists(dispatcher, request, Ino(in->new_directory));
}

bool rename2_is_slow(Dispatcher& dispatcher, Request request) {
  auto in = request.take<wire::Rename2In>();
  if (!in.is_ok() || (in->flags & (RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) return false;
  return target_exists(dispatcher, request, Ino(in->new_directory));
}

Status link(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::LinkIn>());
  TARN_ASSIGN(auto name, exchange.request().take_name());
  return answer_entry(
      dispatcher, exchange,
      dispatcher.file_system().link(exchange.caller(), Ino(in.old_nodeid), exchange.node(), name));
}

}  // namespace tarn::mount::ops
