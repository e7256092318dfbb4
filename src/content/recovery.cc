#include <fcntl.h>
#include <time.h>

#include <deque>
#include <unordered_set>

#include <fmt/format.h>

#include "base/coding.h"
#include "base/log.h"
#include "content/content_impl.h"
#include "content/kill_points.h"

namespace tarn::content {

Status ContentImpl::load_damage() {
  Status damage;
  TARN_TRY(store_.begin()->scan(
      kv::Range::prefix(damage_prefix()), [&](std::string_view key, std::string_view value) {
        Reader in(value);
        sources_->damage().add(BlobId(number_of_key(key, 0)), {number_of_key(key, 1), in.varint()});
        return true;
      }));
  return damage;
}

Status ContentImpl::finish_take_over() {
  TARN_TRY(recover());
  if (options_.holder != nullptr) options_.holder->drop_rest();
  return {};
}

Status ContentImpl::recover() {
  std::vector<Ino> unsettled;
  TARN_TRY(meta::read_unsettled(*store_.begin(), [&](Ino ino) {
    unsettled.push_back(ino);
    return true;
  }));
  const bool was_clean = root_.last_end() == LastEnd::kClean || root_.last_end() == LastEnd::kFresh;
  if (was_clean && unsettled.empty()) return {};
  // What this process has seen of the store must not be undone by a power cut that comes now.
  TARN_TRY(store_.sync(store_.head()));
  if (!was_clean && !pool_) await_foreign_writers(unsettled);
  for (Ino ino : unsettled) {
    auto status = recover_row(ino);
    if (!status.is_ok()) {
      log_error("content.recover", "inode={} failed: {}", ino.value, status.to_string());
      if (!status.is(Code::kCorrupt) && !status.is(Code::kDataLoss)) return status;
    }
    TARN_KILL_POINT("content.recover.middle");
  }
  if (Status settled = join_barrier(true); !settled.is_ok()) {
    if (!pool_) return settled;
    // The barriers to come try again; a process that takes over must not end for one file.
    log_error("content.recover", "{}", settled.to_string());
  }
  // With a pool there is a running system: what looks like an orphan may be a CREATE under way.
  if (!was_clean && !pool_) TARN_TRY(sweep_orphans());
  if (dropped_ + recovered_ > 0) {
    log_warn("content.recover", "recovered={} dropped={}", recovered_.load(), dropped_.load());
  }
  return {};
}

void ContentImpl::await_foreign_writers(const std::vector<Ino>& unsettled) {
  // A process that held a file open on the dead mount may still write to it, past every call of
  // ours. Most end at their next call; a size taken before that would be too small.
  constexpr TimeNs kPatience = 5 * kSecondNs, kPause = 20 * kMillisecondNs;
  const TimeNs deadline = Clock::system().monotonic() + kPatience;
  for (Ino ino : unsettled) {
    auto row = meta::get_inode(*store_.begin(), ino);
    if (!row.is_ok()) continue;
    auto descriptor = decode(row->content);
    if (!descriptor.is_ok()) continue;
    BlobId blob;
    if (const auto* whole = std::get_if<WholeBlob>(&*descriptor)) blob = whole->blob;
    if (const auto* over = std::get_if<Overlay>(&*descriptor)) blob = over->blob;
    if (!blob || files_->find(blob)) continue;
    auto fd = blobs_.open(blob, O_RDONLY);
    if (!fd.is_ok()) continue;
    // A read lease is refused while anybody has the file open for writing.
    bool is_written = false;
    while ((is_written = ::fcntl(fd->get(), F_SETLEASE, F_RDLCK) != 0 && errno == EAGAIN) &&
           Clock::system().monotonic() < deadline) {
      timespec pause = to_timespec(kPause);
      ::nanosleep(&pause, nullptr);
    }
    if (!is_written) {
      ::fcntl(fd->get(), F_SETLEASE, F_UNLCK);
    } else {
      log_warn("content.recover",
               "inode={} name='{}' is still open for writing on a mount that is gone", ino.value,
               row->name);
    }
  }
}

Status ContentImpl::recover_row(Ino ino) {
  auto read = meta::get_inode(*store_.begin(), ino);
  if (read.is(Code::kStale)) return {};
  TARN_ASSIGN(meta::InodeRow row, std::move(read));
  // Unlinked inodes end as a whole, with their bytes, in room fs.
  if (row.nlink == 0 || row.state == meta::ContentState::kSettled) return {};
  TARN_ASSIGN(Descriptor descriptor, decode(row.content));
  const auto* whole = std::get_if<WholeBlob>(&descriptor);
  const auto* over = std::get_if<Overlay>(&descriptor);
  if (whole == nullptr && over == nullptr) return settle_as(row, descriptor, "nothing was written");

  const BlobId blob = whole != nullptr ? whole->blob : over->blob;
  if (files_->find(blob)) return {};  // adopted: its writer goes on
  TARN_ASSIGN(auto info, info_of(blob));
  auto opened = files_->open(blob);
  if (opened.is(Code::kNotFound)) {
    if (over != nullptr) {
      TARN_ASSIGN(Descriptor base, decode(over->base));
      row.size = over->base_size;
      return settle_as(row, base, "new bytes were never synced, the older ones hold");
    }
    if (info) {
      log_error("content.recover", "inode={} name='{}' blob={} is missing though it was synced",
                ino.value, row.name, blob.value);
      return settle_as(row, descriptor, "its blob is missing");
    }
    if (!row.etag.empty()) {
      row.size = 0;
      return settle_as(row, Empty{}, "truncated, and the new bytes were never synced");
    }
    return drop_row(row, "its bytes were never synced");
  }
  TARN_TRY(opened);
  (*opened)->set_fresh(!info.has_value());
  ClosedFile closed;
  closed.ino = ino;
  TARN_ASSIGN(closed.file, reopen_for_write(row, *opened));
  closed.is_new = row.etag.empty();
  submit_closed(std::move(closed));
  ++recovered_;
  // Each holds a descriptor.
  return queue_.size() < kQueueFilesKick ? Status() : join_barrier(false);
}

Status ContentImpl::settle_as(const meta::InodeRow& row, const Descriptor& descriptor,
                              std::string_view why) {
  log_warn("content.recover", "inode={} name='{}' size={}: {}", row.ino.value, row.name, row.size,
           why);
  auto settled = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    meta::ContentChange change;
    change.state = meta::ContentState::kSettled;
    change.content = encode(descriptor);
    change.size = row.size;
    change.blocks = (row.size + 511) / 512;
    if (std::holds_alternative<Empty>(descriptor)) {
      change.digests = meta::Digests{};
      change.generation = Generation(row.generation.value + 1);
      change.etag = opaque_etag(row.ino, *change.generation, row.size, row.ctime);
    } else if (row.etag.empty()) {
      change.etag = opaque_etag(row.ino, row.generation, row.size, row.ctime);
    }
    change.grant = meta::GrantStamp{};
    meta::Context context;
    context.now = Clock::system().now();
    return meta::set_content(txn, context, row.ino, change).status();
  });
  TARN_TRY(settled);
  ++recovered_;
  return {};
}

