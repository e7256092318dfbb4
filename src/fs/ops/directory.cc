// Reading directories. A cookie is the position of an item in the order in which the handle met the
// names, so that it stays right while entries come and go.
#include <sys/stat.h>

#include <fmt/format.h>

#include "fs/file_system.h"

namespace tarn::fs {
namespace {

// Cookies 1 and 2 stand behind '.' and '..'; the i-th name seen has cookie kFirstCookie + i.
constexpr uint64_t kFirstCookie = 3;
// Names a handle remembers: a directory beyond this cannot be read backwards to its start.
constexpr size_t kNamesMax = 8'000'000;

}  // namespace

Result<Fh> FileSystemImpl::open_directory(const Caller& caller, Ino ino) {
  auto txn = store_.begin();
  TARN_ASSIGN(meta::InodeRow row, meta::get_inode(*txn, ino));
  if (!row.is_directory()) {
    return Status(Code::kNotDirectory, fmt::format("inode {} is not a directory", ino.value));
  }
  TARN_TRY(check_access(*txn, caller, row, R_OK));
  Slot slot{};
  slot.ino = ino.value;
  slot.unique = caller.request.unique;
  slot.kind = static_cast<uint8_t>(SlotKind::kDirectory);
  TARN_ASSIGN(Fh fh, handles_->take(slot));
  auto handle = std::make_shared<DirectoryHandle>();
  handle->ino = ino;
  handle->parent = row.parent ? row.parent : ino;
  MutexLock lock(directories_mutex_);
  directories_[fh] = std::move(handle);
  return fh;
}

Status FileSystemImpl::read_directory(const Caller& caller, Fh fh, uint64_t after,
                                      bool with_attributes,
                                      const std::function<bool(const DirectoryItem&)>& visitor) {
  std::shared_ptr<DirectoryHandle> handle;
  {
    MutexLock lock(directories_mutex_);
    auto it = directories_.find(fh);
    if (it != directories_.end()) handle = it->second;
  }
  if (!handle) return Status(Code::kBadHandle, fmt::format("no open directory {}", fh.value));
  MutexLock lock(handle->mutex);
  const uint64_t epoch = live_epoch();
  auto txn = store_.begin();
  auto dot = [&](std::string name, Ino ino, uint64_t next) -> Result<bool> {
    DirectoryItem item;
    item.name = std::move(name);
    item.ino = ino;
    item.type_mode = S_IFDIR;
    item.next = next;
    if (with_attributes) {
      TARN_ASSIGN(meta::InodeRow row, meta::get_inode(*txn, ino));
      item.attributes = plain_attributes(row);
    }
    return visitor(item);
  };
  if (after < 1) {
    TARN_ASSIGN(bool goes_on, dot(".", handle->ino, 1));
    if (!goes_on) return {};
  }
  if (after < 2) {
    TARN_ASSIGN(bool goes_on, dot("..", handle->parent, 2));
    if (!goes_on) return {};
  }
  if (after < kFirstCookie) handle->keys.clear();  // rewinddir: names are met anew
  std::string from;
  if (after >= kFirstCookie) {
    const uint64_t index = after - kFirstCookie;
    if (index < handle->keys.size()) {
      from = handle->keys[index];
      handle->keys.resize(index + 1);
    } else {
      // A handle taken over from a dead process: meet the same number of names again.
      handle->keys.clear();
      TARN_TRY(meta::read_directory(*txn, handle->ino, "", false, false,
                                    [&](const meta::DirectoryEntry& entry) {
                                      handle->keys.push_back(meta::key_name(entry));
                                      return handle->keys.size() <= index;
                                    }));
      if (handle->keys.size() <= index) return {};
      from = handle->keys.back();
    }
  }
  Status inner;
  TARN_TRY(meta::read_directory(
      *txn, handle->ino, from, with_attributes, false, [&](const meta::DirectoryEntry& entry) {
        DirectoryItem item;
        item.name = entry.name;
        item.ino = entry.ino;
        item.type_mode = entry.type_mode;
        item.next = kFirstCookie + handle->keys.size();
        if (with_attributes && entry.attributes) {
          Result<Attributes> live = live_attributes(*entry.attributes, epoch);
          if (!live.is_ok()) {
            // Unlinked since the snapshot: list it no more.
            if (live.is(Code::kStale) || live.is(Code::kNotFound)) return true;
            inner = live.status();
            return false;
          }
          item.attributes = *live;
        }
        if (!visitor(item)) return false;
        if (handle->keys.size() >= kNamesMax) {
          inner = Status(Code::kFileTooLarge, fmt::format("directory {} has more than {} entries",
                                                          handle->ino.value, kNamesMax));
          return false;
        }
        handle->keys.push_back(meta::key_name(entry));
        return true;
      }));
  (void)caller;
  return inner;
}

Status FileSystemImpl::release_directory(Fh fh) {
  Slot* slot = handles_->find(fh);
  const Ino ino = slot != nullptr ? Ino(slot->ino) : Ino{};
  {
    MutexLock lock(directories_mutex_);
    directories_.erase(fh);
  }
  handles_->free(fh);
  (void)ino;
  return {};
}

}  // namespace tarn::fs
