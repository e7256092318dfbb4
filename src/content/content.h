// Content: files' bytes on the local disk, and the order of writes that keeps them.
//
// Room fs opens, creates and closes through this class; it alone touches blobs and packs. Four
// ideas:
//  * LocalFile: one backing file (a blob) with its descriptor and its attachment to the kernel's
//  direct path.
//    `take_new` hands out unnamed files from a pool filled in the background; each gets its name in
//    blobs/ when it must survive (fsync, barrier, O_SYNC, settling).
//  * File: an open generation of any descriptor: read always, write when it was prepared for
//  writing.
//  * Closed files are submitted with a ticket; the background settles them (pack record or named
//  blob,
//    synced, digests, reverse rows, one transaction a batch). A ticket not yet committing can be
//    cancelled.
//  * Reverse rows (blob, offset) -> (inode, generation, length) are written and erased in the
//  caller's
//    transaction by attach and release; a blob without owners is unlinked only after that is
//    durable.
//
// The order of writes (a) to (f) of ARCHITECTURE.md holds. Errors: kNoSpace, kIo, kCorrupt (damage
// in what was durable), kDataLoss, kBusy, kTextBusy. Thread-safe unless said otherwise.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/limits.h"
#include "content/descriptor.h"
#include "content/root.h"
#include "digest/digest.h"
#include "kv/kv.h"
#include "meta/meta.h"

namespace tarn::content {

/// Attaches a local file to the kernel's direct path (FUSE passthrough); implemented by room mount.
/// attach returns an id above 0. Thread-safe.
class Attacher {
 public:
  virtual ~Attacher() = default;
  virtual Result<int32_t> attach(int fd) = 0;
  virtual void detach(int32_t id) = 0;
};

enum class DigestKind : uint8_t { kMd5, kCrc64Nvme, kSha256 };

/// Holds descriptors of files that have no name yet, outside of this process, so that a worker that
/// takes over finds them where the kernel does not hold them by an attachment. Thread-safe.
class Holder {
 public:
  virtual ~Holder() = default;
  /// The file outlives this process when this returns.
  virtual Status hold(BlobId blob, int fd) = 0;
  virtual void drop(BlobId blob) = 0;
  /// What a dead worker had held; empty when there is none. Given once; it goes on being held.
  virtual UniqueFd take(BlobId blob) = 0;
  /// Drops what a dead worker had held and nobody has taken.
  virtual void drop_rest() = 0;
};

struct FileStat {
  uint64_t size = 0, blocks = 0;  // bytes, 512-byte units
  TimeNs atime = 0, mtime = 0, ctime = 0;
  meta::GrantStamp stamp() const { return {size, mtime, ctime}; }
};

/// One backing file. Shared; the descriptor closes, and the attachment ends, with the last
/// reference.
class LocalFile {
 public:
  virtual ~LocalFile() = default;
  virtual BlobId blob() const = 0;
  virtual int fd() const = 0;
  /// Id from the Attacher; 0 when there is none. attach() makes one if missing (idempotent).
  virtual int32_t attachment() const = 0;
  virtual Result<int32_t> attach() = 0;
  /// Bytes of name_to_handle_at (type + handle) by which a new process reopens it while the kernel
  /// holds it.
  virtual std::string kernel_handle() const = 0;
  virtual bool is_named() const = 0;
  virtual Result<FileStat> stat() const = 0;
};
using LocalFileRef = std::shared_ptr<LocalFile>;

/// An open generation. Positions and lengths in bytes. Reads past the end are short; holes read as
/// zeros.
class File {
 public:
  virtual ~File() = default;
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> out) = 0;
  /// kBadHandle unless prepared for writing.
  virtual Result<size_t> write(uint64_t offset, std::span<const std::byte> data) = 0;
  virtual Status truncate(uint64_t size) = 0;
  /// fallocate(2) mode bits; kNotSupported for what the content cannot do.
  virtual Status allocate(int mode, uint64_t offset, uint64_t length) = 0;
  /// lseek SEEK_DATA / SEEK_HOLE; kNoDevice past the end.
  virtual Result<uint64_t> seek(uint64_t offset, int whence) = 0;
  virtual Result<FileStat> stat() = 0;
  /// The data (and the name of its backing file) becomes durable; the row is the caller's business.
  virtual Status sync() = 0;
  /// Sets times of the backing file, so that live attributes agree after SETATTR. Absent:
  /// unchanged.
  virtual Status set_times(std::optional<TimeNs> atime, std::optional<TimeNs> mtime) = 0;
  virtual bool is_writable() const = 0;
  /// The one backing file that holds exactly these bytes from offset 0 (direct access possible);
  /// else null.
  virtual LocalFileRef local() const = 0;
  /// The current descriptor (changes while pieces are written).
  virtual Descriptor descriptor() const = 0;
  /// Where bytes [offset, ...) lie in a descriptor for sendfile; length 0: only read() can tell.
  struct Extent {
    int fd = -1;
    uint64_t offset = 0, length = 0;
  };
  virtual Extent extent(uint64_t offset, uint64_t length) = 0;
};
using FileRef = std::shared_ptr<File>;

