#include <fcntl.h>

#include <algorithm>

#include "base/limits.h"
#include "mount/encode.h"
#include "mount/notifier.h"
#include "mount/ops.h"

namespace tarn::mount::ops {
namespace {

// The kernel hands its own "opened to be executed" mark through in the flags.
constexpr uint32_t kExecMark = 0x20;
// copy_file_range looks for signals between pieces of this size (about 10 ms each).
constexpr uint64_t kCopyBytes = 16 * limits::kMiB;
// The old answer carries 32 bits, and the kernel takes only what a ssize_t of that size can say.
constexpr uint64_t kCopyBytesMax32 = 0x7ffff000;

int open_flags(uint32_t flags) {
  return static_cast<int>(flags & ~kExecMark);
}

bool may_write(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
}

/// The kernel did not take the handle, so that it will not release it.
void undo_open(Dispatcher& dispatcher, const Status& answered, Fh fh) {
  if (!answered.is_ok()) static_cast<void>(dispatcher.file_system().release(fh));
}

Status answer_created(Dispatcher& dispatcher, Exchange& exchange,
                      const Result<fs::Created>& created) {
  if (!created.is_ok()) return created.status();
  Status answered =
      exchange.answer(encode_created(created->attributes, dispatcher.options().validity),
                      encode_opened(created->opened));
  undo_open(dispatcher, answered, created->opened.fh);
  return Status::ok();
}

Result<uint64_t> copy(Dispatcher& dispatcher, Exchange& exchange, uint64_t length_max) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::CopyFileRangeIn>());
  uint64_t length = std::min(in.length, length_max), done = 0;
  while (done < length) {
    if (done != 0 && exchange.is_interrupted()) break;
    auto part = dispatcher.file_system().copy_range(
        exchange.caller(), Fh(in.source_fh), in.source_offset + done, Fh(in.target_fh),
        in.target_offset + done, std::min(length - done, kCopyBytes));
    if (!part.is_ok() && done == 0) return part.status();
    if (!part.is_ok() || *part == 0) break;
    done += *part;
  }
  return done;
}

}  // namespace

/// What HANDLE_KILLPRIV_V2 leaves to the server when an unprivileged caller changes the bytes.
Status clear_set_id(Dispatcher& dispatcher, Exchange& exchange) {
  fs::SetAttributes change;
  change.clears_set_id = true;
  return dispatcher.file_system()
      .set_attributes(exchange.caller(), exchange.node(), change, {})
      .status();
}

Status open(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::OpenIn>());
  int flags = open_flags(in.flags);
  TARN_ASSIGN(auto opened,
              dispatcher.file_system().open(exchange.caller(), exchange.node(), flags));
  if (may_write(flags)) {
    // Attributes that the kernel cached while the file was settled would outlive what a writer does
    // through a mapping. From here on GETATTR is answered without validity.
    static_cast<void>(invalidate_attributes(dispatcher.channel(), exchange.node()));
  }
  if ((in.open_flags & wire::kOpenKillSuidgid) != 0) {
    Status cleared = clear_set_id(dispatcher, exchange);
    if (!cleared.is_ok()) {
      undo_open(dispatcher, cleared, opened.fh);
      return cleared;
    }
  }
  undo_open(dispatcher, exchange.answer(encode_opened(opened)), opened.fh);
  return Status::ok();
}

bool open_is_slow(Dispatcher& dispatcher, Request request) {
  auto in = request.take<wire::OpenIn>();
  return in.is_ok() &&
         !dispatcher.file_system().open_is_quick(request.node(), open_flags(in->flags));
}

Status create(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::CreateIn>());
  TARN_ASSIGN(auto name, exchange.request().take_name());
  return answer_created(dispatcher, exchange,
                        dispatcher.file_system().create(exchange.caller(in.umask), exchange.node(),
                                                        name, in.mode, open_flags(in.flags)));
}

bool create_is_slow(Dispatcher&, Request request) {
  auto in = request.take<wire::CreateIn>();
  return in.is_ok() && (in->flags & static_cast<uint32_t>(O_SYNC | O_DSYNC)) != 0;
}

Status tmpfile(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::CreateIn>());
  return answer_created(
      dispatcher, exchange,
      dispatcher.file_system().create_unnamed(exchange.caller(in.umask), exchange.node(), in.mode,
                                              open_flags(in.flags)));
}

Status read(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::ReadIn>());
  auto space = exchange.room();
  space = space.first(std::min<size_t>(in.size, space.size()));
  TARN_ASSIGN(size_t count, dispatcher.file_system().read(Fh(in.fh), in.offset, space));
  return exchange.answer_bytes(space.first(count));
}

Status write(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::WriteIn>());
  TARN_ASSIGN(auto data, exchange.request().take_bytes(in.size));
  if ((in.write_flags & wire::kWriteKillSuidgid) != 0) {
    TARN_TRY(clear_set_id(dispatcher, exchange));
  }
  TARN_ASSIGN(size_t count,
              dispatcher.file_system().write(exchange.caller(), Fh(in.fh), in.offset, data));
  return exchange.answer(wire::WriteOut{static_cast<uint32_t>(count), 0});
}

Status lseek(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::LseekIn>());
  TARN_ASSIGN(uint64_t offset,
              dispatcher.file_system().seek(Fh(in.fh), in.offset, static_cast<int>(in.whence)));
  return exchange.answer(wire::LseekOut{offset});
}

Status fallocate(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::FallocateIn>());
  TARN_TRY(dispatcher.file_system().allocate(exchange.caller(), Fh(in.fh),
                                             static_cast<int>(in.mode), in.offset, in.length));
  return exchange.answer();
}

bool fallocate_is_slow(Dispatcher&, Request request) {
  auto in = request.take<wire::FallocateIn>();
  return in.is_ok() && in->length > limits::kMiB;
}

Status copy_file_range(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(uint64_t done, copy(dispatcher, exchange, kCopyBytesMax32));
  return exchange.answer(wire::WriteOut{static_cast<uint32_t>(done), 0});
}

Status copy_file_range_64(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(uint64_t done, copy(dispatcher, exchange, UINT64_MAX));
  return exchange.answer(wire::CopyFileRangeOut{done});
}

Status flush(Dispatcher&, Exchange&) {
  return Status(Code::kNotImplemented, "close needs no message");
}

Status fsync(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::FsyncIn>());
  TARN_TRY(dispatcher.file_system().fsync(Fh(in.fh), (in.flags & wire::kFsyncDataOnly) != 0));
  return exchange.answer();
}

Status release(Dispatcher& dispatcher, Exchange& exchange) {
  TARN_ASSIGN(auto in, exchange.request().take<wire::ReleaseIn>());
  TARN_TRY(dispatcher.file_system().release(Fh(in.fh)));
  return exchange.answer();
}

}  // namespace tarn::mount::ops
