// The kernel's FUSE protocol, version 7.45: messages as they lie in memory, and their numbers.
//
// Distributions ship an older description of it, so the parts that Tarn speaks are written here;
// every structure has its size asserted, and wire_test.cc pins their bytes. All integers are in the
// machine's byte order; structures are padded to 8 bytes. A request is InHeader, then the
// structures of its operation, then names (each ended by a NUL) or data; an answer is OutHeader,
// then its structures or data; a notification is an OutHeader whose `unique` is 0 and whose
// `error` is the notification's number. Plain values, no code.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace tarn::mount::wire {

inline constexpr uint32_t kMajor = 7;
inline constexpr uint32_t kMinor = 45;
/// 7.31 is Linux 5.4; older kernels answer with shorter structures.
inline constexpr uint32_t kMinorMin = 31;

/// Set in `unique` of a request that is sent again after kNotifyResend.
inline constexpr uint64_t kUniqueResend = uint64_t{1} << 63;

enum class Opcode : uint32_t {
  kLookup = 1,
  kForget = 2,
  kGetattr = 3,
  kSetattr = 4,
  kReadlink = 5,
  kSymlink = 6,
  kMknod = 8,
  kMkdir = 9,
  kUnlink = 10,
  kRmdir = 11,
  kRename = 12,
  kLink = 13,
  kOpen = 14,
  kRead = 15,
  kWrite = 16,
  kStatfs = 17,
  kRelease = 18,
  kFsync = 20,
  kSetxattr = 21,
  kGetxattr = 22,
  kListxattr = 23,
  kRemovexattr = 24,
  kFlush = 25,
  kInit = 26,
  kOpendir = 27,
  kReaddir = 28,
  kReleasedir = 29,
  kFsyncdir = 30,
  kAccess = 34,
  kCreate = 35,
  kInterrupt = 36,
  kDestroy = 38,
  kBatchForget = 42,
  kFallocate = 43,
  kReaddirplus = 44,
  kRename2 = 45,
  kLseek = 46,
  kCopyFileRange = 47,
  kTmpfile = 51,
  kStatx = 52,
  kCopyFileRange64 = 53,
};
inline constexpr uint32_t kOpcodesEnd = 54;

enum class Notify : int32_t {
  kInvalidateInode = 2,
  kInvalidateEntry = 3,
  kResend = 7,
};

/// FUSE_INIT's flags, both words as one number.
namespace init {
inline constexpr uint64_t kAsyncRead = 1ull << 0;
inline constexpr uint64_t kPosixLocks = 1ull << 1;
inline constexpr uint64_t kAtomicTruncate = 1ull << 3;
inline constexpr uint64_t kExportSupport = 1ull << 4;
inline constexpr uint64_t kBigWrites = 1ull << 5;
inline constexpr uint64_t kDontMask = 1ull << 6;
inline constexpr uint64_t kSpliceWrite = 1ull << 7;
inline constexpr uint64_t kSpliceMove = 1ull << 8;
inline constexpr uint64_t kSpliceRead = 1ull << 9;
inline constexpr uint64_t kFlockLocks = 1ull << 10;
inline constexpr uint64_t kIoctlDir = 1ull << 11;
inline constexpr uint64_t kAutoInvalData = 1ull << 12;
inline constexpr uint64_t kReaddirplus = 1ull << 13;
inline constexpr uint64_t kReaddirplusAuto = 1ull << 14;
inline constexpr uint64_t kAsyncDio = 1ull << 15;
inline constexpr uint64_t kWritebackCache = 1ull << 16;
inline constexpr uint64_t kNoOpenSupport = 1ull << 17;
inline constexpr uint64_t kParallelDirops = 1ull << 18;
inline constexpr uint64_t kHandleKillpriv = 1ull << 19;
inline constexpr uint64_t kPosixAcl = 1ull << 20;
inline constexpr uint64_t kAbortError = 1ull << 21;
inline constexpr uint64_t kMaxPages = 1ull << 22;
inline constexpr uint64_t kCacheSymlinks = 1ull << 23;
inline constexpr uint64_t kNoOpendirSupport = 1ull << 24;
inline constexpr uint64_t kExplicitInvalData = 1ull << 25;
inline constexpr uint64_t kMapAlignment = 1ull << 26;
inline constexpr uint64_t kSubmounts = 1ull << 27;
inline constexpr uint64_t kHandleKillprivV2 = 1ull << 28;
inline constexpr uint64_t kSetxattrExt = 1ull << 29;
inline constexpr uint64_t kInitExt = 1ull << 30;
inline constexpr uint64_t kSecurityContext = 1ull << 32;
inline constexpr uint64_t kHasInodeDax = 1ull << 33;
inline constexpr uint64_t kCreateSuppGroup = 1ull << 34;
inline constexpr uint64_t kHasExpireOnly = 1ull << 35;
inline constexpr uint64_t kDirectIoAllowMmap = 1ull << 36;
inline constexpr uint64_t kPassthrough = 1ull << 37;
inline constexpr uint64_t kNoExportSupport = 1ull << 38;
inline constexpr uint64_t kHasResend = 1ull << 39;
inline constexpr uint64_t kAllowIdmap = 1ull << 40;
inline constexpr uint64_t kOverIoUring = 1ull << 41;
inline constexpr uint64_t kRequestTimeout = 1ull << 42;
}  // namespace init

