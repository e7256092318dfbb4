#include "content/local_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include <fmt/format.h>

#include "base/coding.h"
#include "base/log.h"

namespace tarn::content {

LocalBlob::LocalBlob(std::shared_ptr<LocalFiles> owner, BlobId blob, UniqueFd fd, bool is_named)
    : owner_(std::move(owner)),
      blob_(blob),
      fd_(std::move(fd)),
      is_named_(is_named),
      is_name_synced_(false) {}

LocalBlob::~LocalBlob() {
  const int32_t id = attachment();
  if (id > 0 && owner_->attacher() != nullptr) owner_->attacher()->detach(id);
  if (is_held_.load(std::memory_order_acquire)) owner_->holder()->drop(blob_);
  owner_->remove(blob_, is_fresh() && is_named() && !is_dropped_);
}

Result<int32_t> LocalBlob::attach() {
  if (owner_->attacher() == nullptr) {
    return Status(Code::kNotSupported, "there is no direct path to attach to");
  }
  if (int32_t id = attachment(); id > 0) return id;
  TARN_ASSIGN(int32_t id, owner_->attacher()->attach(fd_.get()));
  int32_t none = 0;
  if (attachment_.compare_exchange_strong(none, id)) return id;
  owner_->attacher()->detach(id);
  return none;
}

std::string LocalBlob::kernel_handle() const {
  alignas(file_handle) char buffer[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(buffer);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(fd_.get(), "", handle, &mount_id, AT_EMPTY_PATH) != 0) return {};
  Writer out;
  out.u32(static_cast<uint32_t>(handle->handle_type));
  out.raw({reinterpret_cast<const char*>(handle->f_handle), handle->handle_bytes});
  return out.take();
}

namespace {

Result<FileStat> stat_of(int fd, BlobId blob) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return last_errno(fmt::format("fstat of blob {}", blob.value));
  FileStat stat;
  stat.size = static_cast<uint64_t>(info.st_size);
  stat.blocks = static_cast<uint64_t>(info.st_blocks);
  stat.atime = from_timespec(info.st_atim);
  stat.mtime = from_timespec(info.st_mtim);
  stat.ctime = from_timespec(info.st_ctim);
  return stat;
}

}  // namespace

Result<FileStat> LocalBlob::stat() const {
  TARN_ASSIGN(FileStat stat, stat_of(fd_.get(), blob_));
  const TimeNs link = ctime_of_link_.load(std::memory_order_acquire);
  if (link != 0 && stat.ctime == link) {
    stat.ctime = ctime_before_link_.load(std::memory_order_acquire);
  }
  return stat;
}

Status LocalBlob::ensure_named(bool durable) {
  MutexLock lock(mutex_);
  if (is_dropped_) return {};
  if (!is_named()) {
    if (is_copy_.load(std::memory_order_acquire)) TARN_TRY(sync_data(fd_.get()));
    TARN_ASSIGN(FileStat before, stat_of(fd_.get(), blob_));
    TARN_TRY(owner_->store().link(fd_.get(), blob_));
    TARN_ASSIGN(FileStat after, stat_of(fd_.get(), blob_));
    if (before.mtime == after.mtime && before.size == after.size) {
      ctime_before_link_.store(before.ctime, std::memory_order_release);
      ctime_of_link_.store(after.ctime, std::memory_order_release);
    }
    is_named_.store(true, std::memory_order_release);
  }
  if (!durable || is_name_synced_.load(std::memory_order_acquire)) return {};
  TARN_TRY(sync_file(fd_.get()));
  TARN_TRY(owner_->store().sync_name(blob_));
  note_name_synced();
  return {};
}

Status LocalBlob::sync() {
  TARN_ASSIGN(FileStat before, this->stat());
  if (is_name_synced()) {
    TARN_TRY(sync_data(fd_.get()));
  } else {
    TARN_TRY(ensure_named(true));
  }
  // As `stat` tells it: a link that was made meanwhile does not count as a write.
  ctime_synced_.store(before.ctime, std::memory_order_release);
  return {};
}

Status LocalBlob::sync_if_changed() {
  if (owner_->store().has_fine_times() && is_name_synced()) {
    TARN_ASSIGN(FileStat now, this->stat());
    if (now.ctime == ctime_synced_.load(std::memory_order_acquire)) return {};
  }
  return sync();
}

Status LocalBlob::sync_fully() {
  if (is_name_synced_.load(std::memory_order_acquire)) return sync_file(fd_.get());
  return ensure_named(true);
}

bool LocalBlob::drop() {
  MutexLock lock(mutex_);
  is_dropped_ = true;
  return is_named();
}

Result<LocalBlobRef> LocalFiles::make_new() {
  TARN_ASSIGN(uint64_t id, ids_.next());
  TARN_ASSIGN(BlobStore::New made, store_.create(BlobId(id)));
  auto file = std::make_shared<LocalBlob>(shared_from_this(), BlobId(id), std::move(made.fd),
                                          made.is_named);
  file->set_fresh(true);
  if (attacher_ != nullptr) {
    // Without an attachment it is served by the daemon: slower, not wrong.
    if (auto attached = file->attach(); !attached.is_ok()) {
      log_debug("content.attach", "blob={} failed: {}", id, attached.status().to_string());
    }
  }
  // The kernel holds what is attached, and a name outlives everybody. Anything else goes with this
  // process, although programs may have been told that they wrote to it.
  if (holder_ != nullptr && file->attachment() == 0 && !file->is_named()) {
    TARN_TRY(holder_->hold(BlobId(id), file->fd()));
    file->set_held();
  }
  return file;
}

