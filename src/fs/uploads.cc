#include "fs/uploads.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/coding.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "digest/crc.h"
#include "fs/file_system.h"
#include "fs/object_support.h"
#include "fs/staging.h"

namespace tarn::fs {
namespace {

// Attributes of an upload's directory. Nobody but this file sees them.
constexpr std::string_view kBucket = "upload.bucket", kKey = "upload.key", kUid = "upload.uid",
                           kDone = "upload.done";

std::string id_of(Ino ino) {
  return fmt::format("{:016x}", ino.value);
}

std::string part_name(uint32_t number) {
  return fmt::format("{:05}", number);
}

Status no_upload(std::string_view id) {
  return Status(
      Code::kNotFound,
      fmt::format("no upload '{}' of this key: it was completed, aborted or never begun", id));
}

/// One part's pieces at the end of an object's.
Status append_pieces(const meta::InodeRow& part, content::Pieces& pieces) {
  if (part.size == 0) return {};
  TARN_ASSIGN(content::Descriptor descriptor, content::decode(part.content));
  if (const auto* blob = std::get_if<content::WholeBlob>(&descriptor)) {
    pieces.pieces.push_back({blob->blob, false, 0, part.size});
  } else if (const auto* slice = std::get_if<content::Slice>(&descriptor)) {
    pieces.pieces.push_back({slice->blob, slice->is_pack, slice->offset, slice->length});
  } else if (const auto* several = std::get_if<content::Pieces>(&descriptor)) {
    pieces.pieces.insert(pieces.pieces.end(), several->pieces.begin(), several->pieces.end());
  } else {
    return Status(Code::kCorrupt, fmt::format("part {} has no bytes of its own", part.name));
  }
  return {};
}

content::Descriptor joined(content::Pieces pieces, const std::vector<meta::InodeRow>& parts) {
  if (pieces.pieces.empty()) return content::Empty{};
  if (pieces.pieces.size() > 1) return pieces;
  // One piece: as its part had it.
  const content::Piece& piece = pieces.pieces.front();
  const auto owner =
      std::ranges::find_if(parts, [](const meta::InodeRow& part) { return part.size > 0; });
  auto descriptor = content::decode(owner->content);
  if (descriptor.is_ok()) return std::move(*descriptor);
  return content::Slice{piece.blob, piece.is_pack, piece.offset, piece.length};
}

/// The CRC of all parts from each one's; empty when one is not known.
std::string joined_crc(const std::vector<meta::InodeRow>& parts) {
  uint64_t crc = 0;
  for (const meta::InodeRow& part : parts) {
    if (part.digests.crc64nvme.size() != 8) return {};
    crc = digest::crc64nvme_combine(crc, read_be64(part.digests.crc64nvme), part.size);
  }
  std::string bytes;
  append_be64(bytes, crc);
  return bytes;
}

}  // namespace

bool is_upload(kv::Transaction& txn, Ino staging) {
  return meta::get_xattr(txn, staging, kBucket).is_ok() &&
         !meta::get_xattr(txn, staging, kDone).is_ok();
}

Result<std::string> Uploads::create(const Caller& caller, std::string_view bucket,
                                    std::string_view key, const Metadata& metadata) {
  TARN_TRY(check_key(key));
  if (key.ends_with('/')) {
    return Status(Code::kInvalidArgument,
                  fmt::format("key '{}' ends in '/': it is a directory and has no parts", key));
  }
  auto& fs = static_cast<FileSystemImpl&>(fs_);
  ObjectSupport support(fs_);
  TARN_ASSIGN(uint64_t number, fs.inode_ids_->next());
  meta::NewInode directory;
  directory.ino = Ino(number);
  directory.mode = S_IFDIR | 0700;
  directory.xattrs = {{std::string(kBucket), std::string(bucket)},
                      {std::string(kKey), std::string(key)},
                      {std::string(kUid), std::to_string(caller.uid)}};
  for (const auto& [name, value] : metadata) {
    directory.xattrs.emplace_back(std::string(kMetadataPrefix) + name, value);
  }
  TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
    TARN_TRY(support.bucket(txn, caller, bucket, X_OK));
    return detail::as_status(meta::create(txn, fs.context(Caller{}), meta::kStagingIno,
                                          std::to_string(number), directory));
  }));
  TARN_TRY(fs.store().sync(stamp));
  return id_of(directory.ino);
}

