#include "mount/dispatcher.h"

#include <algorithm>
#include <bit>
#include <memory>

#include <fmt/format.h>

#include "base/log.h"
#include "mount/notifier.h"
#include "mount/ops.h"

namespace tarn::mount {
namespace {

using wire::Opcode;

bool always(Dispatcher&, Request) {
  return true;
}

constexpr size_t kPoolTasksMax = 1024;

// One line an operation. "is_slow" decides for the pool; the last column says what a signal to the
// caller does while it is there.
constexpr Operation kOperations[] = {
    {Opcode::kLookup, "lookup", ops::lookup},
    {Opcode::kForget, "forget", ops::forget},
    {Opcode::kBatchForget, "batch_forget", ops::batch_forget},
    {Opcode::kGetattr, "getattr", ops::getattr},
    {Opcode::kStatx, "statx", ops::statx},
    {Opcode::kSetattr, "setattr", ops::setattr, ops::setattr_is_slow},
    {Opcode::kAccess, "access", ops::access},
    {Opcode::kReadlink, "readlink", ops::readlink},
    {Opcode::kSymlink, "symlink", ops::symlink},
    {Opcode::kMknod, "mknod", ops::mknod},
    {Opcode::kMkdir, "mkdir", ops::mkdir},
    {Opcode::kUnlink, "unlink", ops::unlink},
    {Opcode::kRmdir, "rmdir", ops::rmdir},
    {Opcode::kRename, "rename", ops::rename, ops::rename_is_slow},
    {Opcode::kRename2, "rename2", ops::rename2, ops::rename2_is_slow},
    {Opcode::kLink, "link", ops::link},
    {Opcode::kOpen, "open", ops::open, ops::open_is_slow, OnInterrupt::kIfEnding},
    {Opcode::kCreate, "create", ops::create, ops::create_is_slow},
    {Opcode::kTmpfile, "tmpfile", ops::tmpfile},
    {Opcode::kRead, "read", ops::read},
    {Opcode::kWrite, "write", ops::write},
    {Opcode::kLseek, "lseek", ops::lseek},
    {Opcode::kFallocate, "fallocate", ops::fallocate, ops::fallocate_is_slow,
     OnInterrupt::kIfEnding},
    {Opcode::kCopyFileRange, "copy_file_range", ops::copy_file_range, always},
    {Opcode::kCopyFileRange64, "copy_file_range_64", ops::copy_file_range_64, always},
    {Opcode::kFlush, "flush", ops::flush},
    {Opcode::kFsync, "fsync", ops::fsync, always, OnInterrupt::kIfEnding},
    {Opcode::kRelease, "release", ops::release},
    {Opcode::kOpendir, "opendir", ops::opendir},
    {Opcode::kReaddir, "readdir", ops::readdir},
    {Opcode::kReaddirplus, "readdirplus", ops::readdirplus},
    {Opcode::kFsyncdir, "fsyncdir", ops::fsyncdir, always, OnInterrupt::kIfEnding},
    {Opcode::kReleasedir, "releasedir", ops::releasedir},
    {Opcode::kStatfs, "statfs", ops::statfs},
    {Opcode::kSetxattr, "setxattr", ops::setxattr},
    {Opcode::kGetxattr, "getxattr", ops::getxattr, ops::getxattr_is_slow, OnInterrupt::kAlways},
    {Opcode::kListxattr, "listxattr", ops::listxattr},
    {Opcode::kRemovexattr, "removexattr", ops::removexattr},
    {Opcode::kInterrupt, "interrupt", ops::interrupt},
    {Opcode::kDestroy, "destroy", ops::destroy},
};

constexpr auto kByOpcode = [] {
  std::array<const Operation*, wire::kOpcodesEnd> table{};
  for (const Operation& operation : kOperations) {
    table[static_cast<size_t>(operation.opcode)] = &operation;
  }
  return table;
}();

const Operation* find_operation(uint32_t opcode) {
  return opcode < kByOpcode.size() ? kByOpcode[opcode] : nullptr;
}

}  // namespace

const char* operation_name(uint32_t opcode) {
  const Operation* operation = find_operation(opcode);
  return operation == nullptr ? "unknown" : operation->name;
}

Dispatcher::Dispatcher(fs::FileSystem& file_system, Channel& channel, DispatcherOptions options)
    : file_system_(file_system),
      channel_(channel),
      options_(options),
      pool_("tarn-pool", options.pool_threads, kPoolTasksMax) {}

Dispatcher::~Dispatcher() {
  drain();
}

void Dispatcher::handle(Queue& queue, const Message& message) {
  TimeNs began = Clock::system().monotonic();
  Notifier::AnsweringScope answering;
  auto parsed = Request::parse(message.bytes);
  if (!parsed.is_ok()) {
    log_error("mount.malformed", "bytes={} status=\"{}\"", message.bytes.size(),
              parsed.status().to_string());
    return;
  }
  const Request& request = *parsed;
  if (request.is_resent()) resent_.fetch_add(1, std::memory_order_relaxed);
  const Operation* operation = find_operation(request.header().opcode);
  if (operation == nullptr) {
    unknown_.fetch_add(1, std::memory_order_relaxed);
    static_cast<void>(queue.answer(request.header().unique, ENOSYS, {}));
    return;
  }
  if (operation->is_slow != nullptr && operation->is_slow(*this, request)) {
    run_in_pool(*operation, request, queue, message.bytes, began);
    return;
  }
  if (request.opcode() == Opcode::kInterrupt) interrupted_.fetch_add(1, std::memory_order_relaxed);
  Exchange exchange(request, queue, message.room, options_.connection);
  run(*operation, exchange, began);
}

void Dispatcher::run(const Operation& operation, Exchange& exchange, TimeNs began) {
  Status status = operation.handler(*this, exchange);
  if (!exchange.is_answered()) {
    CHECK(!status.is_ok(), std::string("a handler gave no answer: ") + operation.name);
    exchange.fail(status);
  }
  count(exchange.opcode_number(), exchange.error(), began);
}

void Dispatcher::run_in_pool(const Operation& operation, const Request& request, Queue& queue,
                             std::span<const std::byte> bytes, TimeNs began) {
  in_pool_.fetch_add(1, std::memory_order_relaxed);
  auto pending = std::make_shared<PendingRequest>(queue, request.header().unique,
                                                  request.header().pid, operation.on_interrupt);
  interrupts_.add(pending);
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  bool is_taken =
      pool_.submit([this, &operation, &queue, pending, began, message = std::move(copy)] {
        Notifier::AnsweringScope answering;
        if (pending->begin()) {
          Exchange exchange(Request::parse(message).value(), queue, {}, options_.connection,
                            pending.get());
          run(operation, exchange, began);
        }
        interrupts_.remove(*pending);
      });
  CHECK(is_taken, "a request came after the dispatcher was drained");
}

void Dispatcher::count(uint32_t opcode, int error, TimeNs began) {
  Counter& counter = counters_[opcode];
  counter.requests.fetch_add(1, std::memory_order_relaxed);
  if (error != 0) counter.errors.fetch_add(1, std::memory_order_relaxed);
  auto micros = static_cast<uint64_t>((Clock::system().monotonic() - began) / 1000);
  size_t bucket =
      std::min<size_t>(static_cast<size_t>(std::bit_width(micros)), latency_.size() - 1);
  latency_[bucket].fetch_add(1, std::memory_order_relaxed);
}

DispatcherStatistics Dispatcher::statistics() const {
  DispatcherStatistics all;
  for (const Operation& operation : kOperations) {
    const Counter& counter = counters_[static_cast<size_t>(operation.opcode)];
    uint64_t requests = counter.requests.load(std::memory_order_relaxed);
    if (requests == 0) continue;
    all.operations.push_back(
        {operation.name, requests, counter.errors.load(std::memory_order_relaxed)});
    all.requests += requests;
  }
  if (uint64_t unknown = unknown_.load(); unknown != 0) {
    all.operations.push_back({"unknown", unknown, unknown});
    all.requests += unknown;
  }
  all.in_pool = in_pool_.load();
  all.interrupted = interrupted_.load();
  all.resent = resent_.load();
  for (size_t i = 0; i < latency_.size(); ++i) all.latency[i] = latency_[i].load();
  return all;
}

}  // namespace tarn::mount
