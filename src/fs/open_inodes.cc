#include "fs/open_inodes.h"

#include <vector>

namespace tarn::fs {

OpenInodes::Pin OpenInodes::pin(Ino ino) {
  Shard& s = shard(ino);
  MutexLock lock(s.mutex);
  std::unique_ptr<OpenInode>& slot = s.inodes[ino];
  if (!slot) {
    slot = std::make_unique<OpenInode>(ino);
    count_.fetch_add(1, std::memory_order_relaxed);
  }
  ++slot->pins_;
  return Pin(this, slot.get());
}

OpenInodes::Pin OpenInodes::find(Ino ino) {
  if (size() == 0) return {};
  Shard& s = shard(ino);
  MutexLock lock(s.mutex);
  auto it = s.inodes.find(ino);
  if (it == s.inodes.end()) return {};
  ++it->second->pins_;
  return Pin(this, it->second.get());
}

void OpenInodes::unpin(OpenInode* inode) {
  std::unique_ptr<OpenInode> dead;  // destroyed after the lock: closes descriptors
  Shard& s = shard(inode->ino);
  MutexLock lock(s.mutex);
  if (--inode->pins_ > 0) return;
  // Nobody else can reach an unpinned entry without this shard's lock, so its fields are ours to
  // read.
  if (!inode->is_idle()) return;
  auto it = s.inodes.find(inode->ino);
  dead = std::move(it->second);
  s.inodes.erase(it);
  count_.fetch_sub(1, std::memory_order_relaxed);
}

void OpenInodes::for_each(const std::function<void(OpenInode&)>& visitor) {
  std::vector<Pin> pins;
  for (Shard& s : shards_) {
    MutexLock lock(s.mutex);
    for (auto& [ino, inode] : s.inodes) {
      ++inode->pins_;
      pins.emplace_back(this, inode.get());
    }
  }
  for (Pin& pin : pins) visitor(*pin);
}

}  // namespace tarn::fs