LocalBlobRef LocalFiles::insert(LocalBlobRef file, bool keep_open) {
  LocalBlobRef evicted;
  MutexLock lock(mutex_);
  auto& slot = live_[file->blob()];
  if (auto other = slot.lock(); other && other != file) {
    // Someone else opened it meanwhile: theirs is the one; ours ends after the lock is gone.
    evicted = std::exchange(file, other);
  } else {
    slot = file;
  }
  if (!keep_open) {
    lock.unlock();
    return file;
  }
  LocalBlobRef dropped;
  if (auto at = kept_at_.find(file->blob()); at != kept_at_.end()) {
    kept_.splice(kept_.begin(), kept_, at->second);
  } else {
    kept_.push_front(file);
    kept_at_[file->blob()] = kept_.begin();
    if (kept_.size() > kOpenBlobsMax) {
      dropped = std::move(kept_.back());
      kept_at_.erase(dropped->blob());
      kept_.pop_back();
    }
  }
  lock.unlock();
  return file;
}

void LocalFiles::hand_out(const LocalBlobRef& file) {
  insert(file, false);
}

Result<LocalBlobRef> LocalFiles::open(BlobId blob) {
  if (LocalBlobRef live = find(blob)) return live;
  TARN_ASSIGN(UniqueFd fd, store_.open(blob, O_RDWR | O_NOATIME));
  auto file = std::make_shared<LocalBlob>(shared_from_this(), blob, std::move(fd), true);
  file->note_name_synced();
  return insert(std::move(file), true);
}

Result<UniqueFd> LocalFiles::reopen(BlobId blob, std::string_view kernel_handle) {
  Reader in(kernel_handle);
  const uint32_t type = in.u32();
  const std::string_view bytes = in.rest();
  if (!in.is_ok() || bytes.empty() || bytes.size() > MAX_HANDLE_SZ) {
    return Status(Code::kInvalidArgument,
                  fmt::format("kernel handle of {} bytes is not one", kernel_handle.size()));
  }
  alignas(file_handle) char buffer[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(buffer);
  handle->handle_type = static_cast<int>(type);
  handle->handle_bytes = static_cast<unsigned>(bytes.size());
  std::memcpy(handle->f_handle, bytes.data(), bytes.size());
  UniqueFd fd(::open_by_handle_at(store_.root().directory_fd(), handle, O_RDWR | O_CLOEXEC));
  if (!fd) {
    const Status stale = last_errno(fmt::format("reopen blob {} by its kernel handle", blob.value));
    auto named = store_.open(blob, O_RDWR | O_NOATIME);
    if (!named.is_ok()) return stale;
    return named;
  }
  return fd;
}

Result<LocalBlobRef> LocalFiles::adopt(BlobId blob, std::string_view kernel_handle,
                                       int32_t attachment) {
  if (LocalBlobRef live = find(blob)) return live;
  UniqueFd fd = holder_ != nullptr ? holder_->take(blob) : UniqueFd();
  const bool is_held = static_cast<bool>(fd);
  if (!is_held) {
    TARN_ASSIGN(fd, reopen(blob, kernel_handle));
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return last_errno("fstat of a reopened blob");
  auto file =
      std::make_shared<LocalBlob>(shared_from_this(), blob, std::move(fd), info.st_nlink > 0);
  file->set_attachment(attachment);
  if (is_held) file->set_held();
  return insert(std::move(file), false);
}

LocalBlobRef LocalFiles::find(BlobId blob) {
  MutexLock lock(mutex_);
  auto at = live_.find(blob);
  return at == live_.end() ? nullptr : at->second.lock();
}

std::vector<LocalBlobRef> LocalFiles::written() {
  std::vector<LocalBlobRef> found;
  std::vector<LocalBlobRef> others;  // must not be destroyed under the lock
  MutexLock lock(mutex_);
  for (const auto& [blob, weak] : live_) {
    LocalBlobRef file = weak.lock();
    if (!file) continue;
    (file->has_writer() ? found : others).push_back(std::move(file));
  }
  lock.unlock();
  return found;
}

void LocalFiles::forget(BlobId blob) {
  LocalBlobRef dropped;
  MutexLock lock(mutex_);
  auto at = kept_at_.find(blob);
  if (at == kept_at_.end()) return;
  dropped = std::move(*at->second);
  kept_.erase(at->second);
  kept_at_.erase(at);
  lock.unlock();
}

void LocalFiles::close_cache() {
  std::list<LocalBlobRef> dropped;
  MutexLock lock(mutex_);
  dropped.swap(kept_);
  kept_at_.clear();
  lock.unlock();
}

std::vector<BlobId> LocalFiles::take_abandoned() {
  MutexLock lock(mutex_);
  return std::exchange(abandoned_, {});
}

void LocalFiles::remove(BlobId blob, bool is_abandoned) {
  MutexLock lock(mutex_);
  if (is_abandoned) abandoned_.push_back(blob);
  auto at = live_.find(blob);
  if (at != live_.end() && at->second.expired()) live_.erase(at);
}

}  // namespace tarn::content
