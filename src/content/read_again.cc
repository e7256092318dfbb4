#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "content/content_impl.h"
#include "digest/md5_lanes.h"

namespace tarn::content {
namespace {

// Up to this length a file is read into memory in one piece; its record is checked on the way.
constexpr uint64_t kWholeBytesMax = limits::kPackedBytesMax;
constexpr size_t kChunkBytes = 256 * limits::kKiB;

/// All of a file as an Md5Pull, through File::read.
class FilePull {
 public:
  FilePull(FileRef file, uint64_t size) : file_(std::move(file)), size_(size) {}

  Result<std::span<const std::byte>> operator()() {
    if (at_ == size_) return std::span<const std::byte>();
    if (!buffer_) {
      buffer_bytes_ = static_cast<size_t>(std::min<uint64_t>(size_, kChunkBytes));
      buffer_ = std::make_unique<std::byte[]>(buffer_bytes_);
    }
    const auto wanted = std::min<uint64_t>(size_ - at_, buffer_bytes_);
    const auto out = std::span(buffer_.get(), static_cast<size_t>(wanted));
    TARN_ASSIGN(const size_t n, file_->read(at_, out));
    if (n == 0)
      return Status(Code::kCorrupt, fmt::format("it ends after {} of {} bytes", at_, size_));
    at_ += n;
    return std::span<const std::byte>(out.first(n));
  }

 private:
  FileRef file_;
  uint64_t size_, at_ = 0;
  size_t buffer_bytes_ = 0;
  std::unique_ptr<std::byte[]> buffer_;
};

Status not_settled(Ino ino) {
  return {Code::kBusy, fmt::format("inode {} is being written", ino.value)};
}

}  // namespace

/// kBusy when the bytes that were read may not have been this row's.
Status ContentImpl::check_unchanged(const meta::InodeRow& row) {
  TARN_ASSIGN(const meta::InodeRow now, meta::get_inode(*store_.begin(), row.ino));
  if (now.state == meta::ContentState::kSettled && now.generation == row.generation) return {};
  return not_settled(row.ino);
}

std::vector<Result<digest::Digest>> ContentImpl::md5_again(std::span<const meta::InodeRow> rows) {
  std::vector<Result<digest::Digest>> found(rows.size(), Status(Code::kInternal, "not read"));
  // Held until all is read: the descriptors of `ranges` are theirs.
  std::vector<FileRef> files;
  std::vector<digest::FileRange> ranges;
  std::vector<size_t> ranged, pulled;
  digest::Md5Lanes lanes;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].state != meta::ContentState::kSettled) {
      found[i] = not_settled(rows[i].ino);
      continue;
    }
    auto file = open_read(rows[i]);
    if (!file.is_ok()) {
      found[i] = file.status();
      continue;
    }
    const uint64_t size = rows[i].size;
    const File::Extent extent = size > kWholeBytesMax ? (*file)->extent(0, size) : File::Extent();
    if (extent.fd >= 0 && extent.length == size) {
      files.push_back(*file);
      ranges.push_back({extent.fd, extent.offset, size});
      ranged.push_back(i);
    } else {
      lanes.submit(FilePull(std::move(*file), size));
      pulled.push_back(i);
    }
  }
  auto by_pull = lanes.finish();
  for (size_t k = 0; k < pulled.size(); ++k) found[pulled[k]] = std::move(by_pull[k]);
  auto by_range = digest::md5_files(ranges);
  for (size_t k = 0; k < ranged.size(); ++k) found[ranged[k]] = std::move(by_range[k]);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Status unchanged = check_unchanged(rows[i]);
    if (!unchanged.is_ok()) found[i] = unchanged;
  }
  return found;
}

Result<meta::Digests> ContentImpl::digests_again(const meta::InodeRow& row, bool with_sha256) {
  if (row.state != meta::ContentState::kSettled) return not_settled(row.ino);
  TARN_ASSIGN(const FileRef file, open_read(row));
  TARN_ASSIGN(ReadDigests read, read_digests(*file, with_sha256));
  TARN_TRY(check_unchanged(row));
  if (read.bytes == row.size) return std::move(read.digests);
  return Status(Code::kCorrupt, fmt::format("it ends after {} of {} bytes", read.bytes, row.size));
}

Result<std::vector<Content::Damage>> ContentImpl::condemn(const meta::InodeRow& row) {
  TARN_ASSIGN(std::vector<Damage> found, reread(row));
  TARN_TRY(check_unchanged(row));
  if (!found.empty()) return found;
  constexpr std::string_view kWhat = "the file does not fit its MD5, though its CRCs do";
  TARN_ASSIGN(const Descriptor descriptor, decode(row.content));
  if (!std::holds_alternative<Empty>(descriptor) && !std::holds_alternative<Inline>(descriptor)) {
    TARN_ASSIGN(const Pieces pieces, flatten(descriptor, row.size));
    for (const Piece& piece : pieces.pieces) {
      if (!piece.blob || piece.length == 0) continue;
      TARN_TRY(note_damage(piece.blob, piece.is_pack, piece.offset, piece.length, kWhat, found));
    }
  }
  if (found.empty()) found.push_back({row.ino, {}, 0, row.size, std::string(kWhat)});
  return found;
}

}  // namespace tarn::content