Result<Ino> Uploads::locate(kv::Transaction& txn, const Caller& caller, const Name& name) {
  uint64_t number = 0;
  const char* end = name.id.data() + name.id.size();
  const auto [stop, error] = std::from_chars(name.id.data(), end, number, 16);
  if (name.id.size() != 16 || error != std::errc{} || stop != end) return no_upload(name.id);
  const Ino ino(number);
  auto bucket = meta::get_xattr(txn, ino, kBucket);
  auto key = meta::get_xattr(txn, ino, kKey);
  auto uid = meta::get_xattr(txn, ino, kUid);
  const bool is_this =
      bucket.is_ok() && key.is_ok() && uid.is_ok() && *bucket == name.bucket && *key == name.key;
  if (!is_this || meta::get_xattr(txn, ino, kDone).is_ok()) return no_upload(name.id);
  if (caller.uid != 0 && *uid != std::to_string(caller.uid)) {
    return Status(Code::kAccessDenied, fmt::format("upload '{}' is another user's", name.id));
  }
  return ino;
}

Result<Uploads::Upload> Uploads::find(const Caller& caller, const Name& name) {
  auto txn = fs_.store().begin();
  TARN_ASSIGN(const Ino ino, locate(*txn, caller, name));
  TARN_ASSIGN(const meta::InodeRow row, meta::get_inode(*txn, ino));
  Upload upload{name, row.btime, caller.uid, {}};
  TARN_ASSIGN(const auto attributes, meta::list_xattrs(*txn, ino));
  for (const std::string& attribute : attributes) {
    if (!attribute.starts_with(kMetadataPrefix)) continue;
    TARN_ASSIGN(std::string value, meta::get_xattr(*txn, ino, attribute));
    upload.metadata.emplace_back(attribute.substr(kMetadataPrefix.size()), std::move(value));
  }
  return upload;
}

Result<Uploads::Part> Uploads::put_part(const Caller& caller, const Name& name, uint32_t number,
                                        const content::Incoming::Done& content,
                                        const Metadata& checksums) {
  auto& fs = static_cast<FileSystemImpl&>(fs_);
  TARN_TRY(fs.content().sync_incoming());
  TARN_ASSIGN(uint64_t inode_number, fs.inode_ids_->next());
  std::optional<meta::InodeRow> replaced;
  meta::NewInode fresh;
  fresh.ino = Ino(inode_number);
  fresh.mode = S_IFREG | 0600;
  fresh.size = content.size;
  fresh.blocks = content.blocks;
  fresh.content = content::encode(content.descriptor);
  fresh.digests = content.digests;
  fresh.etag = ObjectSupport::hex(content.digests.md5);
  fresh.is_s3_written = true;
  for (const auto& [header, value] : checksums) {
    fresh.xattrs.emplace_back(std::string(kMetadataPrefix) + header, value);
  }
  TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
    replaced.reset();
    TARN_ASSIGN(const Ino upload, locate(txn, caller, name));
    const meta::Context context = fs.context(Caller{});
    TARN_ASSIGN(meta::InodeRow made, meta::create_unnamed(txn, context, fresh));
    TARN_TRY(fs.content().attach(txn, made.ino, made.generation, content.descriptor));
    TARN_ASSIGN(meta::Renamed placed,
                meta::place(txn, context, made.ino, upload, part_name(number), true));
    replaced = placed.replaced;
    return {};
  }));
  TARN_KILL_POINT("fs.upload.after_part");
  if (replaced && replaced->nlink == 0) {
    fs.note_unlinked(*replaced);
    fs.forget(replaced->ino);
  }
  TARN_TRY(fs.store().sync(stamp));
  return Part{number, fresh.size, fresh.etag, Clock::system().now(), checksums};
}

