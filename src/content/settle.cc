#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/coding.h"
#include "base/log.h"
#include "content/content_impl.h"
#include "content/kill_points.h"
#include "content/settle_item.h"
#include "digest/crc.h"
#include "digest/md5_lanes.h"

namespace tarn::content {
namespace {

// A batch holds the bytes of its small files in memory: 512 of 128 KiB are 64 MiB.
constexpr size_t kBatchFiles = 512;
// Rows tracked by one transaction: whoever changes one of them makes it run again.
constexpr size_t kTransactionFiles = 128;
// From this many on, one syncfs is cheaper than an fsync each.
constexpr size_t kFilesForSyncfs = 8;

using Way = SettleItem::Way;

std::string crc_bytes(uint64_t crc) {
  std::string bytes;
  append_be64(bytes, crc);
  return bytes;
}

bool is_by_blob(Way way) {
  return way == Way::kBlob || way == Way::kPieces;
}

Status write_identity(const SettleItem& item, Generation generation) {
  const std::string header =
      encode_record_header(identity_of(item.row, generation), item.stat.size, 0);
  if (::fsetxattr(item.backing->fd(), kIdentityXattr, header.data(), header.size(), 0) == 0) {
    return {};
  }
  return last_errno(fmt::format("describe blob {}", item.backing->blob().value));
}

/// The attributes of the row as of now, by the rule of live attributes.
void fill_attributes(meta::ContentChange& change, const meta::InodeRow& row,
                     const SettleItem& item) {
  const FileStat& stat = item.stat;
  change.size = stat.size;
  change.blocks = stat.blocks;
  const bool is_touched = stat.ctime != row.grant.ctime && stat.mtime != row.grant.mtime;
  change.mtime = is_touched ? stat.mtime : row.mtime;
  change.ctime = std::max(row.ctime, stat.ctime);
  change.atime = std::max(row.atime, stat.atime);
}

}  // namespace

Status ContentImpl::settle(std::vector<TicketImplRef> tickets) {
  Status first_failure;
  for (size_t begin = 0; begin < tickets.size(); begin += kBatchFiles) {
    std::vector<SettleItem> items;
    for (size_t i = begin; i < std::min(tickets.size(), begin + kBatchFiles); ++i) {
      if (!tickets[i]->begin_commit()) continue;
      SettleItem item;
      item.ticket = tickets[i];
      items.push_back(std::move(item));
    }
    if (items.empty()) continue;
    Status status = settle_batch(items);
    if (first_failure.is_ok()) first_failure = std::move(status);
  }
  return first_failure;
}

Status ContentImpl::settle_batch(std::vector<SettleItem>& items) {
  read_rows(items);
  for (SettleItem& item : items) {
    if (!item.is_live()) continue;
    if (Status status = classify(item); !status.is_ok()) item.fail(status);
  }
  TARN_KILL_POINT("content.settle.before_pack_write");
  Status packed = with_ballast([&] { return pack_small(items); });
  if (packed.is(Code::kNoSpace)) {
    keep_as_blobs(items);
  } else if (!packed.is_ok()) {
    for (SettleItem& item : items) {
      if (item.is_live() && item.way == Way::kPacked) item.fail(packed);
    }
  }
  TARN_KILL_POINT("content.settle.after_pack_write");
  sync_items(items);
  TARN_KILL_POINT("content.settle.after_sync");
  for (size_t begin = 0; begin < items.size(); begin += kTransactionFiles) {
    commit(std::span(items).subspan(begin, std::min(kTransactionFiles, items.size() - begin)));
  }
  TARN_KILL_POINT("content.settle.after_commit");
  return finish(items);
}

void ContentImpl::read_rows(std::vector<SettleItem>& items) {
  auto txn = store_.begin();
  for (SettleItem& item : items) {
    auto row = meta::get_inode(*txn, item.ticket->closed().ino);
    if (!row.is_ok()) {
      item.fail(row.status());
      continue;
    }
    item.row = std::move(row).value();
  }
}

/// Finds out what the file has become and which way it goes.
Status ContentImpl::classify(SettleItem& item) {
  ClosedFile& closed = item.ticket->closed();
  if (closed.replaces ? item.row.generation != *closed.replaces
                      : item.row.state == meta::ContentState::kSettled) {
    return Status(Code::kStale,
                  fmt::format("inode {} has generation {}, state {} already", item.row.ino.value,
                              item.row.generation.value, static_cast<int>(item.row.state)));
  }
  TARN_ASSIGN(item.old, decode(item.row.content));
  item.backing = backing_of(closed.file);
  if (!item.backing) {
    // Never written: an open row over read-only content goes back as it is.
    item.way = Way::kUnchanged;
    item.settled = item.old;
    TARN_ASSIGN(item.stat, closed.file->stat());
    return {};
  }
  TARN_ASSIGN(item.stat, item.backing->stat());
  const auto* whole = std::get_if<WholeBlob>(&item.old);
  const auto* over = std::get_if<Overlay>(&item.old);
  const BlobId named = whole != nullptr ? whole->blob : over != nullptr ? over->blob : BlobId{};
  item.is_replacing = closed.replaces && named != item.backing->blob();
  if (!item.is_replacing && named != item.backing->blob()) {
    return Status(Code::kStale,
                  fmt::format("inode {} names blob {}, closed was blob {}", item.row.ino.value,
                              named.value, item.backing->blob().value));
  }
  const bool is_changed =
      closed.is_new || item.is_replacing || item.stat.ctime != item.row.grant.ctime ||
      item.stat.size != item.row.grant.size || (over != nullptr && over->is_truncated);
  if (!is_changed) {
    item.way = Way::kUnchanged;
    item.settled = item.old;
    if (over != nullptr) {
      TARN_ASSIGN(item.settled, decode(over->base));
    }
    return {};
  }
  if (auto overlay = std::dynamic_pointer_cast<OverlayFile>(closed.file)) {
    if (!overlay->is_whole()) item.overlay = std::move(overlay);
  }
  if (item.overlay) {
    item.way = Way::kPieces;
    item.settled = item.overlay->settled();
    item.stat.blocks = std::max(item.stat.blocks, (item.stat.size + 511) / 512);
  } else if (closed.keep_blob || item.stat.size > limits::kPackedBytesMax) {
    const bool is_all_hole = !closed.keep_blob && item.stat.blocks == 0 &&
                             ::lseek(item.backing->fd(), 0, SEEK_DATA) < 0 && errno == ENXIO;
    item.way = is_all_hole ? Way::kEmpty : Way::kBlob;
    if (item.way == Way::kBlob) item.settled = WholeBlob{item.backing->blob()};
  } else if (item.stat.size == 0) {
    item.way = Way::kEmpty;
  } else {
    item.way = Way::kPacked;
    item.bytes.resize(item.stat.size);
    TARN_TRY(read_exactly_at(item.backing->fd(), 0, std::as_writable_bytes(std::span(item.bytes))));
  }
  return {};
}

Status ContentImpl::pack_small(std::vector<SettleItem>& items) {
  std::vector<std::span<const std::byte>> streams;
  std::vector<SettleItem*> small;
  std::vector<PackWriter::Record> records;
  for (SettleItem& item : items) {
    if (!item.is_live()) continue;
    if (item.way == Way::kEmpty) {
      item.digests.md5 = as_text(digest::md5({}).bytes());
      item.digests.crc64nvme = crc_bytes(0);
      if (item.stat.size > 0) item.digests = {};  // a hole's zeros: later, on demand
      continue;
    }
    if (item.way != Way::kPacked) continue;
    const auto bytes = as_bytes(item.bytes);
    streams.push_back(bytes);
    small.push_back(&item);
    Identity identity = identity_of(item.row, item.new_generation());
    meta::ContentChange change;
    fill_attributes(change, item.row, item);
    identity.mtime = *change.mtime;
    identity.ctime = *change.ctime;
    records.push_back({std::move(identity), bytes, digest::crc64nvme(bytes)});
  }
  if (small.empty()) return {};
  TARN_ASSIGN(auto slices, packs_.append(records, false));
  const std::vector<digest::Digest> md5s = digest::md5_many(streams);
  for (size_t i = 0; i < small.size(); ++i) {
    small[i]->settled = slices[i];
    small[i]->digests.md5 = as_text(md5s[i].bytes());
    small[i]->digests.crc64nvme = crc_bytes(records[i].crc64);
  }
  return {};
}

/// No room in packs even without the ballast: a name for the file's own blob takes none.
void ContentImpl::keep_as_blobs(std::vector<SettleItem>& items) {
  for (SettleItem& item : items) {
    if (!item.is_live() || item.way != Way::kPacked) continue;
    item.way = Way::kBlob;
    item.bytes.clear();
    item.digests = {};
    item.settled = WholeBlob{item.backing->blob()};
  }
}

/// Syncs all together; where that fails, each alone, so that one bad file fails alone.
void ContentImpl::sync_items(std::vector<SettleItem>& items) {
  if (with_ballast([&] { return sync_batch(items); }).is_ok()) return;
  const Status packs = packs_.sync();
  for (SettleItem& item : items) {
    if (!item.is_live()) continue;
    Status status;
    if (item.way == Way::kPacked) status = packs;
    if (is_by_blob(item.way)) {
      status = item.backing->ensure_named(false);
      if (status.is_ok()) status = write_identity(item, item.new_generation());
      if (status.is_ok()) status = item.backing->sync_fully();
    }
    if (status.is_ok()) continue;
    item.may_try_again = status.is(Code::kNoSpace);
    item.fail(status);
  }
}

/// Names, descriptions and data of everything in the batch become durable.
Status ContentImpl::sync_batch(std::vector<SettleItem>& items) {
  std::vector<SettleItem*> blobs;
  bool has_packed = false;
  for (SettleItem& item : items) {
    if (!item.is_live()) continue;
    has_packed = has_packed || item.way == Way::kPacked;
    if (is_by_blob(item.way)) blobs.push_back(&item);
  }
  for (SettleItem* item : blobs) {
    TARN_TRY(item->backing->ensure_named(false));
    TARN_TRY(write_identity(*item, item->new_generation()));
  }
  if (blobs.size() > kFilesForSyncfs) {
    TARN_TRY(blobs_.sync_all());
    for (SettleItem* item : blobs) item->backing->note_name_synced();
  } else {
    for (SettleItem* item : blobs) TARN_TRY(item->backing->sync_fully());
  }
  return has_packed ? packs_.sync() : Status();
}

/// Writes one item's row in the batch's transaction; fills `written` or `write_status`.
Status ContentImpl::write_item(kv::Transaction& txn, SettleItem& item) {
  item.write_status = {};
  auto read = meta::get_inode(txn, item.row.ino);
  if (!read.is_ok()) {
    item.write_status = read.status();
    return {};
  }
  const meta::InodeRow& row = *read;
  const Generation generation = item.new_generation();
  const std::string settled = encode(item.settled);
  if (row.state == meta::ContentState::kSettled && row.generation == generation &&
      row.content == settled) {
    item.written = row;  // a commit whose outcome was not known had been applied
    return {};
  }
  const bool is_as_read = item.is_replacing ? row.generation == item.row.generation
                                            : row.state != meta::ContentState::kSettled &&
                                                  row.generation == item.row.generation &&
                                                  row.content == item.row.content;
  if (!is_as_read) {
    item.write_status =
        Status(Code::kStale, fmt::format("inode {} got other bytes meanwhile", row.ino.value));
    return {};
  }
  meta::ContentChange change;
  change.state = meta::ContentState::kSettled;
  change.grant = meta::GrantStamp{};
  if (item.way != Way::kUnchanged) {
    change.generation = generation;
    change.content = settled;
    fill_attributes(change, row, item);
    change.digests = item.digests;
    change.etag = item.digests.md5.empty()
                      ? opaque_etag(row.ino, generation, *change.size, *change.ctime)
                      : md5_hex(item.digests.md5);
    if (item.ticket->closed().clear_set_id) {
      const bool has_group_exec = (row.mode & S_IXGRP) != 0;
      const uint32_t cleared = S_ISUID | (has_group_exec ? S_ISGID : 0u);
      change.mode = row.mode & ~cleared & 07777u;
    }
  } else if (settled != row.content) {
    change.content = settled;
  }
  meta::Context context;
  context.now = Clock::system().now();
  TARN_ASSIGN(item.written, meta::set_content(txn, context, row.ino, change));
  if (item.way == Way::kUnchanged) return {};
  if (is_by_blob(item.way)) {
    BlobInfo info;
    info.size = item.stat.size;
    info.ino = row.ino;
    info.generation = generation;
    txn.put_blind(info_key(item.backing->blob()), encode(info));
  }
  // Old owners end, new ones begin. Left out where the rows would say the same again.
  const auto* old_whole = std::get_if<WholeBlob>(&item.old);
  if (item.is_replacing) {
    // As it is now: the background may have moved the old bytes since the batch was read.
    TARN_ASSIGN(Descriptor old, decode(row.content));
    TARN_TRY(reverse_.release(txn, row.ino, old));
  } else if (old_whole != nullptr) {
    const bool is_same = item.settled == Descriptor(*old_whole);
    // A fresh blob has no owner row; should it have a name, `finish` sees to it.
    if (!is_same && !item.backing->is_fresh()) TARN_TRY(reverse_.release(txn, row.ino, item.old));
  } else if (const auto* over = std::get_if<Overlay>(&item.old)) {
    TARN_ASSIGN(Descriptor base, decode(over->base));
    TARN_TRY(reverse_.release(txn, row.ino, base));
  }
  if (item.way == Way::kBlob) {
    txn.put_blind(owner_key(item.backing->blob(), 0, row.ino),
                  encode(Owner{generation, item.stat.size}));
  } else if (item.way == Way::kPieces) {
    TARN_TRY(reverse_.attach(txn, row.ino, generation, item.settled));
  }
  return {};
}

Status ContentImpl::commit_once(std::span<SettleItem> items) {
  auto committed = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    std::map<BlobId, std::vector<PackedOwner>> packed;
    for (SettleItem& item : items) {
      if (!item.is_live()) continue;
      TARN_TRY(write_item(txn, item));
      if (!item.write_status.is_ok() || item.way != Way::kPacked) continue;
      const auto& slice = std::get<Slice>(item.settled);
      packed[slice.blob].push_back(
          {slice.offset, slice.length, item.row.ino, item.new_generation()});
    }
    for (const auto& [pack, records] : packed) TARN_TRY(reverse_.add_records(txn, pack, records));
    return {};
  });
  return committed.status();
}