/// SetattrIn::valid.
namespace fattr {
inline constexpr uint32_t kMode = 1u << 0;
inline constexpr uint32_t kUid = 1u << 1;
inline constexpr uint32_t kGid = 1u << 2;
inline constexpr uint32_t kSize = 1u << 3;
inline constexpr uint32_t kAtime = 1u << 4;
inline constexpr uint32_t kMtime = 1u << 5;
inline constexpr uint32_t kFh = 1u << 6;
inline constexpr uint32_t kAtimeNow = 1u << 7;
inline constexpr uint32_t kMtimeNow = 1u << 8;
inline constexpr uint32_t kCtime = 1u << 10;
inline constexpr uint32_t kKillSuidgid = 1u << 11;
}  // namespace fattr

/// OpenOut::open_flags.
namespace fopen {
inline constexpr uint32_t kDirectIo = 1u << 0;
inline constexpr uint32_t kKeepCache = 1u << 1;
inline constexpr uint32_t kPassthrough = 1u << 7;
}  // namespace fopen

inline constexpr uint32_t kOpenKillSuidgid = 1u << 0;      // OpenIn, CreateIn::open_flags
inline constexpr uint32_t kWriteKillSuidgid = 1u << 2;     // WriteIn::write_flags
inline constexpr uint32_t kFsyncDataOnly = 1u << 0;        // FsyncIn::flags
inline constexpr uint32_t kSetxattrAclKillSgid = 1u << 0;  // SetxattrIn::setxattr_flags

struct InHeader {
  uint32_t len;
  uint32_t opcode;
  uint64_t unique;
  uint64_t nodeid;
  uint32_t uid;
  uint32_t gid;
  uint32_t pid;
  uint16_t total_extlen;  // extensions at the end, in units of 8 bytes
  uint16_t padding;
};
static_assert(sizeof(InHeader) == 40);

struct OutHeader {
  uint32_t len;
  int32_t error;  // 0 or a negative errno; a notification's number
  uint64_t unique;
};
static_assert(sizeof(OutHeader) == 16);

struct Attr {
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;
  uint64_t atime;
  uint64_t mtime;
  uint64_t ctime;
  uint32_t atime_nsec;
  uint32_t mtime_nsec;
  uint32_t ctime_nsec;
  uint32_t mode;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint32_t rdev;
  uint32_t blksize;
  uint32_t flags;
};
static_assert(sizeof(Attr) == 88);

struct EntryOut {
  uint64_t nodeid;
  uint64_t generation;
  uint64_t entry_valid;
  uint64_t attr_valid;
  uint32_t entry_valid_nsec;
  uint32_t attr_valid_nsec;
  Attr attr;
};
static_assert(sizeof(EntryOut) == 128);

