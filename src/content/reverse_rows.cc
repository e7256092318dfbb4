#include "content/reverse_rows.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/log.h"
#include "content/kill_points.h"

namespace tarn::content {
namespace {

/// One row a (blob, offset): pieces may name a place twice, then the longest counts.
std::vector<Piece> distinct(const Pieces& pieces) {
  std::map<std::pair<BlobId, uint64_t>, Piece> found;
  for (const Piece& piece : pieces.pieces) {
    if (!piece.blob) continue;
    Piece& known = found[{piece.blob, piece.offset}];
    if (piece.length > known.length) known = piece;
  }
  std::vector<Piece> list;
  for (auto& [place, piece] : found) list.push_back(piece);
  return list;
}

void put_owner(kv::Transaction& txn, Ino ino, Generation generation, const Piece& piece) {
  if (piece.is_pack) {
    txn.put_blind(delta_key(piece.blob, piece.offset, ino),
                  encode(Delta{true, generation, piece.length}));
  } else {
    txn.put_blind(owner_key(piece.blob, piece.offset, ino),
                  encode(Owner{generation, piece.length}));
  }
}

void erase_owner(kv::Transaction& txn, Ino ino, const Piece& piece) {
  if (piece.is_pack) {
    txn.put_blind(delta_key(piece.blob, piece.offset, ino), encode(Delta{false, {}, piece.length}));
  } else {
    txn.erase_blind(owner_key(piece.blob, piece.offset, ino));
    txn.put_blind(released_key(piece.blob), "b");
  }
}

}  // namespace

Status ReverseRows::attach(kv::Transaction& txn, Ino ino, Generation generation,
                           const Descriptor& descriptor) {
  has_deltas_.store(true, std::memory_order_release);
  if (auto* whole = std::get_if<WholeBlob>(&descriptor)) {
    LocalBlobRef live = sources_->files().find(whole->blob);
    // The settling transaction writes it; until then the row's descriptor says whose it is.
    if (live && live->is_fresh()) return {};
    put_owner(txn, ino, generation, Piece{whole->blob, false, 0, 0});
  } else if (auto* slice = std::get_if<Slice>(&descriptor)) {
    put_owner(txn, ino, generation,
              Piece{slice->blob, slice->is_pack, slice->offset, slice->length});
  } else if (auto* pieces = std::get_if<Pieces>(&descriptor)) {
    for (const Piece& piece : distinct(*pieces)) put_owner(txn, ino, generation, piece);
  } else if (auto* remote = std::get_if<Remote>(&descriptor)) {
    if (remote->partial) put_owner(txn, ino, generation, Piece{remote->partial, false, 0, 0});
  } else if (auto* overlay = std::get_if<Overlay>(&descriptor)) {
    TARN_ASSIGN(Descriptor base, decode(overlay->base));
    return attach(txn, ino, generation, base);
  }
  return {};
}

Status ReverseRows::release(kv::Transaction& txn, Ino ino, const Descriptor& descriptor) {
  has_deltas_.store(true, std::memory_order_release);
  if (auto* whole = std::get_if<WholeBlob>(&descriptor)) {
    erase_owner(txn, ino, Piece{whole->blob, false, 0, 0});
  } else if (auto* slice = std::get_if<Slice>(&descriptor)) {
    erase_owner(txn, ino, Piece{slice->blob, slice->is_pack, slice->offset, slice->length});
  } else if (auto* pieces = std::get_if<Pieces>(&descriptor)) {
    for (const Piece& piece : distinct(*pieces)) erase_owner(txn, ino, piece);
  } else if (auto* remote = std::get_if<Remote>(&descriptor)) {
    if (remote->partial) erase_owner(txn, ino, Piece{remote->partial, false, 0, 0});
  } else if (auto* overlay = std::get_if<Overlay>(&descriptor)) {
    txn.put_blind(released_key(overlay->blob), "b");
    TARN_ASSIGN(Descriptor base, decode(overlay->base));
    return release(txn, ino, base);
  }
  return {};
}

Result<int> ReverseRows::count(kv::Transaction& txn, BlobId blob, int most) {
  if (LocalBlobRef live = sources_->files().find(blob); live && live->is_fresh()) return 1;
  int found = 0;
  TARN_TRY(txn.scan(kv::Range::prefix(owner_prefix(blob)),
                    [&](std::string_view, std::string_view) { return ++found < most; }));
  return found;
}

Result<std::vector<PackedOwner>> ReverseRows::records_of(kv::Transaction& txn, BlobId pack) {
  std::map<std::pair<uint64_t, Ino>, PackedOwner> records;
  Status damage;
  TARN_TRY(txn.scan(kv::Range::prefix(window_prefix(pack)),
                    [&](std::string_view, std::string_view value) {
                      auto window = decode_window(value);
                      if (!window.is_ok()) {
                        damage = window.status();
                        return false;
                      }
                      for (const PackedOwner& record : *window) {
                        records[{record.offset, record.ino}] = record;
                      }
                      return true;
                    }));
  TARN_TRY(damage);
  TARN_TRY(txn.scan(kv::Range::prefix(delta_prefix(pack)),
                    [&](std::string_view key, std::string_view value) {
                      auto delta = decode_delta(value);
                      if (!delta.is_ok()) {
                        damage = delta.status();
                        return false;
                      }
                      const uint64_t offset = number_of_key(key, 1);
                      const Ino ino(number_of_key(key, 2));
                      if (delta->is_added) {
                        records[{offset, ino}] = {offset, delta->length, ino, delta->generation};
                      } else {
                        records.erase({offset, ino});
                      }
                      return true;
                    }));
  TARN_TRY(damage);
  std::vector<PackedOwner> list;
  for (auto& [place, record] : records) list.push_back(record);
  return list;
}

Result<std::vector<ReverseRows::OwnedRange>> ReverseRows::owners_of(BlobId blob, bool is_pack,
                                                                    uint64_t offset,
                                                                    uint64_t length) {
  std::vector<OwnedRange> found;
  auto add_if_touched = [&](const OwnedRange& owner) {
    const bool begins_before_end = owner.offset < offset + length;
    const bool ends_after_begin = owner.length == 0 || owner.offset + owner.length > offset;
    if (begins_before_end && ends_after_begin) found.push_back(owner);
  };
  auto txn = store_.begin();
  if (is_pack) {
    TARN_ASSIGN(auto records, records_of(*txn, blob));
    for (const PackedOwner& r : records) {
      // In a pack, 0 is the length of an empty record, never "to the end".
      if (r.length > 0) add_if_touched({r.ino, r.generation, r.offset, r.length});
    }
    return found;
  }
  Status damage;
  TARN_TRY(txn->scan(
      kv::Range::prefix(owner_prefix(blob)), [&](std::string_view key, std::string_view value) {
        auto owner = decode_owner(value);
        if (!owner.is_ok()) {
          damage = owner.status();
          return false;
        }
        add_if_touched(
            {Ino(number_of_key(key, 2)), owner->generation, number_of_key(key, 1), owner->length});
        return true;
      }));
  TARN_TRY(damage);
  return found;
}

Status ReverseRows::add_records(kv::Transaction& txn, BlobId pack,
                                const std::vector<PackedOwner>& records) {
  std::map<uint64_t, std::vector<PackedOwner>> windows;
  uint64_t end = 0, bytes = 0;
  for (const PackedOwner& record : records) {
    windows[record.offset / kWindowBytes].push_back(record);
    end = std::max(end, record.offset + record.length);
    bytes += record.length;
  }
  for (auto& [window, added] : windows) {
    const std::string key = window_key(pack, window);
    TARN_ASSIGN(auto row, txn.get(key));
    std::vector<PackedOwner> all;
    if (row) {
      TARN_ASSIGN(all, decode_window(*row));
    }
    all.insert(all.end(), added.begin(), added.end());
    txn.put_blind(key, encode(all));
  }
  TARN_ASSIGN(auto row, txn.get(info_key(pack)));
  BlobInfo info;
  if (row) {
    TARN_ASSIGN(info, decode_info(*row));
  }
  info.is_pack = true;
  info.size = std::max(info.size, end);
  info.live_records += records.size();
  info.live_bytes += bytes;
  txn.put_blind(info_key(pack), encode(info));
  return {};
}

void ReverseRows::suspect(BlobId blob) {
  MutexLock lock(mutex_);
  suspects_.push_back(blob);
  note_committed();
}

Result<std::vector<std::pair<BlobId, bool>>> ReverseRows::list_released() {
  std::vector<std::pair<BlobId, bool>> listed;
  if (!has_work_.exchange(false, std::memory_order_acq_rel)) return listed;
  {
    MutexLock lock(mutex_);
    for (BlobId blob : suspects_) listed.emplace_back(blob, false);
    suspects_.clear();
  }
  auto status = store_.begin()->scan(
      kv::Range::prefix(released_prefix()), [&](std::string_view key, std::string_view value) {
        listed.emplace_back(BlobId(number_of_key(key, 0)), value == "p");
        return true;
      });
  if (!status.is_ok()) {
    note_committed();
    return status;
  }
  return listed;
}

Status ReverseRows::collect(const std::vector<std::pair<BlobId, bool>>& listed) {
  if (listed.empty()) return {};
  BlobStore& store = sources_->files().store();
  std::vector<BlobId> done, unlinked;
  auto snapshot = store_.begin();
  for (const auto& [blob, is_pack] : listed) {
    if (is_pack) {
      sources_->forget_pack(blob);
      packs_.forget(blob);
      TARN_TRY(store.unlink_pack(blob));
      done.push_back(blob);
      continue;
    }
    if (sources_->pins().is_pinned(blob)) {
      note_committed();  // again at a later barrier
      continue;
    }
    int owners = 0;
    TARN_TRY(snapshot->scan(kv::Range::prefix(owner_prefix(blob)),
                            [&](std::string_view, std::string_view) { return ++owners < 1; }));
    done.push_back(blob);
    if (owners > 0) continue;
    sources_->files().forget(blob);
    // Someone may still hold it open, but it must not get a name again.
    if (LocalBlobRef live = sources_->files().find(blob)) live->drop();
    TARN_TRY(store.unlink(blob));
    sources_->damage().clear(blob);
    unlinked.push_back(blob);
  }
  TARN_KILL_POINT("content.collect.after_unlink");
  auto erased = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    for (BlobId blob : done) txn.erase_blind(released_key(blob));
    for (BlobId blob : unlinked) {
      txn.erase_blind(info_key(blob));
      for (const std::string& prefix : {crc_prefix(blob), damage_prefix(blob)}) {
        TARN_TRY(txn.scan(kv::Range::prefix(prefix), [&](std::string_view key, std::string_view) {
          txn.erase_blind(key);
          return true;
        }));
      }
    }
    return {};
  });
  if (!erased.is_ok()) note_committed();
  return erased.status();
}

