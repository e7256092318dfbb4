#include <algorithm>

#include <fmt/format.h>

#include "base/coding.h"
#include "content/content_impl.h"
#include "digest/crc.h"
#include "digest/digest.h"

namespace tarn::content {

Result<ContentImpl::ReadDigests> ContentImpl::read_digests(File& file, bool with_sha256) {
  using digest::Algorithm;
  digest::AlgorithmSet algorithms{Algorithm::kMd5};
  if (with_sha256) algorithms.insert(Algorithm::kSha256);
  digest::MultiDigest digest(algorithms);
  ReadDigests read;
  uint64_t crc = 0;
  std::vector<std::byte> unit(limits::kPieceBytes);
  while (true) {
    if (is_closed_) return Status(Code::kInterrupted, "the content is being closed");
    TARN_ASSIGN(size_t n, file.read(read.bytes, unit));
    if (n == 0) break;
    const auto bytes = std::span<const std::byte>(unit).first(n);
    digest.update(bytes);
    const uint64_t unit_crc = digest::crc64nvme(bytes);
    crc = digest::crc64nvme_combine(crc, unit_crc, n);
    read.unit_crcs.push_back(unit_crc);
    read.bytes += n;
    if (n < unit.size()) break;
  }
  const digest::DigestSet digests = digest.finish();
  read.digests.md5 = as_text(digests[Algorithm::kMd5].bytes());
  append_be64(read.digests.crc64nvme, crc);
  if (with_sha256) read.digests.sha256 = as_text(digests[Algorithm::kSha256].bytes());
  return read;
}

void ContentImpl::put_unit_crcs(kv::Transaction& txn, BlobId blob, const BlobInfo& info,
                                const std::vector<uint64_t>& crcs) {
  txn.put_blind(info_key(blob), encode(info));
  for (size_t begin = 0; begin < crcs.size(); begin += kCrcsPerRow) {
    Writer row;
    for (size_t i = begin; i < std::min(crcs.size(), begin + kCrcsPerRow); ++i) row.u64(crcs[i]);
    txn.put_blind(crc_key(blob, begin / kCrcsPerRow), row.str());
  }
}

Status ContentImpl::store_digests(const meta::InodeRow& row, const ReadDigests& read) {
  auto stored = kv::transact(store_, [&](kv::Transaction& txn) -> Status {
    meta::Context context;
    context.now = Clock::system().now();
    meta::ContentChange change;
    change.digests = read.digests;
    if (read.digests.sha256.empty()) change.digests->sha256 = row.digests.sha256;
    TARN_TRY(meta::set_content(txn, context, row.ino, change, [&](const meta::InodeRow& now) {
      return now.state == meta::ContentState::kSettled && now.generation == row.generation &&
             now.content == row.content;
    }));
    TARN_ASSIGN(Descriptor descriptor, decode(row.content));
    auto* whole = std::get_if<WholeBlob>(&descriptor);
    if (whole == nullptr || read.unit_crcs.empty()) return {};
    BlobInfo info;
    info.has_crcs = true;
    info.size = read.bytes;
    info.ino = row.ino;
    info.generation = row.generation;
    put_unit_crcs(txn, whole->blob, info, read.unit_crcs);
    return {};
  });
  // Overtaken by a writer or a removal: the digests are right for the row that was asked about,
  // whose bytes were read before.
  if (stored.is(Code::kPreconditionFailed) || stored.is(Code::kStale)) return {};
  return stored.status();
}

Result<meta::Digests> ContentImpl::digest(const meta::InodeRow& row, DigestKind wanted) {
  if (row.state != meta::ContentState::kSettled) {
    return Status(Code::kBusy,
                  fmt::format("inode {} is not settled: close its writers and wait for "
                              "a barrier",
                              row.ino.value));
  }
  const meta::Digests& known = row.digests;
  // Members of a plain archive have their MD5 alone: it is enough for who asks for that.
  const std::string& stored = wanted == DigestKind::kMd5         ? known.md5
                              : wanted == DigestKind::kCrc64Nvme ? known.crc64nvme
                                                                 : known.sha256;
  if (!stored.empty()) return known;
  const bool with_sha256 = wanted == DigestKind::kSha256;
  TARN_ASSIGN(FileRef file, open_read(row));
  TARN_ASSIGN(ReadDigests read, read_digests(*file, with_sha256));
  // A writer in place has its mark in the row before it may write the first byte.
  auto now = meta::get_inode(*store_.begin(), row.ino);
  if (!now.is_ok() && !now.is(Code::kStale)) return now.status();
  if (now.is_ok() && (now->state != meta::ContentState::kSettled ||
                      now->generation != row.generation || now->content != row.content)) {
    return Status(Code::kBusy,
                  fmt::format("inode {} was written while its digests were computed: ask again",
                              row.ino.value));
  }
  if (read.bytes != row.size) {
    return Status(Code::kCorrupt, fmt::format("inode {} has {} bytes where its row says {}",
                                              row.ino.value, read.bytes, row.size));
  }
  if (!known.crc64nvme.empty() && known.crc64nvme != read.digests.crc64nvme) {
    return Status(Code::kCorrupt, fmt::format("inode {} does not fit its CRC-64", row.ino.value));
  }
  if (!known.md5.empty() && known.md5 != read.digests.md5) {
    return Status(Code::kCorrupt, fmt::format("inode {} does not fit its MD5", row.ino.value));
  }
  TARN_TRY(store_digests(row, read));
  return read.digests;
}

}  // namespace tarn::content
