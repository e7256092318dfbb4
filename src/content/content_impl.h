// ContentImpl: the parts of this room joined; one source file for each group of Content's
// functions.
//
//   content.cc    opening, closing, owners      write_plan.cc  prepare_write
//   settle.cc     a batch of closed files       barrier.cc     the barrier, its thread
//   recovery.cc   rule (f)                      incoming.cc    bytes that come in from elsewhere
//   digests.cc    digests on demand, later      scrub.cc       reading everything again
//   read_again.cc digests without belief in what is stored
//   maintenance.cc  background: digests, merging of pieces
//
// Only one thread at a time runs the barrier (a flag, not a mutex: it makes transactions, and no
// lock of this room may be held over one). Thread-safe as Content says.
#pragma once

#include <atomic>
#include <deque>
#include <set>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "content/content.h"
#include "content/files.h"
#include "content/pack_writer.h"
#include "content/pool.h"
#include "content/reverse_rows.h"
#include "content/settle_queue.h"

namespace tarn::content {

struct SettleItem;

class ContentImpl final : public Content {
 public:
  ContentImpl(Root& root, kv::Store& store, ContentOptions options);
  ~ContentImpl() override;
  Status start(bool is_take_over);

  Status close() override;
  Result<LocalFileRef> take_new() override;
  FileRef open_new(LocalFileRef file) override;
  Result<FileRef> open_read(const meta::InodeRow& row) override;
  Result<WritePlan> prepare_write(const meta::InodeRow& row, bool truncate,
                                  const std::function<bool()>& is_cancelled) override;
  Result<LocalFileRef> adopt(BlobId blob, std::string_view kernel_handle, int32_t attachment,
                             bool has_writer) override;
  Result<FileRef> reopen_for_write(const meta::InodeRow& row, LocalFileRef local) override;
  Status finish_take_over() override;
  Status ensure_named(const LocalFileRef& file, bool durable) override;
  TicketRef submit_closed(ClosedFile closed) override;
  Status barrier() override;
  Status attach(kv::Transaction& txn, Ino ino, Generation generation,
                const Descriptor& descriptor) override;
  Status release(kv::Transaction& txn, Ino ino, Generation generation,
                 const Descriptor& descriptor) override;
  void released(Stamp stamp) override;
  Result<int> owners(kv::Transaction& txn, BlobId blob) override;
  Result<std::unique_ptr<Incoming>> begin_incoming(std::optional<uint64_t> size_hint,
                                                   IncomingGroup* group) override;
  std::unique_ptr<IncomingGroup> begin_group() override;
  Status sync_incoming() override;
  Result<meta::Digests> digest(const meta::InodeRow& row, DigestKind wanted) override;
  Result<std::vector<Damage>> reread(const meta::InodeRow& row) override;
  std::vector<Result<digest::Digest>> md5_again(std::span<const meta::InodeRow> rows) override;
  Result<meta::Digests> digests_again(const meta::InodeRow& row, bool with_sha256) override;
  Result<std::vector<Damage>> condemn(const meta::InodeRow& row) override;
  Result<std::vector<Damage>> scrub() override;
  Result<std::vector<PackUse>> packs() override;
  Report report() override;

 private:
  friend class IncomingImpl;

  // --- content.cc
  Result<FileRef> open_overlay_for_read(const meta::InodeRow& row, const Overlay& overlay);

  // --- write_plan.cc
  Result<WritePlan> plan_truncated(const meta::InodeRow& row);
  Result<WritePlan> plan_copy(const meta::InodeRow& row, const Descriptor& old,
                              const std::function<bool()>& is_cancelled, bool must_clone);

  // --- settle.cc
  /// Settles what it can; what may succeed later is queued again. Returns the first failure.
  Status settle(std::vector<TicketImplRef> tickets);
  Status settle_batch(std::vector<SettleItem>& items);
  void read_rows(std::vector<SettleItem>& items);
  Status classify(SettleItem& item);
  Status pack_small(std::vector<SettleItem>& items);
  void keep_as_blobs(std::vector<SettleItem>& items);
  Status sync_batch(std::vector<SettleItem>& items);
  void sync_items(std::vector<SettleItem>& items);
  void commit(std::span<SettleItem> items);
  Status commit_once(std::span<SettleItem> items);
  Status write_item(kv::Transaction& txn, SettleItem& item);
  Status finish(std::vector<SettleItem>& items);

  // --- barrier.cc
  Status run_barrier(bool is_explicit);
  Status join_barrier(bool is_explicit);
  Status name_open_files(const std::vector<LocalBlobRef>& open, bool is_explicit);
  Status pack_inline_rows();
  Status suspect_abandoned();
  void background();
  void kick();
  /// kNoSpace: releases the ballast and tries once more.
  Status with_ballast(const std::function<Status()>& body);

