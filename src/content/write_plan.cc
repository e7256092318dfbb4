#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/coding.h"
#include "content/content_impl.h"
#include "content/file_blob.h"

namespace tarn::content {
namespace {

/// All bytes come from `own`: nothing of the base shows through its holes.
Status mark_whole(const LocalBlob& own) {
  Writer value;
  value.u64(0);
  if (::fsetxattr(own.fd(), kOverlayXattr, value.str().data(), value.size(), 0) == 0) return {};
  return last_errno("mark a private copy");
}

Status copy_bytes(File& from, int to, uint64_t size, const std::function<bool()>& is_cancelled) {
  std::vector<std::byte> buffer(limits::kPieceBytes);
  uint64_t at = 0;
  while (at < size) {
    if (is_cancelled && is_cancelled()) {
      return Status(Code::kInterrupted, fmt::format("copy stopped at byte {} of {}", at, size));
    }
    auto data = from.seek(at, SEEK_DATA);
    if (data.is(Code::kNoDevice)) break;
    TARN_TRY(data);
    at = *data;
    TARN_ASSIGN(size_t n, from.read(at, buffer));
    if (n == 0) break;
    TARN_TRY(write_at(to, at, std::span(buffer).first(n)));
    at += n;
  }
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) return last_errno("size a private copy");
  return {};
}

}  // namespace

Result<WritePlan> ContentImpl::prepare_write(const meta::InodeRow& row, bool truncate,
                                             const std::function<bool()>& is_cancelled) {
  TARN_ASSIGN(Descriptor old, decode(row.content));
  WritePlan plan;
  if (auto* whole = std::get_if<WholeBlob>(&old)) {
    TARN_ASSIGN(int owners, reverse_.count(*store_.begin(), whole->blob, 2));
    // A new blob is cheaper than truncating one, and keeps the old bytes until the new ones settle.
    if (owners <= 1 && !truncate) {
      TARN_ASSIGN(LocalBlobRef blob, sources_->blob(whole->blob));
      blob->set_writer(true);
      plan.kind = WritePlan::Kind::kInPlace;
      plan.file = make_blob_file(sources_, std::move(blob), true, old);
      return plan;
    }
  }
  if (std::holds_alternative<Remote>(old) || std::holds_alternative<External>(old) ||
      std::holds_alternative<Overlay>(old)) {
    return Status(Code::kNotSupported,
                  fmt::format("inode {} has bytes that cannot be written here", row.ino.value));
  }
  if (truncate) return plan_truncated(row);
  if (row.size <= limits::kCopyInOpenBytesMax) return plan_copy(row, old, is_cancelled, false);
  if (std::holds_alternative<WholeBlob>(old)) {
    auto cloned = plan_copy(row, old, is_cancelled, true);
    if (cloned.is_ok() || !cloned.is(Code::kNotSupported)) return cloned;
  }
  TARN_ASSIGN(LocalFileRef local, take_new());
  auto own = std::static_pointer_cast<LocalBlob>(local);
  TARN_TRY(OverlayFile::prepare(*own, row.size));
  TARN_ASSIGN(auto file, OverlayFile::open(sources_, row.content, row.size, own));
  plan.kind = WritePlan::Kind::kPieces;
  plan.file = std::move(file);
  return plan;
}

Result<WritePlan> ContentImpl::plan_truncated(const meta::InodeRow& row) {
  TARN_ASSIGN(LocalFileRef local, take_new());
  auto own = std::static_pointer_cast<LocalBlob>(local);
  TARN_TRY(mark_whole(*own));
  WritePlan plan;
  plan.kind = WritePlan::Kind::kPrivate;
  plan.file =
      make_blob_file(sources_, own, true, Overlay{row.content, own->blob(), row.size, true});
  return plan;
}

/// `must_clone`: only where the file system clones (FICLONE); kNotSupported otherwise.
Result<WritePlan> ContentImpl::plan_copy(const meta::InodeRow& row, const Descriptor& old,
                                         const std::function<bool()>& is_cancelled,
                                         bool must_clone) {
  TARN_ASSIGN(LocalFileRef local, take_new());
  auto own = std::static_pointer_cast<LocalBlob>(local);
  bool is_cloned = false;
  if (auto* whole = std::get_if<WholeBlob>(&old)) {
    TARN_ASSIGN(LocalBlobRef blob, sources_->blob(whole->blob));
    is_cloned = ::ioctl(own->fd(), FICLONE, blob->fd()) == 0;
  }
  if (!is_cloned) {
    if (must_clone) return Status(Code::kNotSupported, "the file system does not clone files");
    TARN_ASSIGN(FileRef from, open_read(row));
    TARN_TRY(copy_bytes(*from, own->fd(), row.size, is_cancelled));
  }
  TARN_TRY(mark_whole(*own));
  own->set_copy();
  WritePlan plan;
  plan.kind = WritePlan::Kind::kPrivate;
  plan.file =
      make_blob_file(sources_, own, true, Overlay{row.content, own->blob(), row.size, false});
  return plan;
}

}  // namespace tarn::content
