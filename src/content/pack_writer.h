// PackWriter: appends records to the current pack and makes packs durable, many appends a sync.
//
// `append` writes (not synced) and says where the data lies; `sync` makes every append that
// returned before it durable. A pack is closed for appending at limits::kPackBytesMax and none is
// continued after a restart. Pins keep a pack alive while someone holds a record that no row names
// yet. Thread-safe.
#pragma once

#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "content/blob_store.h"
#include "content/content.h"
#include "content/descriptor.h"
#include "content/pack.h"
#include "meta/meta.h"

namespace tarn::content {

class PackWriter {
  struct Pack;
  using PackRef = std::shared_ptr<Pack>;

 public:
  PackWriter(BlobStore& store, meta::IdAllocator& ids) : store_(store), ids_(ids) {}

  struct Record {
    Identity identity;
    std::span<const std::byte> data;  // at most limits::kPackBytesMax / 4
    uint64_t crc64 = 0;
  };
  /// Packs that only the records of one large job go to; see Content::begin_group. Not thread-safe,
  /// and gone before its writer.
  class Group : public IncomingGroup {
   public:
    explicit Group(PackWriter& writer) : writer_(writer) {}
    ~Group() override { writer_.leave(*this); }

   private:
    friend class PackWriter;
    PackWriter& writer_;
    PackRef own_;  // pinned once while it is here; guarded by the writer's lock
    uint64_t shared_bytes_ = 0;
  };
  /// One Slice a record, in order; each pinned once when `pinned`.
  Result<std::vector<Slice>> append(std::span<const Record> records, bool pinned,
                                    Group* group = nullptr);
  Status sync();
  void unpin(BlobId pack);
  /// Packs of which a record was given up, or the last pin went, since the last call: perhaps
  /// nobody owns a byte of them.
  std::vector<BlobId> take_doubtful();
  void doubt(BlobId pack);
  /// Nobody adds to that pack or holds a record of it that no row names, from now on: true. False
  /// when someone pins it, or when it is the current one and too short to be worth a new one. Not
  /// to be called while unpinned slices of `append` wait for their rows.
  bool retire(BlobId pack);
  /// The pack is about to be unlinked: no descriptor of it stays open here.
  void forget(BlobId pack);
  uint64_t bytes_written();

 private:
  struct Pack {
    BlobId id;
    UniqueFd fd;
    uint64_t end = kPackHeaderBytes;  // where the next record goes
    std::atomic<bool> is_dirty{true}, is_new{true};
  };
  Result<PackRef> make_pack();
  void leave(Group& group);
  void unpin_locked(BlobId pack, uint64_t pins);
  struct Reserved {
    PackRef pack;
    uint64_t offset = 0;
  };
  Result<Reserved> reserve(uint64_t bytes, uint64_t pins, Group* group);
  /// Records that could not be written: their place, blocks and pins.
  void give_back(const Reserved& reserved, uint64_t bytes, uint64_t pins);

  BlobStore& store_;
  meta::IdAllocator& ids_;
  Mutex mutex_{"content.pack_writer", 350};
  PackRef current_;
  std::vector<PackRef> unsynced_;
  std::unordered_map<BlobId, uint64_t> pins_;
  std::unordered_set<BlobId> doubtful_;
  uint64_t bytes_written_ = 0;
  // Held over fdatasync: who comes meanwhile waits and often finds nothing left to do.
  Mutex sync_mutex_{"content.pack_sync", 345};
};

}  // namespace tarn::content