void ContentImpl::commit(std::span<SettleItem> items) {
  Status status = with_ballast([&] { return commit_once(items); });
  if (status.is(Code::kUnknownOutcome)) status = commit_once(items);
  if (!status.is_ok() && items.size() > 1) {
    // One row that is always being changed, or cannot be read, must not hold up the others.
    for (size_t i = 0; i < items.size(); ++i) commit(items.subspan(i, 1));
    return;
  }
  for (SettleItem& item : items) {
    if (!item.is_live()) continue;
    if (!status.is_ok()) {
      item.may_try_again = status.is(Code::kAgain) || status.is(Code::kNoSpace);
      item.fail(status);
    } else if (!item.write_status.is_ok()) {
      item.fail(item.write_status);
    } else {
      item.result = Result<meta::InodeRow>(item.written);
    }
  }
}

Status ContentImpl::finish(std::vector<SettleItem>& items) {
  Status first_failure;
  std::vector<TicketImplRef> again;
  for (SettleItem& item : items) {
    const Status status = item.result->status();
    if (item.may_try_again) {
      item.ticket->queue_again();
      again.push_back(item.ticket);
      if (first_failure.is_ok()) first_failure = status;
      continue;
    }
    if (status.is_ok()) {
      if (is_by_blob(item.way)) {
        item.backing->set_fresh(false);
        blob_bytes_ += item.stat.size;
        add_chore(item.way == Way::kPieces ? Chore::kMerge : Chore::kDigest, item.written);
      } else if (item.backing && item.settled != Descriptor(WholeBlob{item.backing->blob()})) {
        const bool was_fresh = item.backing->is_fresh();
        if (item.backing->drop() && was_fresh) reverse_.suspect(item.backing->blob());
      }
      reverse_.note_committed();
    } else if (!status.is(Code::kStale) && !status.is(Code::kNotFound)) {
      log_error("content.settle", "inode={} failed: {}", item.row.ino.value, status.to_string());
      if (first_failure.is_ok()) first_failure = status;
    }
    if (auto& done = item.ticket->closed().done) done(*item.result);
    item.ticket->finish(status);
    item.overlay.reset();
    item.backing.reset();
  }
  queue_.push_again(std::move(again));
  return first_failure;
}

}  // namespace tarn::content
