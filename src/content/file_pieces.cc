#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/coding.h"
#include "content/file_blob.h"
#include "content/kill_points.h"
#include "content/piece_reader.h"
#include "content/read_only_file.h"

namespace tarn::content {
namespace {

constexpr uint64_t kUnit = limits::kPieceBytes;

class PiecesFile final : public ReadOnlyFile {
 public:
  PiecesFile(SourcesRef sources, const Pieces& pieces, FileStat stat)
      : ReadOnlyFile(stat, pieces), reader_(std::move(sources), pieces) {}

  Result<size_t> read(uint64_t offset, std::span<std::byte> out) override {
    const size_t n = clip(offset, out.size());
    if (n > 0) TARN_TRY(reader_.read(offset, out.first(n)));
    return n;
  }
  Result<uint64_t> seek(uint64_t offset, int whence) override {
    TARN_TRY(check_seek(offset));
    const uint64_t found = reader_.find(offset, whence == SEEK_DATA);
    if (found < stat_.size) return found;
    if (whence == SEEK_HOLE) return stat_.size;
    return Status(Code::kNoDevice, fmt::format("no data at or after byte {}", offset));
  }

 private:
  const PieceReader reader_;
};

class OverlayFileImpl final : public OverlayFile {
 public:
  OverlayFileImpl(SourcesRef sources, std::string base, Pieces pieces, LocalBlobRef own,
                  uint64_t limit)
      : sources_(sources),
        base_(std::move(base)),
        reader_(std::move(sources), std::move(pieces)),
        own_(std::move(own)),
        limit_(std::min(limit, reader_.size())),
        is_copied_((reader_.size() + kUnit - 1) / kUnit, false) {}

  Status find_copied();

