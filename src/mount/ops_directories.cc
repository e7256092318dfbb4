#include <algorithm>

#include "mount/encode.h"
#include "mount/ops.h"

namespace tarn::mount::ops {
namespace {

Status read_entries(Dispatcher& dispatcher, Exchange& exchange, const Validity* validity) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::ReadIn>());
  auto space = exchange.room();
  DirectoryEncoder encoder(space.first(std::min<size_t>(in.size, space.size())));
  TARN_TRY(dispatcher.file_system().read_directory(
      exchange.caller(), Fh(in.fh), in.offset, validity != nullptr,
      [&](const fs::DirectoryItem& item) { return encoder.add(item, validity); }));
  return exchange.answer_bytes(space.first(encoder.size()));
}

}  // namespace

Status opendir(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(Fh fh, dispatcher.file_system().open_directory(exchange.caller(), exchange.node()));
  if (!exchange.answer(wire::OpenOut{fh.value, 0, 0}).is_ok()) {
    static_cast<void>(dispatcher.file_system().release_directory(fh));
  }
  return Status::ok();
}

Status readdir(Dispatcher& dispatcher, Exchange& exchange) {
  return read_entries(dispatcher, exchange, nullptr);
}

Status readdirplus(Dispatcher& dispatcher, Exchange& exchange) {
  return read_entries(dispatcher, exchange, &dispatcher.options().validity);
}

Status fsyncdir(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::FsyncIn>());
  TARN_TRY(dispatcher.file_system().fsync_directory(Fh(in.fh)));
  return exchange.answer();
}

Status releasedir(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::ReleaseIn>());
  TARN_TRY(dispatcher.file_system().release_directory(Fh(in.fh)));
  return exchange.answer();
}

Status interrupt(Dispatcher& dispatcher, Exchange& exchange) {
  exchange.needs_no_answer();
  TARN_ASSIGN(auto in, exchange.request().take<wire::InterruptIn>());
  dispatcher.interrupts().interrupt(in.unique);
  return Status::ok();
}

Status destroy(Dispatcher&, Exchange& exchange) {
  return exchange.answer();
}

}  // namespace tarn::mount::ops
