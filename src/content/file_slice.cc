#include <cstring>

#include <fmt/format.h>
#include <unistd.h>

#include "content/files.h"
#include "content/pack.h"
#include "content/read_only_file.h"
#include "digest/crc.h"

namespace tarn::content {
namespace {

class SliceFile final : public ReadOnlyFile {
 public:
  SliceFile(SourcesRef sources, LocalBlobRef blob, PackFileRef pack, const Slice& slice,
            FileStat stat)
      : ReadOnlyFile(stat, slice),
        sources_(std::move(sources)),
        blob_(std::move(blob)),
        pack_(std::move(pack)),
        slice_(slice),
        is_checked_(!slice.is_pack) {}

  Result<size_t> read(uint64_t offset, std::span<std::byte> out) override {
    const size_t n = clip(offset, out.size());
    if (n == 0) return size_t{0};
    TARN_TRY(check_record());
    const size_t stored = offset < slice_.length
                              ? static_cast<size_t>(std::min<uint64_t>(n, slice_.length - offset))
                              : 0;
    if (stored > 0) {
      TARN_TRY(sources_->damage().check(slice_.blob, slice_.offset + offset, stored));
      auto status = read_exactly_at(fd(), slice_.offset + offset, out.first(stored));
      if (!status.is_ok()) return status.with_context(name());
    }
    std::memset(out.data() + stored, 0, n - stored);
    return n;
  }

  Result<uint64_t> seek(uint64_t offset, int whence) override {
    TARN_TRY(check_seek(offset));
    return whence == SEEK_DATA ? offset : stat_.size;
  }

  Extent extent(uint64_t offset, uint64_t length) override {
    const uint64_t end = std::min(stat_.size, slice_.length);
    if (offset >= end || !check_record().is_ok()) return {};
    length = std::min(length, end - offset);
    if (!sources_->damage().check(slice_.blob, slice_.offset + offset, length).is_ok()) return {};
    return {fd(), slice_.offset + offset, length};
  }

 private:
  int fd() const { return slice_.is_pack ? pack_->fd.get() : blob_->fd(); }
  std::string name() const {
    return fmt::format("{} {} bytes {}+{}", slice_.is_pack ? "pack" : "blob", slice_.blob.value,
                       slice_.offset, slice_.length);
  }

  /// The whole record is read and compared once; later reads trust the page cache.
  Status check_record() {
    if (is_checked_.load(std::memory_order_acquire)) return {};
    auto header = read_header_before(fd(), slice_.offset);
    if (!header.is_ok()) return header.status().with_context(name());
    if (header->has_value() && (*header)->data_bytes == slice_.length) {
      std::string data(slice_.length, '\0');
      auto status = read_exactly_at(fd(), slice_.offset, std::as_writable_bytes(std::span(data)));
      if (!status.is_ok()) return status.with_context(name());
      if (digest::crc64nvme(as_bytes(data)) != (*header)->data_crc64) {
        return Status(Code::kCorrupt, fmt::format("{}: the bytes do not fit their CRC", name()));
      }
    } else if (header->has_value() && (*header)->data_bytes < slice_.length) {
      return Status(Code::kCorrupt,
                    fmt::format("{}: the record has only {} bytes", name(), (*header)->data_bytes));
    }
    is_checked_.store(true, std::memory_order_release);
    return {};
  }

  const SourcesRef sources_;
  const LocalBlobRef blob_;
  const PackFileRef pack_;
  const Slice slice_;
  std::atomic<bool> is_checked_;
};

}  // namespace

Result<FileRef> make_slice_file(SourcesRef sources, const Slice& slice, FileStat stat) {
  LocalBlobRef blob;
  PackFileRef pack;
  if (slice.is_pack) {
    TARN_ASSIGN(pack, sources->pack(slice.blob));
  } else {
    TARN_ASSIGN(blob, sources->blob(slice.blob));
  }
  return FileRef(std::make_shared<SliceFile>(std::move(sources), std::move(blob), std::move(pack),
                                             slice, stat));
}

}  // namespace tarn::content