struct AttrOut {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec;
  uint32_t padding;
  Attr attr;
};
static_assert(sizeof(AttrOut) == 104);

struct ForgetIn {
  uint64_t nlookup;
};
static_assert(sizeof(ForgetIn) == 8);

struct BatchForgetIn {
  uint32_t count;
  uint32_t padding;
};
static_assert(sizeof(BatchForgetIn) == 8);

struct ForgetOne {
  uint64_t nodeid;
  uint64_t nlookup;
};
static_assert(sizeof(ForgetOne) == 16);

struct GetattrIn {
  uint32_t flags;
  uint32_t padding;
  uint64_t fh;
};
static_assert(sizeof(GetattrIn) == 16);

struct SetattrIn {
  uint32_t valid;
  uint32_t padding;
  uint64_t fh;
  uint64_t size;
  uint64_t lock_owner;
  uint64_t atime;
  uint64_t mtime;
  uint64_t ctime;
  uint32_t atime_nsec;
  uint32_t mtime_nsec;
  uint32_t ctime_nsec;
  uint32_t mode;
  uint32_t unused;
  uint32_t uid;
  uint32_t gid;
  uint32_t unused2;
};
static_assert(sizeof(SetattrIn) == 88);

struct StatxTime {
  int64_t seconds;
  uint32_t nsec;
  int32_t reserved;
};
static_assert(sizeof(StatxTime) == 16);

struct StatxIn {
  uint32_t getattr_flags;
  uint32_t reserved;
  uint64_t fh;
  uint32_t flags;
  uint32_t mask;
};
static_assert(sizeof(StatxIn) == 24);

struct Statx {
  uint32_t mask;
  uint32_t blksize;
  uint64_t attributes;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t spare;
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  StatxTime atime;
  StatxTime btime;
  StatxTime ctime;
  StatxTime mtime;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint64_t spare2[14];
};
static_assert(sizeof(Statx) == 256);

struct StatxOut {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec;
  uint32_t flags;
  uint64_t spare[2];
  Statx stat;
};
static_assert(sizeof(StatxOut) == 288);

struct MknodIn {
  uint32_t mode;
  uint32_t rdev;
  uint32_t umask;
  uint32_t padding;
};
static_assert(sizeof(MknodIn) == 16);

struct MkdirIn {
  uint32_t mode;
  uint32_t umask;
};
static_assert(sizeof(MkdirIn) == 8);

struct RenameIn {
  uint64_t new_directory;
};
static_assert(sizeof(RenameIn) == 8);

struct Rename2In {
  uint64_t new_directory;
  uint32_t flags;
  uint32_t padding;
};
static_assert(sizeof(Rename2In) == 16);

struct LinkIn {
  uint64_t old_nodeid;
};
static_assert(sizeof(LinkIn) == 8);

struct OpenIn {
  uint32_t flags;
  uint32_t open_flags;
};
static_assert(sizeof(OpenIn) == 8);

struct CreateIn {
  uint32_t flags;
  uint32_t mode;
  uint32_t umask;
  uint32_t open_flags;
};
static_assert(sizeof(CreateIn) == 16);

struct OpenOut {
  uint64_t fh;
  uint32_t open_flags;
  int32_t backing_id;
};
static_assert(sizeof(OpenOut) == 16);

struct ReleaseIn {
  uint64_t fh;
  uint32_t flags;
  uint32_t release_flags;
  uint64_t lock_owner;
};
static_assert(sizeof(ReleaseIn) == 24);

struct ReadIn {
  uint64_t fh;
  uint64_t offset;
  uint32_t size;
  uint32_t read_flags;
  uint64_t lock_owner;
  uint32_t flags;
  uint32_t padding;
};
static_assert(sizeof(ReadIn) == 40);

struct WriteIn {
  uint64_t fh;
  uint64_t offset;
  uint32_t size;
  uint32_t write_flags;
  uint64_t lock_owner;
  uint32_t flags;
  uint32_t padding;
};
static_assert(sizeof(WriteIn) == 40);

struct WriteOut {
  uint32_t size;
  uint32_t padding;
};
static_assert(sizeof(WriteOut) == 8);