  // --- recovery.cc
  Status recover();
  /// Waits, bounded, until no process of a dead mount has these files open for writing.
  void await_foreign_writers(const std::vector<Ino>& unsettled);
  Status recover_row(Ino ino);
  Status drop_row(const meta::InodeRow& row, std::string_view why);
  Status settle_as(const meta::InodeRow& row, const Descriptor& descriptor, std::string_view why);
  Result<std::vector<std::pair<Ino, std::string>>> find_entries(Ino ino);
  Status sweep_orphans();
  /// Blobs that rows not settled name as their own.
  Result<std::unordered_set<BlobId>> blobs_of_unsettled();
  Status load_damage();

  // --- digests.cc
  struct ReadDigests {
    meta::Digests digests;
    std::vector<uint64_t> unit_crcs;  // of each limits::kPieceBytes
    uint64_t bytes = 0;
  };
  Result<ReadDigests> read_digests(File& file, bool with_sha256);
  Status store_digests(const meta::InodeRow& row, const ReadDigests& read);
  static void put_unit_crcs(kv::Transaction& txn, BlobId blob, const BlobInfo& info,
                            const std::vector<uint64_t>& crcs);

  // --- read_again.cc
  Status check_unchanged(const meta::InodeRow& row);

  // --- scrub.cc
  Status scrub_blob(BlobId blob, const BlobInfo& info, std::vector<Damage>& found);
  Status forget_damage(BlobId blob);
  Status scrub_pack(BlobId pack, std::vector<Damage>& found);
  Status check_blob_range(BlobId blob, const BlobInfo& info, uint64_t offset, uint64_t length,
                          std::vector<Damage>& found);
  Status check_record(BlobId pack, uint64_t offset, uint64_t length, std::vector<Damage>& found);
  Status note_damage(BlobId blob, bool is_pack, uint64_t offset, uint64_t length,
                     std::string_view what, std::vector<Damage>& found);
  Result<bool> is_at_rest(BlobId blob, const BlobInfo& info);
  Result<std::optional<BlobInfo>> info_of(BlobId blob);

  // --- maintenance.cc
  enum class Chore : uint8_t { kDigest, kMerge };
  void add_chore(Chore chore, const meta::InodeRow& row);
  void maintain();
  Status merge_pieces(const meta::InodeRow& row);

  Root& root_;
  kv::Store& store_;
  const ContentOptions options_;
  BlobStore blobs_;
  meta::IdAllocator ids_;
  const std::shared_ptr<LocalFiles> files_;
  const SourcesRef sources_;
  PackWriter packs_;
  ReverseRows reverse_;
  std::unique_ptr<Pool> pool_;
  SettleQueue queue_;
  std::atomic<uint64_t> dropped_{0}, recovered_{0}, blob_bytes_{0};
  std::atomic<bool> is_closed_{false};

  // Barrier: who wants one takes a number; one thread runs it for all numbers taken before it
  // began.
  Mutex barrier_mutex_{"content.barrier", 250};
  CondVar barrier_done_, barrier_wake_;
  uint64_t barrier_wanted_ = 0, barrier_finished_ = 0;
  bool is_barrier_running_ = false, is_explicit_wanted_ = false, is_kicked_ = false,
       is_stopping_ = false;
  struct BarrierFailure {
    uint64_t first = 0, last = 0;  // of the calls it was for
    Status status;
  };
  std::deque<BarrierFailure> barrier_failures_;  // the latest
  std::thread barrier_thread_;
  // Only the thread that runs the barrier uses these.
  Stamp synced_through_;
  TimeNs ballast_checked_ = 0;

  Mutex inline_mutex_{"content.inline", 330};
  std::vector<Ino> inline_rows_;

  Mutex incoming_mutex_{"content.incoming", 335};
  std::vector<LocalBlobRef> incoming_unsynced_;
  // CRCs of blobs that came in and are not attached yet: attach writes their rows.
  std::unordered_map<BlobId, std::pair<uint64_t, std::vector<uint64_t>>> incoming_crcs_;
  // Held over the syncs of sync_incoming: who comes meanwhile waits for the next round.
  Mutex incoming_sync_mutex_{"content.incoming_sync", 334};

  Mutex chore_mutex_{"content.chores", 340};
  CondVar chore_wake_;
  std::deque<std::pair<Chore, meta::InodeRow>> chores_;
  std::thread chore_thread_;
};

/// What a blob or pack record says of the file in `row`.
Identity identity_of(const meta::InodeRow& row, Generation generation);
/// An ETag of a generation whose MD5 is not known: 32 hexadecimal digits and "-1".
std::string opaque_etag(Ino ino, Generation generation, uint64_t size, TimeNs ctime);
std::string md5_hex(std::string_view md5);

}  // namespace tarn::content
