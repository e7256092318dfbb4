#include "fs/objects.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/kill_point.h"
#include "base/log.h"
#include "fs/file_system.h"
#include "fs/object_support.h"

namespace tarn::fs {
namespace {

Status not_found(std::string_view bucket, std::string_view key) {
  return Status(Code::kNotFound, fmt::format("no key '{}' in bucket '{}'", key, bucket));
}

/// The access ACL of the object that is replaced goes to the new inode (its metadata does not).
Status inherit_replaced(kv::Transaction& txn, const meta::InodeRow& old, meta::NewInode& fresh) {
  fresh.uid = old.uid;
  fresh.gid = old.gid;
  fresh.mode = S_IFREG | (old.mode & 0777u);  // set-id bits are cleared
  auto acl = meta::get_xattr(txn, old.ino, kAclAccess);
  if (acl.is(Code::kNoAttribute)) return {};
  if (!acl.is_ok()) return acl.status();
  fresh.xattrs.emplace_back(kAclAccess, *acl);
  return {};
}

Status check_condition(const PutCondition& condition, const std::optional<ObjectInfo>& current) {
  if (condition.if_none_match && current) {
    if (*condition.if_none_match == "*" || *condition.if_none_match == current->etag) {
      return Status(Code::kPreconditionFailed, "the key exists (If-None-Match)");
    }
  }
  if (condition.if_match) {
    if (!current) return Status(Code::kNotFound, "no such key (If-Match)");
    if (*condition.if_match != "*" && *condition.if_match != current->etag) {
      return Status(Code::kPreconditionFailed,
                    fmt::format("the key's ETag is {} (If-Match asked for {})", current->etag,
                                *condition.if_match));
    }
  }
  return {};
}

}  // namespace

Status check_bucket_name(std::string_view name) {
  auto bad = [&](std::string_view why) {
    return Status(Code::kInvalidArgument, fmt::format("bucket name '{}': {}", name, why));
  };
  if (name.size() < 3 || name.size() > 63) return bad("it must have 3 to 63 characters");
  auto is_edge = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  for (char c : name) {
    if (!is_edge(c) && c != '.' && c != '-') {
      return bad("only lower-case letters, digits, '.' and '-' are allowed");
    }
  }
  if (!is_edge(name.front()) || !is_edge(name.back())) {
    return bad("it must begin and end with a letter or digit");
  }
  if (name.find("..") != std::string_view::npos) return bad("two dots may not be adjacent");
  if (name.starts_with("xn--")) return bad("it may not begin with 'xn--'");
  const bool is_address = std::count(name.begin(), name.end(), '.') == 3 &&
                          name.find_first_not_of("0123456789.") == std::string_view::npos;
  if (is_address) return bad("it may not look like an IP address");
  return {};
}

Status check_key(std::string_view key) {
  auto bad = [&](std::string_view why) {
    return Status(Code::kInvalidArgument,
                  fmt::format("key '{}' cannot be a path: {}", key.substr(0, 200), why));
  };
  if (key.empty()) return bad("it is empty");
  if (key.size() > 1024) return Status(Code::kNameTooLong, "a key has at most 1024 bytes");
  if (key.find('\0') != std::string_view::npos) return bad("it holds a NUL byte");
  std::string_view rest = key;
  if (rest.ends_with('/')) rest.remove_suffix(1);
  while (true) {
    const size_t slash = rest.find('/');
    const std::string_view segment = rest.substr(0, slash);
    if (segment.empty()) return bad("a segment between slashes is empty");
    if (segment == "." || segment == "..") return bad("a segment is '.' or '..'");
    if (segment.size() > limits::kNameBytesMax) return bad("a segment has more than 255 bytes");
    if (slash == std::string_view::npos) return {};
    rest.remove_prefix(slash + 1);
  }
}

std::string ObjectSupport::hex(std::string_view bytes) {
  std::string text;
  for (char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

ObjectSupport::ObjectSupport(FileSystem& fs) : fs_(static_cast<FileSystemImpl&>(fs)) {}

Result<meta::InodeRow> ObjectSupport::bucket(kv::Transaction& txn, const Caller& caller,
                                             std::string_view name, uint32_t wanted) {
  auto row = meta::lookup(txn, kRootIno, name);
  if (row.is(Code::kNotFound) || (row.is_ok() && !row->is_directory())) {
    return Status(Code::kNotFound, fmt::format("no bucket '{}'", name));
  }
  if (!row.is_ok()) return row.status();
  TARN_TRY(fs_.check_access(txn, caller, *row, wanted));
  return *row;
}

Result<meta::InodeRow> ObjectSupport::resolve(kv::Transaction& txn, const Caller& caller,
                                              std::string_view bucket_name, std::string_view key) {
  TARN_ASSIGN(meta::InodeRow at, bucket(txn, caller, bucket_name, X_OK));
  std::string_view rest = key;
  const bool is_folder = rest.ends_with('/');
  if (is_folder) rest.remove_suffix(1);
  while (true) {
    const size_t slash = rest.find('/');
    const std::string_view segment = rest.substr(0, slash);
    const bool is_last = slash == std::string_view::npos;
    auto next = meta::lookup(txn, at.ino, segment, is_last && !is_folder);
    if (next.is(Code::kNotFound)) return not_found(bucket_name, key);
    if (!next.is_ok()) return next.status();
    if (is_last) {
      if (next->is_directory() != is_folder) return not_found(bucket_name, key);
      // A directory that only deeper keys made is no object.
      if (is_folder && next->origin == meta::Origin::kImplied) return not_found(bucket_name, key);
      if (!is_folder && !next->is_regular()) return not_found(bucket_name, key);
      return *next;
    }
    if (!next->is_directory()) return not_found(bucket_name, key);
    TARN_TRY(fs_.check_access(txn, caller, *next, X_OK));
    at = *next;
    rest.remove_prefix(slash + 1);
  }
}

std::string ObjectSupport::etag_of(const meta::InodeRow& row, const Attributes& live) {
  if (live.is_settled && !row.etag.empty()) return row.etag;
  if (live.is_settled && !row.digests.md5.empty()) return hex(row.digests.md5);
  // Opaque, and different after any change of the bytes.
  return fmt::format("{:08x}{:08x}{:016x}-1", row.ino.value, live.generation.value,
                     live.size ^ static_cast<uint64_t>(live.ctime));
}

Result<ObjectInfo> ObjectSupport::info(kv::Transaction& txn, const meta::InodeRow& row,
                                       uint64_t epoch, bool with_metadata) {
  ObjectInfo info;
  info.is_folder = row.is_directory();
  TARN_ASSIGN(info.attributes, fs_.live_attributes(row, epoch));
  if (info.is_folder) {
    info.attributes.size = 0;
    info.etag = "d41d8cd98f00b204e9800998ecf8427e";  // of no bytes
  } else {
    info.etag = etag_of(row, info.attributes);
    if (info.attributes.is_settled) info.digests = row.digests;
    info.is_as_put = info.attributes.is_settled && is_as_put(row);
  }
  if (!with_metadata) return info;
  TARN_ASSIGN(auto names, meta::list_xattrs(txn, row.ino));
  for (const std::string& name : names) {
    if (!name.starts_with(kMetadataPrefix)) continue;
    TARN_ASSIGN(std::string value, meta::get_xattr(txn, row.ino, name));
    info.metadata.emplace_back(name.substr(kMetadataPrefix.size()), std::move(value));
  }
  return info;
}

Result<Ino> ObjectSupport::make_parents(kv::Transaction& txn, const Caller& caller,
                                        const meta::InodeRow& bucket_row,
                                        const std::vector<std::string>& segments,
                                        std::vector<uint64_t>& spare_numbers) {
  meta::InodeRow at = bucket_row;
  size_t used = 0;
  bool is_fresh = false;
  for (const std::string& segment : segments) {
    auto next = is_fresh ? Result<meta::InodeRow>(Code::kNotFound, "new directory")
                         : meta::lookup(txn, at.ino, segment);
    if (!next.is_ok() && !next.is(Code::kNotFound)) return next.status();
    if (next.is_ok() && next->is_directory()) {
      TARN_TRY(fs_.check_access(txn, caller, *next, X_OK));
      at = *next;
      continue;
    }
    meta::NewInode directory;
    directory.twin = meta::Twin::kRefuse;
    if (next.is_ok()) {
      // A file stands where the key needs a directory: it may hide if it is S3's and nobody has it
      // open.
      if (!is_as_put(*next) || fs_.is_in_use(next->ino)) {
        return Status(Code::kConflict, fmt::format("'{}' is a file{}", segment,
                                                   is_as_put(*next) ? " that is open" : ""));
      }
      directory.twin = meta::Twin::kHide;
    }
    if (used == spare_numbers.size()) {
      TARN_ASSIGN(uint64_t number, fs_.inode_ids_->next());
      spare_numbers.push_back(number);
    }
    directory.ino = Ino(spare_numbers[used++]);
    directory.mode = S_IFDIR | 0777;
    directory.origin = meta::Origin::kImplied;
    if (is_fresh) {
      // The parent is of this transaction and the caller's own.
      directory.uid = caller.uid;
      directory.gid = at.mode & S_ISGID ? at.gid : caller.gid;
      directory.mode = S_IFDIR | (0777u & ~caller.umask) | (at.mode & S_ISGID);
    } else {
      TARN_TRY(fs_.inherit(txn, caller, at.ino, directory));
    }
    TARN_ASSIGN(at, meta::create(txn, s3_context(), at.ino, segment, directory));
    is_fresh = true;
  }
  return at.ino;
}

meta::Context ObjectSupport::s3_context() const {
  meta::Context context = fs_.context(Caller{});
  context.is_posix = false;
  return context;
}

Result<std::vector<BucketInfo>> Objects::list_buckets(const Caller& caller) {
  auto& fs = static_cast<FileSystemImpl&>(fs_);
  auto txn = fs.store().begin();
  TARN_ASSIGN(meta::InodeRow root, meta::get_inode(*txn, kRootIno));
  TARN_TRY(fs.check_access(*txn, caller, root, R_OK | X_OK));
  std::vector<BucketInfo> buckets;
  TARN_TRY(
      meta::read_directory(*txn, kRootIno, "", true, false, [&](const meta::DirectoryEntry& e) {
        if (S_ISDIR(e.type_mode) && check_bucket_name(e.name).is_ok()) {
          buckets.push_back({e.name, e.attributes ? e.attributes->btime : 0});
        }
        return true;
      }));
  return buckets;
}

Result<BucketInfo> Objects::head_bucket(const Caller& caller, std::string_view bucket) {
  ObjectSupport support(fs_);
  auto txn = fs_.store().begin();
  TARN_ASSIGN(meta::InodeRow row, support.bucket(*txn, caller, bucket, 0));
  return BucketInfo{std::string(bucket), row.btime};
}

Status Objects::create_bucket(const Caller& caller, std::string_view bucket) {
  TARN_TRY(check_bucket_name(bucket));
  TARN_TRY(fs_.mkdir(caller, kRootIno, bucket, 0777));
  return fs_.store().sync(fs_.store().head());
}

Status Objects::delete_bucket(const Caller& caller, std::string_view bucket) {
  {
    ObjectSupport support(fs_);
    auto txn = fs_.store().begin();
    TARN_TRY(support.bucket(*txn, caller, bucket, 0));
  }
  TARN_TRY(fs_.rmdir(caller, kRootIno, bucket));
  return fs_.store().sync(fs_.store().head());
}

Result<ObjectInfo> Objects::head(const Caller& caller, std::string_view bucket,
                                 std::string_view key) {
  TARN_TRY(check_key(key));
  ObjectSupport support(fs_);
  auto& fs = static_cast<FileSystemImpl&>(fs_);
  const uint64_t epoch = fs.live_epoch();
  auto txn = fs.store().begin();
  TARN_ASSIGN(meta::InodeRow row, support.resolve(*txn, caller, bucket, key));
  TARN_TRY(fs.check_access(*txn, caller, row, R_OK));
  return support.info(*txn, row, epoch, true);
}

Result<OpenObject> Objects::open(const Caller& caller, std::string_view bucket,
                                 std::string_view key) {
  TARN_TRY(check_key(key));
  ObjectSupport support(fs_);
  auto& fs = static_cast<FileSystemImpl&>(fs_);
  const uint64_t epoch = fs.live_epoch();
  auto txn = fs.store().begin();
  TARN_ASSIGN(meta::InodeRow row, support.resolve(*txn, caller, bucket, key));
  TARN_TRY(fs.check_access(*txn, caller, row, R_OK));
  OpenObject object;
  TARN_ASSIGN(object.info, support.info(*txn, row, epoch, true));
  if (row.is_directory()) return object;
  object.file = fs.live_file(row.ino);
  if (object.file) return object;
  TARN_ASSIGN(object.file, fs.content().open_read(row));
  return object;
}

Result<ObjectInfo> Objects::put(const Caller& caller, std::string_view bucket, std::string_view key,
                                PutObject object) {
  return ObjectSupport(fs_).put(caller, bucket, key, std::move(object), {});
}

Result<ObjectInfo> ObjectSupport::put(const Caller& caller, std::string_view bucket_name,
                                      std::string_view key, PutObject object,
                                      const ContentMaker& make_content) {
  TARN_TRY(check_key(key));
  FileSystemImpl& fs = fs_;
  const bool is_folder = key.ends_with('/');
  if (is_folder && object.content.size > 0) {
    return Status(Code::kInvalidArgument,
                  fmt::format("key '{}' ends in '/': it is a directory and has no bytes", key));
  }
  std::vector<std::string> segments = split_key(key);
  const std::string name = std::move(segments.back());
  segments.pop_back();
  // The bytes are on disk before any row speaks of them.
  TARN_TRY(fs.content().sync_incoming());
  TARN_KILL_POINT("fs.put.after_sync");

  TARN_ASSIGN(uint64_t number, fs.inode_ids_->next());
  std::vector<uint64_t> spare_numbers;
  std::optional<meta::InodeRow> replaced;
  meta::InodeRow made;
  Ino parent;
  TARN_ASSIGN(Stamp stamp, fs.transact([&](kv::Transaction& txn) -> Status {
    replaced.reset();
    TARN_ASSIGN(meta::InodeRow bucket_row, bucket(txn, caller, bucket_name, X_OK));
    const uint64_t epoch = fs.live_epoch();
    std::optional<meta::InodeRow> current;
    {
      auto found = resolve(txn, caller, bucket_name, key);
      if (found.is_ok()) current = std::move(*found);
      if (!found.is_ok() && !found.is(Code::kNotFound)) return found.status();
    }
    std::optional<ObjectInfo> current_info;
    if (current) {
      TARN_ASSIGN(current_info, info(txn, *current, epoch, false));
    }
    TARN_TRY(check_condition(object.condition, current_info));
    TARN_ASSIGN(parent, make_parents(txn, caller, bucket_row, segments, spare_numbers));
    if (is_folder) {
      TARN_ASSIGN(made, put_folder(txn, caller, parent, name, Ino(number), object.metadata));
      return {};
    }
    meta::NewInode fresh;
    fresh.ino = Ino(number);
    fresh.mode = S_IFREG | 0666;
    if (current) {
      TARN_ASSIGN(meta::InodeRow directory, meta::get_inode(txn, parent));
      TARN_TRY(fs.check_access(txn, caller, directory, W_OK | X_OK));
      TARN_TRY(fs.check_access(txn, caller, *current, W_OK));
      TARN_TRY(inherit_replaced(txn, *current, fresh));
    } else {
      TARN_TRY(inherit(txn, caller, parent, fresh));
    }
    if (make_content) TARN_TRY(make_content(txn, object.content));
    fresh.size = object.content.size;
    fresh.blocks = object.content.blocks;
    fresh.content = content::encode(object.content.descriptor);
    fresh.digests = object.content.digests;
    fresh.etag = !object.etag.empty() ? object.etag : hex(fresh.digests.md5);
    fresh.is_s3_written = true;
    for (const auto& [header, value] : object.metadata) {
      fresh.xattrs.emplace_back(std::string(kMetadataPrefix) + header, value);
    }
    TARN_ASSIGN(made, meta::create_unnamed(txn, s3_context(), fresh));
    TARN_TRY(fs.content().attach(txn, made.ino, made.generation, object.content.descriptor));
    TARN_ASSIGN(meta::Renamed placed,
                meta::place(txn, s3_context(), made.ino, parent, name, true, meta::Twin::kHide));
    made = placed.moved;
    replaced = placed.replaced;
    return {};
  }));
  TARN_KILL_POINT("fs.put.after_commit");
  if (replaced && replaced->nlink == 0) {
    fs.note_unlinked(*replaced);
    fs.forget(replaced->ino);
  }
  if (make_content) fs.content().released(stamp);
  TARN_TRY(fs.store().sync(stamp));
  // The mount's caches are right before the caller is told (200 means visible).
  invalidate_path(bucket_name, segments, name);
  if (replaced) fs.invalidate_inode(replaced->ino, caller);
  auto txn = fs.store().begin();
  return info(*txn, made, fs.live_epoch(), true);
}

Result<bool> Objects::remove(const Caller& caller, std::string_view bucket, std::string_view key) {
  TARN_TRY(check_key(key));
  auto& fs = static_cast<FileSystemImpl&>(fs_);
  ObjectSupport support(fs_);
  std::vector<std::string> segments = split_key(key);
  const std::string name = segments.back();
  const bool is_folder = key.ends_with('/');
  std::vector<meta::InodeRow> ended;
  bool is_found = false;
  TARN_TRY(fs.transact([&](kv::Transaction& txn) -> Status {
    ended.clear();
    is_found = false;
    auto row = support.resolve(txn, caller, bucket, key);
    if (row.is(Code::kNotFound)) {
      // Deleting what is not there succeeds, but not in a bucket that is not there.
      return detail::as_status(support.bucket(txn, caller, bucket, X_OK));
    }
    if (!row.is_ok()) return row.status();
    TARN_ASSIGN(Ino parent, support.parent_of(txn, bucket, segments));
    TARN_ASSIGN(meta::InodeRow directory, meta::get_inode(txn, parent));
    TARN_TRY(fs.check_access(txn, caller, directory, W_OK | X_OK));
    TARN_TRY(FileSystemImpl::check_sticky(caller, directory, *row));
    if (is_folder) {
      TARN_ASSIGN(is_found, support.remove_folder(txn, parent, name, *row, ended));
    } else {
      TARN_ASSIGN(meta::Removed removed, meta::unlink(txn, s3_of(support), parent, name));
      ended.push_back(removed.inode);
      is_found = true;
    }
    if (!is_found) return {};
    TARN_ASSIGN(auto gone,
                meta::remove_implied(txn, s3_of(support), parent, name + (is_folder ? "/" : ""),
                                     [&](Ino ino) { return fs.is_in_use(ino); }));
    for (meta::Removed& r : gone) ended.push_back(r.inode);
    return {};
  }));
  for (const meta::InodeRow& row : ended) {
    if (row.nlink > 0 && !row.is_directory()) continue;
    fs.note_unlinked(row);
    fs.forget(row.ino);
  }
  if (is_found) {
    segments.pop_back();
    support.invalidate_path(bucket, segments, name);
  }
  return is_found;
}

}  // namespace tarn::fs
