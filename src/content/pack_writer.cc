#include "content/pack_writer.h"

#include <fcntl.h>

#include "base/limits.h"
#include "base/log.h"
#include "content/kill_points.h"

namespace tarn::content {
namespace {

// A current pack whose records are all gone is given up from this size on.
constexpr uint64_t kRetiredBytesMin = limits::kMiB;
// What a group may put beside others' records, so that a small job makes no pack of its own.
constexpr uint64_t kSharedBytesMax = 4 * limits::kMiB;

}  // namespace

Result<PackWriter::PackRef> PackWriter::make_pack() {
  TARN_ASSIGN(uint64_t id, ids_.next());
  auto pack = std::make_shared<Pack>();
  pack->id = BlobId(id);
  TARN_ASSIGN(pack->fd, store_.open_pack(pack->id, O_RDWR | O_CREAT | O_EXCL));
  auto written = write_at(pack->fd.get(), 0, as_bytes(encode_pack_header(pack->id)));
  if (!written.is_ok()) {
    // It holds nothing; the next start would drop it as well.
    [[maybe_unused]] auto ignored = store_.unlink_pack(pack->id);
    return written;
  }
  TARN_KILL_POINT("content.pack.after_create");
  return pack;
}

Result<PackWriter::Reserved> PackWriter::reserve(uint64_t bytes, uint64_t pins, Group* group) {
  PackRef made;
  while (true) {
    {
      MutexLock lock(mutex_);
      const bool is_apart = group != nullptr && group->shared_bytes_ + bytes > kSharedBytesMax;
      PackRef& current = is_apart ? group->own_ : current_;
      const bool has_room = current && current->end + bytes <= limits::kPackBytesMax;
      if (!has_room && made) {
        if (is_apart) {
          if (current) unpin_locked(current->id, 1);
          pins_[made->id] += 1;
        }
        current = std::exchange(made, nullptr);
        unsynced_.push_back(current);
      }
      if (has_room || (current && current->end == kPackHeaderBytes)) {
        Reserved reserved{current, current->end};
        current->end += bytes;
        bytes_written_ += bytes;
        if (pins > 0) pins_[current->id] += pins;
        if (group != nullptr && !is_apart) group->shared_bytes_ += bytes;
        if (made) {
          // Another thread made one meanwhile: ours stays empty and is not needed.
          lock.unlock();
          [[maybe_unused]] auto ignored = store_.unlink_pack(made->id);
        }
        return reserved;
      }
    }
    TARN_ASSIGN(made, make_pack());
  }
}

void PackWriter::leave(Group& group) {
  MutexLock lock(mutex_);
  if (group.own_) unpin_locked(group.own_->id, 1);
}

Result<std::vector<Slice>> PackWriter::append(std::span<const Record> records, bool pinned,
                                              Group* group) {
  std::string bytes;
  std::vector<Slice> slices;
  for (const Record& record : records) {
    bytes += encode_record_header(record.identity, record.data.size(), record.crc64);
    slices.push_back(Slice{{}, true, bytes.size(), record.data.size()});
    bytes += as_text(record.data);
    bytes.resize((bytes.size() + 7) / 8 * 8, '\0');
  }
  TARN_ASSIGN(Reserved at, reserve(bytes.size(), pinned ? records.size() : 0, group));
  auto written = write_at(at.pack->fd.get(), at.offset, as_bytes(bytes));
  if (!written.is_ok()) {
    give_back(at, bytes.size(), pinned ? records.size() : 0);
    return written;
  }
  // After the write, so that a sync that runs now does not count it as done.
  at.pack->is_dirty.store(true, std::memory_order_release);
  {
    MutexLock lock(mutex_);
    if (std::find(unsynced_.begin(), unsynced_.end(), at.pack) == unsynced_.end()) {
      unsynced_.push_back(at.pack);
    }
  }
  for (Slice& slice : slices) {
    slice.blob = at.pack->id;
    slice.offset += at.offset;
  }
  return slices;
}

void PackWriter::give_back(const Reserved& reserved, uint64_t bytes, uint64_t pins) {
  // What was written before the disk was full would stay for as long as the pack; a hole is skipped
  // by whoever scans it.
  if (::fallocate(reserved.pack->fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(reserved.offset), static_cast<off_t>(bytes)) != 0) {
    log_debug("content.pack", "pack={} keeps {} bytes of records that did not fit",
              reserved.pack->id.value, bytes);
  }
  MutexLock lock(mutex_);
  if (reserved.pack->end == reserved.offset + bytes) reserved.pack->end = reserved.offset;
  bytes_written_ -= bytes;
  doubtful_.insert(reserved.pack->id);
  if (pins > 0) unpin_locked(reserved.pack->id, pins);
}

Status PackWriter::sync() {
  MutexLock sync_lock(sync_mutex_);
  std::vector<PackRef> packs;
  {
    MutexLock lock(mutex_);
    packs.swap(unsynced_);
  }
  Status result;
  bool has_new = false;
  for (const PackRef& pack : packs) {
    if (!result.is_ok()) break;
    if (pack->is_dirty.exchange(false, std::memory_order_acq_rel)) {
      result = sync_data(pack->fd.get());
      if (!result.is_ok()) pack->is_dirty.store(true, std::memory_order_release);
    }
    has_new = has_new || pack->is_new.load(std::memory_order_acquire);
  }
  if (result.is_ok() && has_new) result = store_.sync_packs_directory();
  if (result.is_ok()) {
    for (const PackRef& pack : packs) pack->is_new.store(false, std::memory_order_release);
    return result;
  }
  MutexLock lock(mutex_);
  unsynced_.insert(unsynced_.end(), packs.begin(), packs.end());
  return result.with_context("sync packs");
}

void PackWriter::unpin(BlobId pack) {
  MutexLock lock(mutex_);
  unpin_locked(pack, 1);
}

void PackWriter::unpin_locked(BlobId pack, uint64_t pins) {
  auto at = pins_.find(pack);
  if (at == pins_.end()) return;
  at->second -= std::min(pins, at->second);
  if (at->second > 0) return;
  pins_.erase(at);
  doubtful_.insert(pack);
}

std::vector<BlobId> PackWriter::take_doubtful() {
  MutexLock lock(mutex_);
  std::vector<BlobId> packs(doubtful_.begin(), doubtful_.end());
  doubtful_.clear();
  return packs;
}

void PackWriter::doubt(BlobId pack) {
  MutexLock lock(mutex_);
  doubtful_.insert(pack);
}

bool PackWriter::retire(BlobId pack) {
  MutexLock lock(mutex_);
  if (pins_.contains(pack)) return false;
  if (!current_ || current_->id != pack) return true;
  if (current_->end < kRetiredBytesMin) return false;
  current_ = nullptr;
  return true;
}

void PackWriter::forget(BlobId pack) {
  MutexLock lock(mutex_);
  std::erase_if(unsynced_, [&](const PackRef& each) { return each->id == pack; });
}

uint64_t PackWriter::bytes_written() {
  MutexLock lock(mutex_);
  return bytes_written_;
}

}  // namespace tarn::content