struct StatfsOut {
  uint64_t blocks;
  uint64_t bfree;
  uint64_t bavail;
  uint64_t files;
  uint64_t ffree;
  uint32_t bsize;
  uint32_t namelen;
  uint32_t frsize;
  uint32_t padding;
  uint32_t spare[6];
};
static_assert(sizeof(StatfsOut) == 80);

struct FsyncIn {
  uint64_t fh;
  uint32_t flags;
  uint32_t padding;
};
static_assert(sizeof(FsyncIn) == 16);

/// With kSetxattrExt.
struct SetxattrIn {
  uint32_t size;
  uint32_t flags;
  uint32_t setxattr_flags;
  uint32_t padding;
};
static_assert(sizeof(SetxattrIn) == 16);
/// Without it only the first 8 bytes are sent.
inline constexpr uint32_t kSetxattrShortBytes = 8;

struct GetxattrIn {
  uint32_t size;
  uint32_t padding;
};
static_assert(sizeof(GetxattrIn) == 8);

struct GetxattrOut {
  uint32_t size;
  uint32_t padding;
};
static_assert(sizeof(GetxattrOut) == 8);

struct AccessIn {
  uint32_t mask;
  uint32_t padding;
};
static_assert(sizeof(AccessIn) == 8);

struct InterruptIn {
  uint64_t unique;
};
static_assert(sizeof(InterruptIn) == 8);

struct FallocateIn {
  uint64_t fh;
  uint64_t offset;
  uint64_t length;
  uint32_t mode;
  uint32_t padding;
};
static_assert(sizeof(FallocateIn) == 32);

struct LseekIn {
  uint64_t fh;
  uint64_t offset;
  uint32_t whence;
  uint32_t padding;
};
static_assert(sizeof(LseekIn) == 24);

struct LseekOut {
  uint64_t offset;
};
static_assert(sizeof(LseekOut) == 8);

struct CopyFileRangeIn {
  uint64_t source_fh;
  uint64_t source_offset;
  uint64_t target_nodeid;
  uint64_t target_fh;
  uint64_t target_offset;
  uint64_t length;
  uint64_t flags;
};
static_assert(sizeof(CopyFileRangeIn) == 56);

struct CopyFileRangeOut {
  uint64_t bytes;
};
static_assert(sizeof(CopyFileRangeOut) == 8);

/// Followed by the name, padded to 8 bytes.
struct Dirent {
  uint64_t ino;
  uint64_t offset;
  uint32_t namelen;
  uint32_t type;  // S_IFMT bits >> 12
};
static_assert(sizeof(Dirent) == 24);

struct InitIn {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint32_t flags2;  // with kInitExt
  uint32_t unused[11];
};
static_assert(sizeof(InitIn) == 64);
/// What kernels before 7.36 send.
inline constexpr uint32_t kInitInShortBytes = 16;

struct InitOut {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint16_t max_background;
  uint16_t congestion_threshold;
  uint32_t max_write;
  uint32_t time_granularity;
  uint16_t max_pages;
  uint16_t map_alignment;
  uint32_t flags2;
  uint32_t max_stack_depth;
  uint16_t request_timeout;
  uint16_t unused[11];
};
static_assert(sizeof(InitOut) == 64);

struct InvalidateInodeOut {
  uint64_t ino;
  int64_t offset;  // below 0: attributes only
  int64_t length;  // 0: to the end
};
static_assert(sizeof(InvalidateInodeOut) == 24);

/// Followed by the name and a NUL, which namelen does not count.
struct InvalidateEntryOut {
  uint64_t parent;
  uint32_t namelen;
  uint32_t flags;
};
static_assert(sizeof(InvalidateEntryOut) == 16);

struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
static_assert(sizeof(BackingMap) == 16);

inline constexpr unsigned long kIoctlClone = _IOR(229, 0, uint32_t);
inline constexpr unsigned long kIoctlBackingOpen = _IOW(229, 1, BackingMap);
inline constexpr unsigned long kIoctlBackingClose = _IOW(229, 2, uint32_t);

}  // namespace tarn::mount::wire