/// Takes the entries of a file whose bytes never reached the disk, and the inode.
Status ContentImpl::drop_row(const meta::InodeRow& row, std::string_view why) {
  std::vector<std::pair<Ino, std::string>> entries;
  if (row.parent) {
    entries.emplace_back(row.parent, row.name);
  } else {
    TARN_ASSIGN(entries, find_entries(row.ino));
  }
  log_warn("content.recover.dropped", "inode={} parent={} name='{}' size={}: {}", row.ino.value,
           row.parent.value, row.name, row.size, why);
  meta::Context context;
  context.now = Clock::system().now();
  auto dropped = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    for (const auto& [parent, name] : entries) {
      TARN_TRY(meta::unlink(txn, context, parent, name));
    }
    TARN_TRY(meta::forget(txn, context, row.ino));
    TARN_ASSIGN(Descriptor descriptor, decode(row.content));
    return reverse_.release(txn, row.ino, descriptor);
  });
  TARN_TRY(dropped);
  reverse_.note_committed();
  ++dropped_;
  return {};
}

/// All names of a file with several links: the tree is walked, for there is no row that lists them.
Result<std::vector<std::pair<Ino, std::string>>> ContentImpl::find_entries(Ino ino) {
  std::vector<std::pair<Ino, std::string>> found;
  std::deque<Ino> directories{kRootIno};
  auto txn = store_.begin();
  while (!directories.empty()) {
    const Ino directory = directories.front();
    directories.pop_front();
    TARN_TRY(meta::read_directory(*txn, directory, "", false, true,
                                  [&](const meta::DirectoryEntry& entry) {
                                    if (S_ISDIR(entry.type_mode)) directories.push_back(entry.ino);
                                    if (entry.ino == ino) found.emplace_back(directory, entry.name);
                                    return true;
                                  }));
  }
  return found;
}

Result<std::unordered_set<BlobId>> ContentImpl::blobs_of_unsettled() {
  std::unordered_set<BlobId> named;
  auto txn = store_.begin();
  std::vector<Ino> unsettled;
  TARN_TRY(meta::read_unsettled(*txn, [&](Ino ino) {
    unsettled.push_back(ino);
    return true;
  }));
  for (Ino ino : unsettled) {
    auto row = meta::get_inode(*txn, ino);
    if (row.is(Code::kStale)) continue;
    TARN_TRY(row);
    TARN_ASSIGN(Descriptor descriptor, decode(row->content));
    if (auto* whole = std::get_if<WholeBlob>(&descriptor)) named.insert(whole->blob);
    if (auto* over = std::get_if<Overlay>(&descriptor)) named.insert(over->blob);
  }
  return named;
}

/// Files that no row names: made, perhaps named, and never committed.
Status ContentImpl::sweep_orphans() {
  TARN_ASSIGN(auto named, blobs_of_unsettled());
  auto txn = store_.begin();
  std::vector<BlobId> orphans, orphan_packs;
  Status failed;
  auto has_rows = [&](std::initializer_list<std::string> prefixes) {
    bool is_found = false;
    for (const std::string& prefix : prefixes) {
      Status status = txn->scan(kv::Range::prefix(prefix), [&](std::string_view, std::string_view) {
        is_found = true;
        return false;
      });
      if (!status.is_ok()) failed = status;
    }
    return is_found;
  };
  TARN_TRY(blobs_.for_each([&](BlobId blob) {
    if (!named.contains(blob) && !has_rows({owner_prefix(blob), released_key(blob)})) {
      orphans.push_back(blob);
    }
    return failed.is_ok();
  }));
  TARN_TRY(blobs_.for_each_pack([&](BlobId pack) {
    if (!has_rows({info_key(pack), delta_prefix(pack), released_key(pack)})) {
      orphan_packs.push_back(pack);
    }
    return failed.is_ok();
  }));
  TARN_TRY(failed);
  for (BlobId blob : orphans) TARN_TRY(blobs_.unlink(blob));
  for (BlobId pack : orphan_packs) TARN_TRY(blobs_.unlink_pack(pack));
  if (!orphans.empty() || !orphan_packs.empty()) {
    log_info("content.recover.orphans", "blobs={} packs={}", orphans.size(), orphan_packs.size());
  }
  return {};
}

}  // namespace tarn::content
