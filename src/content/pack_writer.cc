#include "content/pack_writer.h"

#include <fcntl.h>

#include "base/limits.h"
#include "content/kill_points.h"

namespace tarn::content {
namespace {

// A current pack whose records are all gone is given up from this size on.
constexpr uint64_t kRetiredBytesMin = limits::kMiB;

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

Result<PackWriter::Reserved> PackWriter::reserve(uint64_t bytes, uint64_t pins) {
  PackRef made;
  while (true) {
    {
      MutexLock lock(mutex_);
      const bool has_room = current_ && current_->end + bytes <= limits::kPackBytesMax;
      if (!has_room && made) {
        current_ = std::exchange(made, nullptr);
        unsynced_.push_back(current_);
      }
      if (has_room || (current_ && current_->end == kPackHeaderBytes)) {
        Reserved reserved{current_, current_->end};
        current_->end += bytes;
        bytes_written_ += bytes;
        if (pins > 0) pins_[current_->id] += pins;
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

Result<std::vector<Slice>> PackWriter::append(std::span<const Record> records, bool pinned) {
  std::string bytes;
  std::vector<Slice> slices;
  for (const Record& record : records) {
    bytes += encode_record_header(record.identity, record.data.size(), record.crc64);
    slices.push_back(Slice{{}, true, bytes.size(), record.data.size()});
    bytes += as_text(record.data);
    bytes.resize((bytes.size() + 7) / 8 * 8, '\0');
  }
  TARN_ASSIGN(Reserved at, reserve(bytes.size(), pinned ? records.size() : 0));
  TARN_TRY(write_at(at.pack->fd.get(), at.offset, as_bytes(bytes)));
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
  auto at = pins_.find(pack);
  if (at != pins_.end() && --at->second == 0) pins_.erase(at);
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
