#include <sys/stat.h>

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/coding.h"
#include "base/log.h"
#include "content/content_impl.h"
#include "digest/crc.h"

namespace tarn::content {

/// False while the blob's own file is being written in place, or its owner's row says so.
Result<bool> ContentImpl::is_at_rest(BlobId blob, const BlobInfo& info) {
  TARN_ASSIGN(auto now, info_of(blob));
  if (!now || *now != info) return false;
  auto row = meta::get_inode(*store_.begin(), info.ino);
  if (row.is(Code::kStale)) return true;
  TARN_TRY(row);
  if (row->state == meta::ContentState::kSettled) return true;
  TARN_ASSIGN(Descriptor descriptor, decode(row->content));
  auto* whole = std::get_if<WholeBlob>(&descriptor);
  return whole == nullptr || whole->blob != blob;
}

Status ContentImpl::note_damage(BlobId blob, bool is_pack, uint64_t offset, uint64_t length,
                                std::string_view what, std::vector<Damage>& found) {
  sources_->damage().add(blob, {offset, length});
  auto noted = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    Writer value;
    value.varint(length);
    txn.put_blind(damage_key(blob, offset), value.str());
    return {};
  });
  TARN_TRY(noted);
  TARN_ASSIGN(auto owners, reverse_.owners_of(blob, is_pack, offset, length));
  if (owners.empty()) owners.push_back({});
  for (const auto& owner : owners) {
    log_error("content.damage", "blob={} offset={} length={} inode={}: {}", blob.value, offset,
              length, owner.ino.value, what);
    found.push_back({owner.ino, blob, offset, length, std::string(what)});
  }
  return {};
}

/// Compares the units that hold [offset, offset + length) with their stored CRCs.
Status ContentImpl::check_blob_range(BlobId blob, const BlobInfo& info, uint64_t offset,
                                     uint64_t length, std::vector<Damage>& found) {
  const uint64_t end = std::min(info.size, offset + length);
  auto opened = files_->open(blob);
  if (opened.is(Code::kNotFound)) {
    TARN_ASSIGN(bool is_still_there, is_at_rest(blob, info));
    if (!is_still_there) return {};
    TARN_ASSIGN(auto owners, reverse_.owners_of(blob, false, offset, end - offset));
    if (owners.empty()) {
      // A process died between the unlinking and the end of the rows that describe the blob.
      reverse_.suspect(blob);
      return {};
    }
    return note_damage(blob, false, offset, end - offset, "the blob's file is missing", found);
  }
  TARN_TRY(opened);
  const uint64_t unit_bytes = limits::kPieceBytes;
  std::vector<std::byte> unit(unit_bytes);
  std::string crcs;
  uint64_t chunk = UINT64_MAX;
  for (uint64_t i = offset / unit_bytes; i * unit_bytes < end; ++i) {
    if (i / kCrcsPerRow != chunk) {
      chunk = i / kCrcsPerRow;
      TARN_ASSIGN(auto row, store_.begin()->get(crc_key(blob, chunk)));
      crcs = row.value_or("");
    }
    if ((i % kCrcsPerRow + 1) * 8 > crcs.size()) {
      return Status(Code::kCorrupt, fmt::format("blob {} has no CRC of unit {}", blob.value, i));
    }
    Reader in(std::string_view(crcs).substr(i % kCrcsPerRow * 8));
    const uint64_t wanted = in.u64();
    const uint64_t unit_length = std::min(unit_bytes, info.size - i * unit_bytes);
    auto got = read_at((*opened)->fd(), i * unit_bytes, std::span(unit).first(unit_length));
    const bool is_fine = got.is_ok() && *got == unit_length &&
                         digest::crc64nvme(std::span(unit).first(unit_length)) == wanted;
    if (is_fine) continue;
    // A writer may have come between the row and the read.
    TARN_ASSIGN(bool is_still_settled, is_at_rest(blob, info));
    if (!is_still_settled) return {};
    TARN_TRY(note_damage(
        blob, false, i * unit_bytes, unit_length,
        got.is_ok() ? "the bytes do not fit their CRC-64" : "the disk cannot read it", found));
  }
  return {};
}

Status ContentImpl::check_record(BlobId pack, uint64_t offset, uint64_t length,
                                 std::vector<Damage>& found) {
  TARN_ASSIGN(PackFileRef file, sources_->pack(pack));
  auto header = read_header_before(file->fd.get(), offset);
  if (!header.is_ok()) {
    return note_damage(pack, true, offset, length, "the record's header is damaged", found);
  }
  if (!header->has_value()) return {};  // a slice within a record, or a header that scrub reports
  std::string data((*header)->data_bytes, '\0');
  auto read = read_exactly_at(file->fd.get(), offset, std::as_writable_bytes(std::span(data)));
  if (read.is_ok() && digest::crc64nvme(as_bytes(data)) == (*header)->data_crc64) return {};
  return note_damage(pack, true, offset, length, "the record does not fit its CRC-64", found);
}