Result<std::vector<Uploads::Part>> Uploads::parts(const Caller& caller, const Name& name) {
  auto txn = fs_.store().begin();
  TARN_ASSIGN(const Ino upload, locate(*txn, caller, name));
  std::vector<std::pair<uint32_t, Ino>> found;
  TARN_TRY(meta::read_directory(*txn, upload, "", false, false, [&](const meta::DirectoryEntry& e) {
    found.emplace_back(static_cast<uint32_t>(std::strtoul(e.name.c_str(), nullptr, 10)), e.ino);
    return true;
  }));
  std::vector<Part> parts;
  for (const auto& [number, ino] : found) {
    TARN_ASSIGN(const meta::InodeRow row, meta::get_inode(*txn, ino));
    Part part{number, row.size, row.etag, row.mtime, {}};
    if (row.has_xattrs) {
      TARN_ASSIGN(const auto attributes, meta::list_xattrs(*txn, ino));
      for (const std::string& attribute : attributes) {
        TARN_ASSIGN(std::string value, meta::get_xattr(*txn, ino, attribute));
        part.checksums.emplace_back(attribute.substr(kMetadataPrefix.size()), std::move(value));
      }
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

Result<ObjectInfo> Uploads::complete(const Caller& caller, const Name& name,
                                     const std::vector<Chosen>& chosen, std::string etag,
                                     const PutCondition& condition) {
  auto& fs = static_cast<FileSystemImpl&>(fs_);
  TARN_ASSIGN(Upload upload, find(caller, name));
  PutObject object;
  object.etag = std::move(etag);
  object.metadata = std::move(upload.metadata);
  object.condition = condition;
  Ino ino;
  auto join = [&](kv::Transaction& txn, content::Incoming::Done& content) -> Status {
    TARN_ASSIGN(ino, locate(txn, caller, name));
    std::vector<meta::InodeRow> parts;
    content::Pieces pieces;
    content = {};
    for (const Chosen& choice : chosen) {
      auto part = meta::lookup(txn, ino, part_name(choice.number));
      if (!part.is_ok() || part->etag != choice.etag) {
        return Status(Code::kConflict,
                      fmt::format("part {} is not the one that was chosen", choice.number));
      }
      TARN_TRY(append_pieces(*part, pieces));
      content.size += part->size;
      content.blocks += part->blocks;
      parts.push_back(std::move(*part));
    }
    content.descriptor = joined(std::move(pieces), parts);
    content.digests.crc64nvme = joined_crc(parts);
    const meta::Context context = fs.context(Caller{});
    for (const meta::InodeRow& part : parts) {
      TARN_TRY(meta::unlink(txn, context, ino, part.name));
      TARN_TRY(meta::forget(txn, context, part.ino));
      TARN_ASSIGN(content::Descriptor descriptor, content::decode(part.content));
      TARN_TRY(fs.content().release(txn, part.ino, part.generation, descriptor));
    }
    return meta::set_xattr(txn, context, ino, kDone, "1", meta::XattrMode::kEither);
  };
  TARN_ASSIGN(ObjectInfo info,
              ObjectSupport(fs_).put(caller, name.bucket, name.key, std::move(object), join));
  TARN_KILL_POINT("fs.upload.after_complete");
  // What is left are parts that were not chosen; a restart would remove them, too.
  if (Status removed = remove_staging(fs, ino); !removed.is_ok()) {
    log_warn("fs.upload", "id={} {}", name.id, removed.to_string());
  }
  return info;
}

Status Uploads::abort(const Caller& caller, const Name& name) {
  auto& fs = static_cast<FileSystemImpl&>(fs_);
  Ino ino;
  TARN_TRY(fs.transact([&](kv::Transaction& txn) -> Status {
    TARN_ASSIGN(ino, locate(txn, caller, name));
    return meta::set_xattr(txn, fs.context(Caller{}), ino, kDone, "1", meta::XattrMode::kEither);
  }));
  return remove_staging(fs, ino);
}

Result<std::vector<Uploads::Upload>> Uploads::list(const Caller& caller, std::string_view bucket,
                                                   std::string_view prefix) {
  ObjectSupport support(fs_);
  auto txn = fs_.store().begin();
  TARN_TRY(support.bucket(*txn, caller, bucket, R_OK | X_OK));
  std::vector<std::pair<Ino, TimeNs>> trees;
  TARN_TRY(meta::read_directory(*txn, meta::kStagingIno, "", true, false,
                                [&](const meta::DirectoryEntry& e) {
                                  trees.emplace_back(e.ino, e.attributes ? e.attributes->btime : 0);
                                  return true;
                                }));
  std::vector<Upload> uploads;
  for (const auto& [ino, initiated] : trees) {
    if (!is_upload(*txn, ino)) continue;
    auto of_bucket = meta::get_xattr(*txn, ino, kBucket);
    auto key = meta::get_xattr(*txn, ino, kKey);
    auto uid = meta::get_xattr(*txn, ino, kUid);
    if (!of_bucket.is_ok() || !key.is_ok() || !uid.is_ok() || *of_bucket != bucket) continue;
    if (!key->starts_with(prefix)) continue;
    uploads.push_back({{std::string(bucket), *key, id_of(ino)},
                       initiated,
                       static_cast<uint32_t>(std::strtoul(uid->c_str(), nullptr, 10)),
                       {}});
  }
  std::ranges::sort(uploads, [](const Upload& a, const Upload& b) {
    return std::tie(a.name.key, a.name.id) < std::tie(b.name.key, b.name.id);
  });
  return uploads;
}

}  // namespace tarn::fs