/// A closed file on its way to settled.
class Ticket {
 public:
  virtual ~Ticket() = default;
  /// True: the background will not touch it any more and its row is as before. False: it is
  /// committing or done; wait() and read the row again.
  virtual bool cancel() = 0;
  /// Waits until it is settled, cancelled or failed.
  virtual Status wait() = 0;
};
using TicketRef = std::shared_ptr<Ticket>;

struct ClosedFile {
  Ino ino;
  FileRef file;
  bool is_new = false;  // generation was never settled before (drives naming and generation number)
  bool clear_set_id = false;
  /// Set: the row still holds this settled generation, and settling replaces it: puts the file's
  /// descriptor, generation + 1, and releases the old content, all in the settling transaction.
  std::optional<Generation> replaces;
  /// A direct handle still reads it: settle as a blob, never into a pack.
  bool keep_blob = false;
  /// Called from a background thread once, after the settling transaction is visible (with the new
  /// row) or has failed for good. No lock of content is held.
  std::function<void(const Result<meta::InodeRow>&)> done;
};

/// How an inode's bytes may be written, as decided by prepare_write. For kPrivate and kPieces
/// either leave the row as it is and submit with `replaces`, or put `file->descriptor()` in an
/// `open` row: an Overlay, which keeps the old bytes owned (release, then attach, which together
/// change nothing). Settling then releases them. Either way the old bytes hold after a power cut
/// that came before.
struct WritePlan {
  enum class Kind : uint8_t {
    kInPlace,  // the row's own blob; commit `open` durably before the first write (rule d)
    kPrivate,  // `file` is a new private blob (empty or a copy)
    kPieces,   // `file` is pieces over the old blob(s), copied on write
  };
  Kind kind = Kind::kInPlace;
  FileRef file;
};

/// New bytes that get a descriptor without passing through an open inode: S3 PUT, extract, ingest.
/// Small ones become pack records, larger ones blobs. Nothing is owned until attach; dropping it
/// discards.
class Incoming {
 public:
  /// What the bytes say of themselves on disk, where known before finish.
  struct Description {
    Ino ino;
    Generation generation;
    Ino parent;
    std::string name;
    uint32_t mode = 0, uid = 0, gid = 0;
    TimeNs mtime = 0;
  };
  /// Keep it alive until the transaction that attaches its descriptor is committed.
  virtual ~Incoming() = default;
  virtual void describe(const Description& description) = 0;
  /// Up to limits::kInlineBytesMax may go into the row itself (one flush); moved to a pack later.
  virtual void allow_inline() = 0;
  /// Appends; hole() leaves `length` bytes of zeros without storing them.
  virtual Status append(std::span<const std::byte> data) = 0;
  virtual Status hole(uint64_t length) = 0;
  /// No more bytes. The result is durable only after Content::sync_incoming.
  struct Done {
    Descriptor descriptor;
    uint64_t size = 0, blocks = 0;
    meta::Digests digests;  // md5 and crc64nvme of the bytes, computed in the same pass
  };
  virtual Result<Done> finish() = 0;
};

/// Incomings that belong together: beyond a few MiB their pack records share no pack with others',
/// so that all of the room comes back when the job that brings them in fails. Used by one thread at
/// a time; outlives its Incomings' finish and is gone before the Content.
class IncomingGroup {
 public:
  virtual ~IncomingGroup() = default;
};

struct ContentOptions {
  Attacher* attacher = nullptr;  // null: no direct path
  Holder* holder = nullptr;      // null: nobody outlives this process
  uint32_t pool_files = limits::kPoolFiles;
  TimeNs barrier_interval_ns = limits::kBarrierIntervalNs;
  bool has_background = true;  // false: barrier() is only called by hand (tests)
};

class Content {
 public:
  /// Recovers after an unclean end (rule f) before it returns: open and closed rows take size and
  /// times from their files; blobs never synced and missing are dropped with their entries and
  /// reported. `is_take_over`: a worker died under a living keeper; unnamed files still exist by
  /// kernel handle, rows stay open, and room fs adopts them first.
  static Result<std::unique_ptr<Content>> open(Root& root, kv::Store& store, ContentOptions options,
                                               bool is_take_over);
  virtual ~Content() = default;
  /// Settles everything, makes it durable, stops the background. Called once.
  virtual Status close() = 0;

