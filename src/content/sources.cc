#include "content/sources.h"

#include <fcntl.h>

#include <algorithm>

#include <fmt/format.h>

namespace tarn::content {

void DamageMap::add(BlobId blob, Range range) {
  MutexLock lock(mutex_);
  std::vector<Range>& ranges = ranges_[blob];
  for (const Range& known : ranges) {
    if (known.offset == range.offset && known.length == range.length) return;
  }
  ranges.push_back(range);
  is_empty_.store(false, std::memory_order_release);
}

void DamageMap::clear(BlobId blob) {
  MutexLock lock(mutex_);
  ranges_.erase(blob);
  is_empty_.store(ranges_.empty(), std::memory_order_release);
}

bool DamageMap::has(BlobId blob) const {
  if (is_empty_.load(std::memory_order_acquire)) return false;
  MutexLock lock(mutex_);
  return ranges_.contains(blob);
}

Status DamageMap::check(BlobId blob, uint64_t offset, uint64_t length) const {
  if (is_empty_.load(std::memory_order_acquire)) return {};
  MutexLock lock(mutex_);
  auto at = ranges_.find(blob);
  if (at == ranges_.end()) return {};
  for (const Range& range : at->second) {
    if (offset < range.offset + range.length && range.offset < offset + length) {
      return Status(Code::kCorrupt,
                    fmt::format("bytes {} to {} of blob {} are damaged", range.offset,
                                range.offset + range.length, blob.value));
    }
  }
  return {};
}

void PinTable::pin(const std::vector<BlobId>& blobs) {
  MutexLock lock(mutex_);
  for (BlobId blob : blobs) ++counts_[blob];
}

void PinTable::unpin(const std::vector<BlobId>& blobs) {
  MutexLock lock(mutex_);
  for (BlobId blob : blobs) {
    auto at = counts_.find(blob);
    if (at != counts_.end() && --at->second == 0) counts_.erase(at);
  }
}

bool PinTable::is_pinned(BlobId blob) {
  MutexLock lock(mutex_);
  return counts_.contains(blob);
}

Result<LocalBlobRef> Sources::blob(BlobId id) {
  auto opened = files_->open(id);
  if (opened.is(Code::kNotFound)) {
    return Status(Code::kDataLoss, fmt::format("blob {} is missing", id.value));
  }
  return opened;
}

Result<PackFileRef> Sources::pack(BlobId id) {
  {
    MutexLock lock(mutex_);
    for (auto at = packs_.begin(); at != packs_.end(); ++at) {
      if ((*at)->id != id) continue;
      packs_.splice(packs_.begin(), packs_, at);
      return packs_.front();
    }
  }
  auto fd = files_->store().open_pack(id, O_RDONLY);
  if (fd.is(Code::kNotFound)) {
    return Status(Code::kDataLoss, fmt::format("pack {} is missing", id.value));
  }
  if (!fd.is_ok()) return fd.status();
  auto pack = std::make_shared<PackFile>(PackFile{id, std::move(fd).value()});
  PackFileRef dropped;
  MutexLock lock(mutex_);
  packs_.push_front(pack);
  if (packs_.size() > kOpenPacksMax) {
    dropped = std::move(packs_.back());
    packs_.pop_back();
  }
  lock.unlock();
  return pack;
}

void Sources::forget_pack(BlobId id) {
  MutexLock lock(mutex_);
  packs_.remove_if([&](const PackFileRef& pack) { return pack->id == id; });
}

void Sources::close_cache() {
  std::list<PackFileRef> dropped;
  {
    MutexLock lock(mutex_);
    dropped.swap(packs_);
  }
  files_->close_cache();
}

}  // namespace tarn::content
