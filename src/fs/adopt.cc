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

bool is_pending(const Slot& slot) {
  return slot.kind == static_cast<uint8_t>(SlotKind::kPending);
}
bool is_writer(const Slot& slot) {
  return slot.kind == static_cast<uint8_t>(SlotKind::kFile) && (slot.flags & O_ACCMODE) != O_RDONLY;
}

/// Writers and closed files that wait for settling know best where an inode's bytes are; readers
/// join what those have opened. A file that is open for writing again is not settled by its old
/// slot.
int order_of(const Slot& slot) {
  if (is_writer(slot)) return 0;
  return is_pending(slot) ? 1 : 2;
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
  std::ranges::stable_sort(slots, {}, [](const Slot* slot) { return order_of(*slot); });
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
  content::FileRef file;
  {
    MutexLock lock(inode->state);
    file = inode->file;
  }
  const bool is_rows_own = slot.blob != 0 && names_blob(row, BlobId(slot.blob));
  if (is_pending(slot)) {
    if (file) {  // open again
      handles_->free(fh);
      return {};
    }
    if (is_rows_own && row.state == meta::ContentState::kSettled) {  // settled just before the end
      handles_->free(fh);
      return {};
    }
  }
  const bool is_live_slot =
      is_pending(slot) || is_writer(slot) || row.state == meta::ContentState::kOpen;
  if (!file) {
    // A reader of a file that settled elsewhere since (in a pack, or as empty) goes where the row
    // says: its old backing file has no name any more and cannot get one.
    if (slot.blob != 0 && (is_live_slot || is_rows_own || slot.is_direct)) {
      TARN_ASSIGN(content::LocalFileRef local,
                  content_->adopt(BlobId(slot.blob), {slot.kernel_handle, slot.handle_bytes},
                                  slot.attachment, is_live_slot));
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
  bool was_written = is_pending(slot) || (slot.flags & O_TRUNC) != 0;
  meta::GrantStamp grant = slot.grant();
  if (!was_written && is_live_slot && slot.blob != 0) {
    TARN_ASSIGN(content::FileStat st, file->stat());
    if (!is_rows_own && st.mtime == grant.mtime && st.size == grant.size) {
      // A private copy that a barrier has named since has another ctime, which only the process
      // that named it could tell from a writer's.
      grant = grant_of(st);
    }
    was_written = grant == meta::GrantStamp{} || st.ctime != grant.ctime;
  }
  {
    MutexLock lock(inode->state);
    inode->file = file;
    if (!is_pending(slot)) {
      ++inode->handles;
      if (is_writer(slot)) ++inode->writers;
      inode->path = slot.is_direct ? Path::kDirect : Path::kServed;
    }
    if (is_live_slot && slot.blob != 0) {
      inode->is_live = true;
      inode->is_new = slot.is_new != 0;
      inode->is_deferred = !is_rows_own;
      inode->base = row.generation;
      inode->grant = grant;
      inode->was_written |= was_written;
    }
    inode->is_unlinked = row.nlink == 0;
  }
  if (!is_pending(slot)) return {};
  handles_->free(fh);
  submit(*inode);
  return {};
}

}  // namespace tarn::fs