Result<size_t> ReverseRows::fold(size_t most) {
  // Which packs and windows have deltas; the rows themselves are read again in the transaction.
  std::map<BlobId, std::map<uint64_t, std::vector<std::string>>> work;
  size_t found = 0;
  has_deltas_.store(false, std::memory_order_release);
  TARN_TRY(store_.begin()->scan(
      kv::Range::prefix(delta_prefix()), [&](std::string_view key, std::string_view) {
        const BlobId pack(number_of_key(key, 0));
        work[pack][number_of_key(key, 1) / kWindowBytes].emplace_back(key);
        return ++found < most;
      }));
  if (found == most) has_deltas_.store(true, std::memory_order_release);
  for (const auto& [pack, windows] : work) {
    bool is_empty = false;
    auto folded = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
      TARN_ASSIGN(auto info_row, txn.get(info_key(pack)));
      BlobInfo info;
      if (info_row) {
        TARN_ASSIGN(info, decode_info(*info_row));
      }
      info.is_pack = true;
      for (const auto& [window, keys] : windows) {
        TARN_ASSIGN(auto row, txn.get(window_key(pack, window)));
        std::vector<PackedOwner> records;
        if (row) {
          TARN_ASSIGN(records, decode_window(*row));
        }
        for (const std::string& key : keys) {
          // Tracked: the owner may change once more before this commits.
          TARN_ASSIGN(auto value, txn.get_tracked(key));
          if (!value) continue;
          TARN_ASSIGN(Delta delta, decode_delta(*value));
          const uint64_t offset = number_of_key(key, 1);
          const Ino ino(number_of_key(key, 2));
          auto same = std::find_if(records.begin(), records.end(), [&](const PackedOwner& r) {
            return r.offset == offset && r.ino == ino;
          });
          if (same != records.end()) {
            info.live_records -= 1;
            info.live_bytes -= same->length;
            records.erase(same);
          }
          if (delta.is_added) {
            info.live_records += 1;
            info.live_bytes += delta.length;
            info.size = std::max(info.size, offset + delta.length);
            records.push_back({offset, delta.length, ino, delta.generation});
          }
          txn.erase(key);
        }
        if (records.empty()) {
          txn.erase_blind(window_key(pack, window));
        } else {
          txn.put_blind(window_key(pack, window), encode(records));
        }
      }
      txn.put_blind(info_key(pack), encode(info));
      is_empty = info.live_records == 0;
      TARN_KILL_POINT("content.fold.before_commit");
      return {};
    });
    TARN_TRY(folded);
    if (is_empty) TARN_TRY(drop_dead_pack(pack));
  }
  return found;
}