Result<std::vector<Content::Damage>> ContentImpl::reread(const meta::InodeRow& row) {
  std::vector<Damage> found;
  TARN_ASSIGN(Descriptor descriptor, decode(row.content));
  Pieces pieces;
  if (!std::holds_alternative<Empty>(descriptor) && !std::holds_alternative<Inline>(descriptor)) {
    TARN_ASSIGN(pieces, flatten(descriptor, row.size));
  }
  for (const Piece& piece : pieces.pieces) {
    if (!piece.blob || piece.length == 0) continue;
    if (piece.is_pack) {
      TARN_TRY(check_record(piece.blob, piece.offset, piece.length, found));
      continue;
    }
    TARN_ASSIGN(auto info, info_of(piece.blob));
    if (info && info->has_crcs) {
      TARN_TRY(check_blob_range(piece.blob, *info, piece.offset, piece.length, found));
    }
  }
  if (!found.empty() || row.digests.crc64nvme.empty()) return found;
  // The digest of the whole covers what has no CRC of its own: ranges, and units not computed yet.
  TARN_ASSIGN(FileRef file, open_read(row));
  std::vector<std::byte> buffer(limits::kPieceBytes);
  uint64_t crc = 0, at = 0;
  while (true) {
    TARN_ASSIGN(size_t n, file->read(at, buffer));
    if (n == 0) break;
    crc = digest::crc64nvme(std::span(buffer).first(n), crc);
    at += n;
  }
  std::string bytes;
  append_be64(bytes, crc);
  if (bytes == row.digests.crc64nvme && at == row.size) return found;
  if (pieces.pieces.empty()) {
    found.push_back({row.ino, {}, 0, row.size, "the row's own bytes do not fit their CRC-64"});
  }
  for (const Piece& piece : pieces.pieces) {
    if (!piece.blob) continue;
    found.push_back({row.ino, piece.blob, piece.offset, piece.length,
                     "the file does not fit its CRC-64; the place within it is not known"});
  }
  return found;
}

Status ContentImpl::scrub_blob(BlobId blob, const BlobInfo& info, std::vector<Damage>& found) {
  TARN_ASSIGN(bool is_settled, is_at_rest(blob, info));
  if (!is_settled || !info.has_crcs) return {};
  const size_t before = found.size();
  TARN_TRY(check_blob_range(blob, info, 0, info.size, found));
  return found.size() > before ? Status() : forget_damage(blob);
}

/// It reads well again: a disk that answered badly once is not remembered for ever.
Status ContentImpl::forget_damage(BlobId blob) {
  if (!sources_->damage().has(blob)) return {};
  sources_->damage().clear(blob);
  auto erased = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    return txn.scan(kv::Range::prefix(damage_prefix(blob)),
                    [&](std::string_view key, std::string_view) {
                      txn.erase_blind(key);
                      return true;
                    });
  });
  return erased.status();
}

Status ContentImpl::scrub_pack(BlobId pack, std::vector<Damage>& found) {
  TARN_ASSIGN(auto live, reverse_.records_of(*store_.begin(), pack));
  if (live.empty()) return {};
  const size_t before = found.size();
  auto opened = sources_->pack(pack);
  if (opened.is(Code::kDataLoss)) {
    TARN_ASSIGN(auto info, info_of(pack));
    if (!info) return {};  // dropped meanwhile
    return note_damage(pack, true, 0, info->size, "the pack's file is missing", found);
  }
  TARN_TRY(opened);
  const int fd = (*opened)->fd.get();
  std::string head(kPackHeaderBytes, '\0');
  auto head_read = read_exactly_at(fd, 0, std::as_writable_bytes(std::span(head)));
  if (!head_read.is_ok() || !check_pack_header(head, pack).is_ok()) {
    found.push_back({{}, pack, 0, kPackHeaderBytes, "the pack's header is damaged"});
  }
  std::map<uint64_t, std::pair<uint64_t, bool>> seen;  // data offset -> length, whole
  TARN_TRY(scan_pack(fd, [&](const ScannedRecord& record) {
    seen[record.data_offset] = {record.header.data_bytes, record.is_data_ok};
    return true;
  }));
  for (const PackedOwner& owner : live) {
    auto after = seen.upper_bound(owner.offset);
    const bool has_before = after != seen.begin();
    const auto record = has_before ? std::prev(after) : seen.end();
    const bool is_inside =
        has_before && owner.offset + owner.length <= record->first + record->second.first;
    if (!is_inside) {
      // The header's damage hides the record from a reader of the pack; the row still knows the
      // place.
      found.push_back(
          {owner.ino, pack, owner.offset, owner.length, "the record's header is damaged or gone"});
      log_error("content.damage", "pack={} offset={} inode={}: header damaged", pack.value,
                owner.offset, owner.ino.value);
    } else if (!record->second.second) {
      TARN_TRY(note_damage(pack, true, owner.offset, owner.length,
                           "the record does not fit its CRC-64", found));
    }
  }
  return found.size() > before ? Status() : forget_damage(pack);
}

Result<std::vector<Content::Damage>> ContentImpl::scrub() {
  std::vector<std::pair<BlobId, BlobInfo>> all;
  Status damage;
  TARN_TRY(store_.begin()->scan(kv::Range::prefix(info_prefix()),
                                [&](std::string_view key, std::string_view value) {
                                  auto info = decode_info(value);
                                  if (!info.is_ok()) {
                                    damage = info.status();
                                    return false;
                                  }
                                  all.emplace_back(BlobId(number_of_key(key, 0)), *info);
                                  return true;
                                }));
  TARN_TRY(damage);
  std::vector<Damage> found;
  for (const auto& [id, info] : all) {
    if (is_closed_) return Status(Code::kInterrupted, "the content is being closed");
    TARN_TRY(info.is_pack ? scrub_pack(id, found) : scrub_blob(id, info, found));
  }
  return found;
}

}  // namespace tarn::content
