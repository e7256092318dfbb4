#include "content/content.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include "base/log.h"
#include "content/content_impl.h"
#include "content/file_blob.h"

namespace tarn::content {

Result<std::unique_ptr<Content>> Content::open(Root& root, kv::Store& store, ContentOptions options,
                                               bool is_take_over) {
  auto content = std::make_unique<ContentImpl>(root, store, options);
  TARN_TRY(content->start(is_take_over));
  return std::unique_ptr<Content>(std::move(content));
}

ContentImpl::ContentImpl(Root& root, kv::Store& store, ContentOptions options)
    : root_(root),
      store_(store),
      options_(options),
      blobs_(root),
      ids_(store, meta::IdAllocator::Kind::kBlob),
      files_(std::make_shared<LocalFiles>(blobs_, ids_, options.attacher, options.holder)),
      sources_(std::make_shared<Sources>(files_)),
      packs_(blobs_, ids_),
      reverse_(store, sources_, packs_) {}

ContentImpl::~ContentImpl() {
  if (!is_closed_) {
    if (auto status = close(); !status.is_ok()) {
      log_error("content.close", "{}", status.to_string());
    }
  }
  sources_->close_cache();
}

Status ContentImpl::start(bool is_take_over) {
  TARN_TRY(load_damage());
  if (!is_take_over) TARN_TRY(recover());
  pool_ = std::make_unique<Pool>(files_, options_.pool_files);
  if (options_.has_background) {
    barrier_thread_ = std::thread([this] { background(); });
    chore_thread_ = std::thread([this] { maintain(); });
  }
  return {};
}

Status ContentImpl::close() {
  if (is_closed_.exchange(true)) return {};
  {
    MutexLock lock(barrier_mutex_);
    is_stopping_ = true;
    barrier_wake_.notify_all();
  }
  {
    MutexLock lock(chore_mutex_);
    chores_.clear();
    chore_wake_.notify_all();
  }
  if (barrier_thread_.joinable()) barrier_thread_.join();
  if (chore_thread_.joinable()) chore_thread_.join();
  if (pool_) pool_->stop();
  Status status = join_barrier(true);
  // A second round, since the first released what the settling of the first replaced.
  if (status.is_ok()) status = join_barrier(true);
  return status;
}

Result<LocalFileRef> ContentImpl::take_new() {
  TARN_TRY(root_.check_may_write());
  TARN_ASSIGN(LocalBlobRef file, pool_->take());
  file->set_writer(true);
  return LocalFileRef(std::move(file));
}

FileRef ContentImpl::open_new(LocalFileRef file) {
  auto blob = std::static_pointer_cast<LocalBlob>(file);
  return make_blob_file(sources_, blob, true, WholeBlob{blob->blob()});
}

Result<FileRef> ContentImpl::open_read(const meta::InodeRow& row) {
  TARN_ASSIGN(Descriptor descriptor, decode(row.content));
  const FileStat stat = stat_of_row(row);
  if (std::holds_alternative<Empty>(descriptor)) return make_memory_file({}, stat, descriptor);
  if (auto* bytes = std::get_if<Inline>(&descriptor)) {
    return make_memory_file(bytes->bytes, stat, descriptor);
  }
  if (auto* whole = std::get_if<WholeBlob>(&descriptor)) {
    auto blob = sources_->blob(whole->blob);
    if (!blob.is_ok()) return blob.status().with_context(fmt::format("inode {}", row.ino.value));
    return make_blob_file(sources_, std::move(blob).value(), false, descriptor);
  }
  if (auto* slice = std::get_if<Slice>(&descriptor)) return make_slice_file(sources_, *slice, stat);
  if (auto* pieces = std::get_if<Pieces>(&descriptor)) {
    return make_pieces_file(sources_, *pieces, stat);
  }
  if (auto* overlay = std::get_if<Overlay>(&descriptor)) {
    return open_overlay_for_read(row, *overlay);
  }
  return Status(Code::kNotSupported,
                fmt::format("inode {} has bytes that are not on this machine", row.ino.value));
}

Result<FileRef> ContentImpl::open_overlay_for_read(const meta::InodeRow& row,
                                                   const Overlay& overlay) {
  TARN_ASSIGN(LocalBlobRef own, sources_->blob(overlay.blob));
  TARN_ASSIGN(Descriptor base, decode(overlay.base));
  if (std::holds_alternative<Inline>(base)) {
    return make_blob_file(sources_, std::move(own), false, Descriptor(overlay));
  }
  TARN_ASSIGN(auto file, OverlayFile::open(sources_, overlay.base, overlay.base_size, own));
  if (!file->is_whole()) return make_pieces_file(sources_, file->settled(), stat_of_row(row));
  return make_blob_file(sources_, std::move(own), false, Descriptor(overlay));
}

Result<LocalFileRef> ContentImpl::adopt(BlobId blob, std::string_view kernel_handle,
                                        int32_t attachment, bool has_writer) {
  TARN_ASSIGN(auto info, info_of(blob));
  TARN_ASSIGN(LocalBlobRef file, files_->adopt(blob, kernel_handle, attachment));
  file->set_fresh(!info.has_value());
  file->set_writer(has_writer);
  return LocalFileRef(std::move(file));
}

Result<FileRef> ContentImpl::reopen_for_write(const meta::InodeRow& row, LocalFileRef local) {
  auto own = std::static_pointer_cast<LocalBlob>(local);
  own->set_writer(true);
  TARN_ASSIGN(Descriptor descriptor, decode(row.content));
  if (auto* whole = std::get_if<WholeBlob>(&descriptor); whole && whole->blob == own->blob()) {
    return make_blob_file(sources_, own, true, descriptor);
  }
  auto* overlay = std::get_if<Overlay>(&descriptor);
  if (overlay == nullptr || overlay->blob != own->blob()) {
    return Status(Code::kStale, fmt::format("inode {} does not name blob {} any more",
                                            row.ino.value, own->blob().value));
  }
  TARN_ASSIGN(Descriptor base, decode(overlay->base));
  if (!std::holds_alternative<Inline>(base)) {
    TARN_ASSIGN(auto file, OverlayFile::open(sources_, overlay->base, overlay->base_size, own));
    if (!file->is_whole()) return FileRef(std::move(file));
  }
  return make_blob_file(sources_, own, true, descriptor);
}

Status ContentImpl::ensure_named(const LocalFileRef& file, bool durable) {
  return std::static_pointer_cast<LocalBlob>(file)->ensure_named(durable);
}

TicketRef ContentImpl::submit_closed(ClosedFile closed) {
  uint64_t bytes = 0;
  if (auto stat = closed.file->stat(); stat.is_ok()) bytes = stat->size;
  LocalBlobRef backing = backing_of(closed.file);
  auto ticket = std::make_shared<TicketImpl>(std::move(closed), [this] { kick(); });
  if (queue_.push(ticket, bytes, options_.has_background)) kick();
  // In this order a barrier meets the file at least once: among the written ones or in the queue.
  if (backing) backing->set_writer(false);
  return ticket;
}

Status ContentImpl::attach(kv::Transaction& txn, Ino ino, Generation generation,
                           const Descriptor& descriptor) {
  TARN_TRY(reverse_.attach(txn, ino, generation, descriptor));
  if (std::holds_alternative<Inline>(descriptor)) {
    MutexLock lock(inline_mutex_);
    inline_rows_.push_back(ino);
  } else if (auto* whole = std::get_if<WholeBlob>(&descriptor)) {
    MutexLock lock(incoming_mutex_);
    auto at = incoming_crcs_.find(whole->blob);
    if (at == incoming_crcs_.end()) return {};
    BlobInfo info;
    info.has_crcs = true;
    info.size = at->second.first;
    info.ino = ino;
    info.generation = generation;
    const std::vector<uint64_t> crcs = at->second.second;
    lock.unlock();
    put_unit_crcs(txn, whole->blob, info, crcs);
  }
  return {};
}

Status ContentImpl::release(kv::Transaction& txn, Ino ino, Generation,
                            const Descriptor& descriptor) {
  return reverse_.release(txn, ino, descriptor);
}

void ContentImpl::released(Stamp) {
  reverse_.note_committed();
}

Result<int> ContentImpl::owners(kv::Transaction& txn, BlobId blob) {
  return reverse_.count(txn, blob, 2);
}

Result<std::optional<BlobInfo>> ContentImpl::info_of(BlobId blob) {
  TARN_ASSIGN(auto row, store_.begin()->get(info_key(blob)));
  if (!row) return std::optional<BlobInfo>();
  TARN_ASSIGN(BlobInfo info, decode_info(*row));
  return std::optional(info);
}

Result<std::vector<Content::PackUse>> ContentImpl::packs() {
  std::vector<PackUse> uses;
  Status damage;
  TARN_TRY(store_.begin()->scan(
      kv::Range::prefix(info_prefix()), [&](std::string_view key, std::string_view value) {
        auto info = decode_info(value);
        if (!info.is_ok()) damage = info.status();
        if (info.is_ok() && info->is_pack) {
          uses.push_back(
              {BlobId(number_of_key(key, 0)), info->size, info->live_bytes, info->live_records});
        }
        return damage.is_ok();
      }));
  TARN_TRY(damage);
  return uses;
}

Content::Report ContentImpl::report() {
  Report report;
  auto status = store_.begin()->scan(kv::Range::prefix(info_prefix()),
                                     [&](std::string_view, std::string_view value) {
                                       auto info = decode_info(value);
                                       if (!info.is_ok()) return true;
                                       ++(info->is_pack ? report.packs : report.blobs);
                                       return true;
                                     });
  if (!status.is_ok()) log_warn("content.report", "{}", status.to_string());
  report.pool_ready = pool_ ? pool_->ready() : 0;
  report.queued = queue_.size();
  report.dropped_at_recovery = dropped_;
  report.recovered = recovered_;
  report.bytes_written = packs_.bytes_written() + blob_bytes_;
  return report;
}

Identity identity_of(const meta::InodeRow& row, Generation generation) {
  Identity id;
  id.ino = row.ino;
  id.generation = generation;
  id.parent = row.parent;
  id.name = row.name;
  id.mode = row.mode;
  id.uid = row.uid;
  id.gid = row.gid;
  id.mtime = row.mtime;
  id.ctime = row.ctime;
  id.btime = row.btime;
  return id;
}

std::string opaque_etag(Ino ino, Generation generation, uint64_t size, TimeNs ctime) {
  // Mixes as splitmix64 does: it must differ whenever the bytes may, and need not be secret.
  uint64_t state = 0;
  auto mix = [&](uint64_t v) {
    state += v + 0x9E3779B97F4A7C15ull;
    uint64_t z = state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return state = z ^ z >> 31;
  };
  mix(ino.value);
  mix(generation.value);
  const uint64_t high = mix(size);
  const uint64_t low = mix(static_cast<uint64_t>(ctime));
  return fmt::format("{:016x}{:016x}-1", high, low);
}

std::string md5_hex(std::string_view md5) {
  std::string hex;
  for (char c : md5) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

}  // namespace tarn::content