Status ReverseRows::drop_doubtful_packs() {
  Status first_failure;
  for (BlobId pack : packs_.take_doubtful()) {
    Status dropped = [&]() -> Status {
      TARN_ASSIGN(auto row, store_.begin()->get(info_key(pack)));
      if (row) {
        TARN_ASSIGN(BlobInfo info, decode_info(*row));
        if (info.live_records > 0) return {};
      }
      return drop_dead_pack(pack);
    }();
    if (dropped.is_ok()) continue;
    packs_.doubt(pack);  // again at the next barrier
    if (first_failure.is_ok()) first_failure = std::move(dropped);
  }
  return first_failure;
}

Status ReverseRows::drop_dead_pack(BlobId pack) {
  if (!packs_.retire(pack)) return {};
  // From here on nobody can add a record: the pack is closed and nobody holds one that no row
  // names.
  bool is_dead = false;
  auto dropped = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    TARN_ASSIGN(auto records, records_of(txn, pack));
    is_dead = records.empty();
    if (!is_dead) return {};
    txn.erase_blind(info_key(pack));
    txn.put_blind(released_key(pack), "p");
    return {};
  });
  TARN_TRY(dropped);
  if (is_dead) {
    log_info("content.pack.dropped", "pack={}", pack.value);
    note_committed();
  }
  return {};
}

}  // namespace tarn::content
