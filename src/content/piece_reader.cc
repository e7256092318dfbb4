#include "content/piece_reader.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace tarn::content {

PieceReader::PieceReader(SourcesRef sources, Pieces pieces)
    : sources_(std::move(sources)), pieces_(std::move(pieces)) {
  for (const Piece& piece : pieces_.pieces) {
    begins_.push_back(size_);
    size_ += piece.length;
    if (piece.blob) pinned_.push_back(piece.blob);
  }
  sources_->pins().pin(pinned_);
}

PieceReader::~PieceReader() {
  sources_->pins().unpin(pinned_);
}

size_t PieceReader::index_of(uint64_t offset) const {
  auto after = std::upper_bound(begins_.begin(), begins_.end(), offset);
  return static_cast<size_t>(after - begins_.begin()) - 1;
}

Status PieceReader::read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty() && offset < size_) {
    const size_t index = index_of(offset);
    const Piece& piece = pieces_.pieces[index];
    const uint64_t within = offset - begins_[index];
    const auto n = static_cast<size_t>(std::min<uint64_t>(out.size(), piece.length - within));
    if (!piece.blob) {
      std::memset(out.data(), 0, n);
    } else {
      TARN_TRY(sources_->damage().check(piece.blob, piece.offset + within, n));
      Status status;
      if (piece.is_pack) {
        TARN_ASSIGN(PackFileRef pack, sources_->pack(piece.blob));
        status = read_exactly_at(pack->fd.get(), piece.offset + within, out.first(n));
      } else {
        TARN_ASSIGN(LocalBlobRef blob, sources_->blob(piece.blob));
        status = read_exactly_at(blob->fd(), piece.offset + within, out.first(n));
      }
      if (!status.is_ok()) {
        return status.with_context(fmt::format("piece of blob {}", piece.blob.value));
      }
    }
    offset += n;
    out = out.subspan(n);
  }
  if (!out.empty()) std::memset(out.data(), 0, out.size());
  return {};
}

void PieceReader::append_range(uint64_t offset, uint64_t length, Pieces& to) const {
  while (length > 0) {
    Piece part;
    if (offset >= size_) {
      part.length = length;
    } else {
      const size_t index = index_of(offset);
      const uint64_t within = offset - begins_[index];
      part = pieces_.pieces[index];
      part.length = std::min(length, part.length - within);
      if (part.blob) part.offset += within;
    }
    offset += part.length;
    length -= part.length;
    if (!to.pieces.empty()) {
      Piece& last = to.pieces.back();
      const bool is_next = part.blob ? last.offset + last.length == part.offset : true;
      if (last.blob == part.blob && last.is_pack == part.is_pack && is_next) {
        last.length += part.length;
        continue;
      }
    }
    to.pieces.push_back(part);
  }
}

uint64_t PieceReader::find(uint64_t offset, bool is_data) const {
  while (offset < size_) {
    const size_t index = index_of(offset);
    if (static_cast<bool>(pieces_.pieces[index].blob) == is_data) return offset;
    offset = begins_[index] + pieces_.pieces[index].length;
  }
  return size_;
}

File::Extent PieceReader::extent(uint64_t offset, uint64_t length) const {
  if (offset >= size_) return {};
  const size_t index = index_of(offset);
  const Piece& piece = pieces_.pieces[index];
  const uint64_t within = offset - begins_[index];
  // A pack's bytes go through read(), which can tell damage.
  if (!piece.blob || piece.is_pack) return {};
  length = std::min(length, piece.length - within);
  if (!sources_->damage().check(piece.blob, piece.offset + within, length).is_ok()) return {};
  auto blob = sources_->blob(piece.blob);
  // The descriptor outlives this call only while the blob is kept open elsewhere.
  if (!blob.is_ok() || blob->use_count() < 2) return {};
  return {(*blob)->fd(), piece.offset + within, length};
}

}  // namespace tarn::content
