#include "mount/init.h"

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace tarn::mount {
namespace {

constexpr uint32_t kPageBytes = 4096;

constexpr std::pair<uint64_t, const char*> kNames[] = {
    {wire::init::kAsyncRead, "ASYNC_READ"},
    {wire::init::kPosixLocks, "POSIX_LOCKS"},
    {wire::init::kAtomicTruncate, "ATOMIC_O_TRUNC"},
    {wire::init::kExportSupport, "EXPORT_SUPPORT"},
    {wire::init::kBigWrites, "BIG_WRITES"},
    {wire::init::kDontMask, "DONT_MASK"},
    {wire::init::kSpliceWrite, "SPLICE_WRITE"},
    {wire::init::kSpliceMove, "SPLICE_MOVE"},
    {wire::init::kSpliceRead, "SPLICE_READ"},
    {wire::init::kFlockLocks, "FLOCK_LOCKS"},
    {wire::init::kIoctlDir, "HAS_IOCTL_DIR"},
    {wire::init::kAutoInvalData, "AUTO_INVAL_DATA"},
    {wire::init::kReaddirplus, "DO_READDIRPLUS"},
    {wire::init::kReaddirplusAuto, "READDIRPLUS_AUTO"},
    {wire::init::kAsyncDio, "ASYNC_DIO"},
    {wire::init::kWritebackCache, "WRITEBACK_CACHE"},
    {wire::init::kNoOpenSupport, "NO_OPEN_SUPPORT"},
    {wire::init::kParallelDirops, "PARALLEL_DIROPS"},
    {wire::init::kHandleKillpriv, "HANDLE_KILLPRIV"},
    {wire::init::kPosixAcl, "POSIX_ACL"},
    {wire::init::kAbortError, "ABORT_ERROR"},
    {wire::init::kMaxPages, "MAX_PAGES"},
    {wire::init::kCacheSymlinks, "CACHE_SYMLINKS"},
    {wire::init::kNoOpendirSupport, "NO_OPENDIR_SUPPORT"},
    {wire::init::kExplicitInvalData, "EXPLICIT_INVAL_DATA"},
    {wire::init::kMapAlignment, "MAP_ALIGNMENT"},
    {wire::init::kSubmounts, "SUBMOUNTS"},
    {wire::init::kHandleKillprivV2, "HANDLE_KILLPRIV_V2"},
    {wire::init::kSetxattrExt, "SETXATTR_EXT"},
    {wire::init::kInitExt, "INIT_EXT"},
    {wire::init::kSecurityContext, "SECURITY_CTX"},
    {wire::init::kHasInodeDax, "HAS_INODE_DAX"},
    {wire::init::kCreateSuppGroup, "CREATE_SUPP_GROUP"},
    {wire::init::kHasExpireOnly, "HAS_EXPIRE_ONLY"},
    {wire::init::kDirectIoAllowMmap, "DIRECT_IO_ALLOW_MMAP"},
    {wire::init::kPassthrough, "PASSTHROUGH"},
    {wire::init::kNoExportSupport, "NO_EXPORT_SUPPORT"},
    {wire::init::kHasResend, "HAS_RESEND"},
    {wire::init::kAllowIdmap, "ALLOW_IDMAP"},
    {wire::init::kOverIoUring, "OVER_IO_URING"},
    {wire::init::kRequestTimeout, "REQUEST_TIMEOUT"},
};

Status answer(int fd, uint64_t unique, int error, std::span<const std::byte> body) {
  wire::OutHeader header{static_cast<uint32_t>(sizeof header + body.size()), -error, unique};
  std::array<iovec, 2> parts{iovec{&header, sizeof header},
                             iovec{const_cast<std::byte*>(body.data()), body.size()}};
  if (writev(fd, parts.data(), body.empty() ? 1 : 2) < 0) {
    return last_errno("writing the answer to FUSE_INIT");
  }
  return Status::ok();
}

}  // namespace

uint64_t wanted_flags(const InitOptions& options) {
  namespace f = wire::init;
  uint64_t flags = f::kAsyncRead | f::kBigWrites | f::kAtomicTruncate | f::kParallelDirops |
                   f::kReaddirplus | f::kReaddirplusAuto | f::kMaxPages | f::kCacheSymlinks |
                   f::kInitExt | f::kPosixAcl | f::kDontMask | f::kExportSupport |
                   f::kExplicitInvalData | f::kHasExpireOnly | f::kHasResend | f::kSetxattrExt |
                   f::kHandleKillprivV2;
  if (options.has_passthrough) flags |= f::kPassthrough;
  return flags;
}

Result<InitAnswer> plan_answer(const wire::InitIn& in, const InitOptions& options) {
  if (in.major != wire::kMajor || in.minor < wire::kMinorMin) {
    return Status(Code::kNotSupported,
                  fmt::format("the kernel speaks FUSE protocol {}.{}, but {}.{} (Linux 5.4) or a "
                              "later 7.x is needed",
                              in.major, in.minor, wire::kMajor, wire::kMinorMin));
  }
  InitAnswer answer{};
  Negotiated& n = answer.negotiated;
  n.major = wire::kMajor;
  n.minor = std::min(in.minor, wire::kMinor);
  n.offered = in.flags;
  if ((n.offered & wire::init::kInitExt) != 0) n.offered |= uint64_t{in.flags2} << 32;
  n.flags = n.offered & wanted_flags(options);
  n.max_write_bytes = limits::kRequestBytesMax;
  n.max_pages = limits::kRequestBytesMax / kPageBytes;
  n.max_readahead_bytes = std::min(in.max_readahead, options.max_readahead_bytes);
  // A depth of 1: the backing file system is not stacked itself, and an overlay fits on top of
  // ours.
  n.max_stack_depth = n.has(wire::init::kPassthrough) ? 1 : 0;
  n.max_background = options.max_background;
  n.congestion_threshold = options.congestion_threshold;

  wire::InitOut& out = answer.out;
  out.major = n.major;
  out.minor = wire::kMinor;
  out.max_readahead = n.max_readahead_bytes;
  out.flags = static_cast<uint32_t>(n.flags);
  out.flags2 = static_cast<uint32_t>(n.flags >> 32);
  out.max_background = options.max_background;
  out.congestion_threshold = options.congestion_threshold;
  out.max_write = n.max_write_bytes;
  out.time_granularity = 1;
  out.max_pages = static_cast<uint16_t>(n.max_pages);
  out.max_stack_depth = n.max_stack_depth;
  return answer;
}

Result<Negotiated> negotiate(int fd, const InitOptions& options, int timeout_ms) {
  alignas(8) std::array<std::byte, 8192> buffer;
  // The kernel wants room for the largest write even while only INIT can come; until it is agreed
  // that is the least buffer of the protocol.
  for (;;) {
    pollfd ready{fd, POLLIN, 0};
    int count = poll(&ready, 1, timeout_ms);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return last_errno("waiting for FUSE_INIT");
    if (count == 0) {
      return Status(Code::kTimedOut,
                    fmt::format("the kernel sent no FUSE_INIT within {} ms", timeout_ms));
    }
    ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
    if (got < 0) return last_errno("reading FUSE_INIT");
    wire::InHeader header;
    wire::InitIn in{};
    size_t body_bytes = static_cast<size_t>(got) - std::min<size_t>(got, sizeof header);
    if (static_cast<size_t>(got) < sizeof header + wire::kInitInShortBytes) {
      return Status(Code::kBadFormat, fmt::format("FUSE_INIT of {} bytes is too short", got));
    }
    std::memcpy(&header, buffer.data(), sizeof header);
    std::memcpy(&in, buffer.data() + sizeof header, std::min(body_bytes, sizeof in));
    if (static_cast<wire::Opcode>(header.opcode) != wire::Opcode::kInit) {
      return Status(Code::kBadFormat,
                    fmt::format("the first request is {} and not FUSE_INIT", header.opcode));
    }
    if (in.major > wire::kMajor) {
      // The protocol's own rule: name our version; the kernel asks again in that one.
      wire::InitOut ours{};
      ours.major = wire::kMajor;
      ours.minor = wire::kMinor;
      TARN_TRY(answer(fd, header.unique, 0, std::as_bytes(std::span(&ours, 1))));
      continue;
    }
    auto planned = plan_answer(in, options);
    if (!planned.is_ok()) {
      // The refusal is the news, whether or not it could be delivered.
      static_cast<void>(answer(fd, header.unique, EPROTO, {}));
      return planned.status();
    }
    TARN_TRY(answer(fd, header.unique, 0, std::as_bytes(std::span(&planned->out, 1))));
    return planned->negotiated;
  }
}

std::string flag_names(uint64_t flags) {
  std::string text;
  for (int bit = 0; bit < 64; ++bit) {
    uint64_t flag = uint64_t{1} << bit;
    if ((flags & flag) == 0) continue;
    if (!text.empty()) text += ' ';
    const auto* found = std::find_if(std::begin(kNames), std::end(kNames),
                                     [&](const auto& named) { return named.first == flag; });
    text += found != std::end(kNames) ? found->second : fmt::format("bit{}", bit);
  }
  return text;
}

std::string describe(const Negotiated& n) {
  return fmt::format("FUSE {}.{}, requests of {} KiB, read-ahead {} KiB, background {}: {}",
                     n.major, n.minor, n.max_write_bytes / 1024, n.max_readahead_bytes / 1024,
                     n.max_background, flag_names(n.flags));
}

}  // namespace tarn::mount