  // --- creating and opening
  /// A new empty unnamed blob from the pool, attached ahead if there is an attacher. kNoSpace when
  /// low.
  virtual Result<LocalFileRef> take_new() = 0;
  /// A File for writing on a fresh LocalFile.
  virtual FileRef open_new(LocalFileRef file) = 0;
  /// For reading; cheap: packs and recently used blobs are kept open (bounded).
  virtual Result<FileRef> open_read(const meta::InodeRow& row) = 0;
  /// For writing. `truncate`: the old bytes are not wanted and nobody has the inode open. May copy
  /// (interruptible by `is_cancelled`). A plan other than kInPlace has another backing file:
  /// kTextBusy is the caller's answer while a direct handle on the old one is open.
  virtual Result<WritePlan> prepare_write(const meta::InodeRow& row, bool truncate,
                                          const std::function<bool()>& is_cancelled) = 0;
  /// Reopens a backing file of a dead worker; `has_writer`: barriers see to its name and data.
  /// kStale when the kernel no longer has it.
  virtual Result<LocalFileRef> adopt(BlobId blob, std::string_view kernel_handle,
                                     int32_t attachment, bool has_writer) = 0;
  /// A File for writing on an adopted backing file, by what its `open` row says. Call submit_closed
  /// for it as usual.
  virtual Result<FileRef> reopen_for_write(const meta::InodeRow& row, LocalFileRef local) = 0;
  /// After a take-over, when room fs has adopted what it could: the remaining unsettled rows are
  /// recovered as after the death of the process.
  virtual Status finish_take_over() = 0;
  /// The file gets its name in blobs/; with `durable` the name is synced as well.
  virtual Status ensure_named(const LocalFileRef& file, bool durable) = 0;

  // --- settling
  /// Hands over a file whose last writer is gone. Waits when too many are queued (back-pressure).
  virtual TicketRef submit_closed(ClosedFile closed) = 0;
  /// Everything submitted or committed before this call becomes durable and settled; open unnamed
  /// files get names. One barrier serves all waiters.
  virtual Status barrier() = 0;

  // --- owners, in the caller's transaction. A fresh blob (take_new) in an `open` row needs no
  // attach: settling writes its reverse row. Where both are called for one inode, release comes
  // first.
  virtual Status attach(kv::Transaction& txn, Ino ino, Generation generation,
                        const Descriptor& descriptor) = 0;
  /// Ends the ownership; blobs left without an owner are unlinked after that commit is durable. The
  /// caller calls `released` with the stamp of the commit.
  virtual Status release(kv::Transaction& txn, Ino ino, Generation generation,
                         const Descriptor& descriptor) = 0;
  virtual void released(Stamp stamp) = 0;
  /// How many owners a blob has, counting up to 2.
  virtual Result<int> owners(kv::Transaction& txn, BlobId blob) = 0;

  // --- bringing in
  virtual Result<std::unique_ptr<Incoming>> begin_incoming(std::optional<uint64_t> size_hint,
                                                           IncomingGroup* group = nullptr) = 0;
  virtual std::unique_ptr<IncomingGroup> begin_group() = 0;
  /// What finished Incomings wrote becomes durable (group sync).
  virtual Status sync_incoming() = 0;

  // --- digests and health
  /// Digests of a settled generation. Where `wanted` is not stored yet, MD5 and CRC-64 (and SHA-256
  /// if that is it) are computed now and stored with it (if still current); what else is not known
  /// stays empty.
  virtual Result<meta::Digests> digest(const meta::InodeRow& row, DigestKind wanted) = 0;
  /// Reads every byte of the file again and compares with the stored CRCs; says where it differs.
  struct Damage {
    Ino ino;
    BlobId blob;
    uint64_t offset = 0, length = 0;  // within the blob
    std::string what;
  };
  virtual Result<std::vector<Damage>> reread(const meta::InodeRow& row) = 0;
  /// MD5 of the bytes as they are stored now: every one is read and hashed, no stored digest or CRC
  /// is believed. One result a row, in the order given: kBusy for a row that is not settled or was
  /// written meanwhile, kCorrupt, or the error of the read. Files go side by side in SIMD lanes on
  /// the calling thread; for several cores give each thread its share.
  virtual std::vector<Result<digest::Digest>> md5_again(std::span<const meta::InodeRow> rows) = 0;
  /// The same for one row: its MD5 and CRC-64, and SHA-256 where asked for.
  virtual Result<meta::Digests> digests_again(const meta::InodeRow& row, bool with_sha256) = 0;
  /// For a row whose bytes do not fit its digest: the damage as reread() finds it or, where that
  /// finds none, all of the row's bytes. From then on they answer kCorrupt.
  virtual Result<std::vector<Damage>> condemn(const meta::InodeRow& row) = 0;
  /// Reads all blobs and packs; remembers damaged ranges, whose reads answer kCorrupt from then on.
  virtual Result<std::vector<Damage>> scrub() = 0;
  /// What compaction decides by: bytes stored in a pack and those that still have an owner.
  struct PackUse {
    BlobId pack;
    uint64_t bytes = 0, live_bytes = 0, live_records = 0;
  };
  virtual Result<std::vector<PackUse>> packs() = 0;

  struct Report {
    uint64_t blobs = 0, packs = 0, pool_ready = 0, queued = 0;
    uint64_t dropped_at_recovery = 0, recovered = 0;
    uint64_t bytes_written = 0;
  };
  virtual Report report() = 0;
};

}  // namespace tarn::content
