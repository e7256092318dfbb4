// Take-over: a new process finds the dead one's handles in the table and opens their files again.
#include <fcntl.h>

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/log.h"
#include "fs/file_system.h"

namespace tarn::fs {
namespace {

/// The row's bytes are in that blob: as a whole, or as the private blob of an overlay.
bool names_blob(const meta::InodeRow& row, BlobId blob) {
  auto descriptor = content::decode(row.content);
  if (!descriptor.is_ok()) return false;
  if (const auto* whole = std::get_if<content::WholeBlob>(&*descriptor)) return whole->blob == blob;
  if (const auto* overlay = std::get_if<content::Overlay>(&*descriptor))
    return overlay->blob == blob;
  return false;
}

}  // namespace

std::vector<int32_t> FileSystemImpl::attachments() {
  std::vector<int32_t> ids;
  handles_->for_each([&](Slot& slot) {
    if (slot.attachment > 0) ids.push_back(slot.attachment);
  });
  return ids;
}

Status FileSystemImpl::adopt_handles() {
  std::vector<Slot*> slots;
  handles_->for_each([&](Slot& slot) { slots.push_back(&slot); });
  // Files before pending ones: an inode that is open again is not settled by its old slot.
  std::stable_sort(slots.begin(), slots.end(),
                   [](const Slot* a, const Slot* b) { return a->kind < b->kind; });
  for (Slot* slot : slots) {
    Status adopted = adopt_slot(*slot);
    if (adopted.is_ok()) continue;
    log_warn("fs.adopt", "inode={} kind={} {}", slot->ino, slot->kind, adopted.to_string());
    handles_->free(Fh(slot->fh));
  }
  log_info("fs.adopt", "handles={} inodes={}", handles_->used(), open_inodes_.size());
  return {};
}

Status FileSystemImpl::adopt_slot(Slot& slot) {
  const Fh fh(slot.fh);
  if (slot.unique != 0) resent_opens_[slot.unique] = fh;
  const Ino ino(slot.ino);
  TARN_ASSIGN(meta::InodeRow row, read_row(ino));
  if (slot.kind == static_cast<uint8_t>(SlotKind::kDirectory)) {
    auto handle = std::make_shared<DirectoryHandle>();
    handle->ino = ino;
    handle->parent = row.parent ? row.parent : ino;
    MutexLock lock(directories_mutex_);
    directories_[fh] = std::move(handle);
    return {};
  }
  OpenInodes::Pin inode = open_inodes_.pin(ino);
  MutexLock opening(inode->opening);
  const bool is_pending = slot.kind == static_cast<uint8_t>(SlotKind::kPending);
  const bool is_writer = (slot.flags & O_ACCMODE) != O_RDONLY;
  content::FileRef file;
  {
    MutexLock lock(inode->state);
    file = inode->file;
  }
  const bool is_rows_own = slot.blob != 0 && names_blob(row, BlobId(slot.blob));
  if (is_pending) {
    if (file) {  // open again
      handles_->free(fh);
      return {};
    }
    if (is_rows_own && row.state == meta::ContentState::kSettled) {  // settled just before the end
      handles_->free(fh);
      return {};
    }
  }
  const bool is_live_slot = is_pending || is_writer || row.state == meta::ContentState::kOpen;
  if (!file) {
    if (slot.blob != 0) {
      TARN_ASSIGN(content::LocalFileRef local,
                  content_->adopt(BlobId(slot.blob), {slot.kernel_handle, slot.handle_bytes},
                                  slot.attachment));
      if (is_rows_own && row.state == meta::ContentState::kOpen) {
        TARN_ASSIGN(file, content_->reopen_for_write(row, local));
      } else {
        file = content_->open_new(local);
      }
    } else {
      TARN_ASSIGN(file, content_->open_read(row));
    }
  }
  // As the process before knew it: O_TRUNC, a stamp that proves nothing, or a file that has
  // changed.
  bool was_written = is_pending || (slot.flags & O_TRUNC) != 0;
  if (!was_written && is_live_slot && slot.blob != 0) {
    TARN_ASSIGN(content::FileStat st, file->stat());
    was_written = slot.grant() == meta::GrantStamp{} || st.ctime != slot.grant_ctime;
  }
  {
    MutexLock lock(inode->state);
    inode->file = file;
    if (!is_pending) {
      ++inode->handles;
      if (is_writer) ++inode->writers;
      inode->path = slot.is_direct ? Path::kDirect : Path::kServed;
    }
    if (is_live_slot && slot.blob != 0) {
      inode->is_live = true;
      inode->is_new = slot.is_new != 0;
      inode->is_deferred = !is_rows_own;
      inode->base = row.generation;
      inode->grant = slot.grant();
      inode->was_written |= was_written;
    }
    inode->is_unlinked = row.nlink == 0;
  }
  if (!is_pending) return {};
  handles_->free(fh);
  submit(*inode);
  return {};
}

}  // namespace tarn::fs