  Result<size_t> read(uint64_t offset, std::span<std::byte> out) override;
  Result<size_t> write(uint64_t offset, std::span<const std::byte> data) override;
  Status truncate(uint64_t size) override;
  Status allocate(int mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> seek(uint64_t offset, int whence) override;
  Result<FileStat> stat() override;
  Status sync() override { return own_->sync(); }
  Status set_times(std::optional<TimeNs> atime, std::optional<TimeNs> mtime) override {
    return set_file_times(own_->fd(), atime, mtime);
  }
  bool is_writable() const override { return true; }
  LocalFileRef local() const override { return is_whole() ? own_ : nullptr; }
  Descriptor descriptor() const override {
    return Overlay{base_, own_->blob(), reader_.size(), false};
  }
  Extent extent(uint64_t, uint64_t) override { return {}; }
  LocalBlobRef own() const override { return own_; }
  bool is_whole() const override;
  Pieces settled() const override;

 private:
  bool needs_base(uint64_t unit) const { return unit * kUnit < limit_ && !is_copied_[unit]; }
  Result<uint64_t> own_size() const;
  Status write_unit(uint64_t unit, uint64_t offset, std::span<const std::byte> data,
                    uint64_t file_size);
  Status grow(uint64_t from, uint64_t to);
  Status write_zeros(uint64_t offset, uint64_t length);

  const SourcesRef sources_;
  const std::string base_;
  const PieceReader reader_;
  const LocalBlobRef own_;
  // Held over the copy of a unit: readers of the unit must see the old bytes or the new ones.
  mutable Mutex mutex_{"content.overlay", 360};
  uint64_t limit_;  // base bytes at or above are gone (truncated)
  std::vector<bool> is_copied_;
};

Result<uint64_t> OverlayFileImpl::own_size() const {
  TARN_ASSIGN(FileStat stat, own_->stat());
  return stat.size;
}

Status OverlayFileImpl::find_copied() {
  TARN_ASSIGN(uint64_t size, own_size());
  // A unit counts when all of it up to the file's end is data: units are written in one piece, and
  // one that was not finished was not acknowledged.
  uint64_t at = 0;
  while (at < size) {
    const off_t data = ::lseek(own_->fd(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0) break;
    const off_t hole = ::lseek(own_->fd(), data, SEEK_HOLE);
    if (hole < 0) return last_errno("seek the holes of an overlay");
    const auto begin = static_cast<uint64_t>(data), end = static_cast<uint64_t>(hole);
    for (uint64_t unit = (begin + kUnit - 1) / kUnit; unit < is_copied_.size(); ++unit) {
      const uint64_t unit_end = std::min((unit + 1) * kUnit, size);
      if (unit_end > end || unit * kUnit >= end) break;
      is_copied_[unit] = true;
    }
    at = end;
  }
  return {};
}

Result<size_t> OverlayFileImpl::read(uint64_t offset, std::span<std::byte> out) {
  MutexLock lock(mutex_);
  TARN_ASSIGN(uint64_t size, own_size());
  if (offset >= size) return size_t{0};
  const auto total = static_cast<size_t>(std::min<uint64_t>(out.size(), size - offset));
  size_t done = 0;
  while (done < total) {
    const uint64_t at = offset + done;
    const uint64_t unit = at / kUnit;
    const auto n = static_cast<size_t>(std::min<uint64_t>(total - done, (unit + 1) * kUnit - at));
    auto part = out.subspan(done, n);
    if (needs_base(unit)) {
      const size_t from_base =
          at < limit_ ? static_cast<size_t>(std::min<uint64_t>(n, limit_ - at)) : 0;
      TARN_TRY(reader_.read(at, part.first(from_base)));
      std::memset(part.data() + from_base, 0, n - from_base);
    } else {
      TARN_ASSIGN(size_t got, read_at(own_->fd(), at, part));
      std::memset(part.data() + got, 0, n - got);
    }
    done += n;
  }
  return total;
}

Status OverlayFileImpl::write_unit(uint64_t unit, uint64_t offset, std::span<const std::byte> data,
                                   uint64_t file_size) {
  const uint64_t begin = unit * kUnit;
  if (!needs_base(unit)) return write_at(own_->fd(), offset, data);
  TARN_KILL_POINT("content.overlay.before_unit");
  const uint64_t end = std::min(begin + kUnit, std::max(file_size, offset + data.size()));
  std::vector<std::byte> bytes(end - begin);
  const uint64_t base_end = std::min(end, limit_);
  const bool covers_base = offset == begin && offset + data.size() >= base_end;
  if (!covers_base) {
    TARN_TRY(reader_.read(begin, std::span(bytes).first(base_end - begin)));
  }
  std::memcpy(bytes.data() + (offset - begin), data.data(), data.size());
  TARN_TRY(write_at(own_->fd(), begin, bytes));
  is_copied_[unit] = true;
  return {};
}

Status OverlayFileImpl::write_zeros(uint64_t offset, uint64_t length) {
  static constexpr std::byte kZeros[64 * 1024] = {};
  while (length > 0) {
    const uint64_t n = std::min<uint64_t>(length, sizeof kZeros);
    TARN_TRY(write_at(own_->fd(), offset, std::span(kZeros).first(n)));
    offset += n;
    length -= n;
  }
  return {};
}

/// The file grows from `from` to `to` bytes: a copied unit at the old end must stay all data, or a
/// reader of the holes would take it for one that was not finished.
Status OverlayFileImpl::grow(uint64_t from, uint64_t to) {
  const uint64_t unit = from / kUnit;
  if (from % kUnit != 0 && unit < is_copied_.size() && is_copied_[unit]) {
    TARN_TRY(write_zeros(from, std::min(to, (unit + 1) * kUnit) - from));
  }
  if (::ftruncate(own_->fd(), static_cast<off_t>(to)) != 0) return last_errno("grow an overlay");
  return {};
}

Result<size_t> OverlayFileImpl::write(uint64_t offset, std::span<const std::byte> data) {
  MutexLock lock(mutex_);
  TARN_ASSIGN(uint64_t size, own_size());
  if (offset > size) {
    TARN_TRY(grow(size, offset));
    size = offset;
  }
  size_t done = 0;
  while (done < data.size()) {
    const uint64_t at = offset + done;
    const uint64_t unit = at / kUnit;
    const auto n =
        static_cast<size_t>(std::min<uint64_t>(data.size() - done, (unit + 1) * kUnit - at));
    TARN_TRY(write_unit(unit, at, data.subspan(done, n), std::max(size, at)));
    done += n;
  }
  return data.size();
}

Status OverlayFileImpl::truncate(uint64_t size) {
  MutexLock lock(mutex_);
  TARN_ASSIGN(uint64_t old, own_size());
  if (size > old) return grow(old, size);
  if (::ftruncate(own_->fd(), static_cast<off_t>(size)) != 0) {
    return last_errno(fmt::format("truncate an overlay to {}", size));
  }
  if (size < limit_) {
    limit_ = size;
    Writer value;
    value.u64(limit_);
    if (::fsetxattr(own_->fd(), kOverlayXattr, value.str().data(), value.size(), 0) != 0) {
      return last_errno("remember the limit of an overlay");
    }
  }
  return {};
}

Status OverlayFileImpl::allocate(int mode, uint64_t offset, uint64_t length) {
  TARN_ASSIGN(FileStat now, stat());
  const uint64_t end = offset + length;
  const bool keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
  if (kind == 0) {
    if (end <= now.size || keeps_size) return {};
    return truncate(end);
  }
  if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) {
    return Status(Code::kNotSupported,
                  fmt::format("fallocate mode {:#x} on a file that is being copied", mode));
  }
  std::vector<std::byte> zeros(kUnit);
  const uint64_t stop = keeps_size ? std::min(end, now.size) : end;
  while (offset < stop) {
    const uint64_t n = std::min(kUnit - offset % kUnit, stop - offset);
    TARN_TRY(write(offset, std::span(zeros).first(n)));
    offset += n;
  }
  return {};
}

Result<uint64_t> OverlayFileImpl::seek(uint64_t offset, int whence) {
  TARN_ASSIGN(uint64_t size, own_size());
  if (offset >= size) return Status(Code::kNoDevice, "seek past the end of the file");
  return whence == SEEK_DATA ? offset : size;
}

Result<FileStat> OverlayFileImpl::stat() {
  TARN_ASSIGN(FileStat stat, own_->stat());
  stat.blocks = std::max(stat.blocks, (stat.size + 511) / 512);
  return stat;
}

bool OverlayFileImpl::is_whole() const {
  MutexLock lock(mutex_);
  for (uint64_t unit = 0; unit * kUnit < limit_; ++unit) {
    if (!is_copied_[unit]) return false;
  }
  return true;
}

Pieces OverlayFileImpl::settled() const {
  MutexLock lock(mutex_);
  Pieces pieces;
  auto size = own_size();
  if (!size.is_ok()) return pieces;
  PieceReader own(sources_, Pieces{{Piece{own_->blob(), false, 0, *size}}});
  uint64_t at = 0;
  while (at < *size) {
    const uint64_t unit = at / kUnit;
    uint64_t end = std::min((unit + 1) * kUnit, *size);
    if (needs_base(unit)) {
      const uint64_t base_end = std::min(end, limit_);
      reader_.append_range(at, base_end - at, pieces);
      at = base_end;
    }
    own.append_range(at, end - at, pieces);
    at = end;
  }
  return pieces;
}

}  // namespace

FileRef make_pieces_file(SourcesRef sources, const Pieces& pieces, FileStat stat) {
  return std::make_shared<PiecesFile>(std::move(sources), pieces, stat);
}

Result<Pieces> flatten(const Descriptor& base, uint64_t size) {
  if (std::holds_alternative<Empty>(base)) return Pieces{{Piece{{}, false, 0, size}}};
  if (auto* blob = std::get_if<WholeBlob>(&base))
    return Pieces{{Piece{blob->blob, false, 0, size}}};
  if (auto* slice = std::get_if<Slice>(&base)) {
    return Pieces{{Piece{slice->blob, slice->is_pack, slice->offset, slice->length}}};
  }
  if (auto* pieces = std::get_if<Pieces>(&base)) return *pieces;
  return Status(Code::kNotSupported, "this content cannot lie under pieces");
}

Status OverlayFile::prepare(const LocalBlob& own, uint64_t base_size) {
  if (::ftruncate(own.fd(), static_cast<off_t>(base_size)) != 0) {
    return last_errno(fmt::format("size an overlay to {}", base_size));
  }
  Writer value;
  value.u64(base_size);
  if (::fsetxattr(own.fd(), kOverlayXattr, value.str().data(), value.size(), 0) != 0) {
    return last_errno("mark an overlay");
  }
  return {};
}

Result<std::shared_ptr<OverlayFile>> OverlayFile::open(SourcesRef sources, std::string base,
                                                       uint64_t base_size, LocalBlobRef own) {
  std::string value(8, '\0');
  uint64_t limit = base_size;
  if (::fgetxattr(own->fd(), kOverlayXattr, value.data(), value.size()) == 8) {
    limit = Reader(value).u64();
  } else if (errno != ENODATA) {
    return last_errno("read the limit of an overlay");
  }
  Pieces pieces;
  if (limit > 0) {
    TARN_ASSIGN(Descriptor below, decode(base));
    TARN_ASSIGN(pieces, flatten(below, base_size));
  }
  auto file = std::make_shared<OverlayFileImpl>(std::move(sources), std::move(base),
                                                std::move(pieces), std::move(own), limit);
  TARN_TRY(file->find_copied());
  return std::shared_ptr<OverlayFile>(std::move(file));
}

}  // namespace tarn::content
