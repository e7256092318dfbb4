// LIST: one walk over directories in key order. Entries sort as S3 sorts keys (a sub-directory's
// key ends in
// '/'), so no sort is needed and a page begins with a seek.
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "fs/object_support.h"

namespace tarn::fs {

std::vector<std::string> split_key(std::string_view key) {
  std::vector<std::string> segments;
  if (key.ends_with('/')) key.remove_suffix(1);
  while (true) {
    const size_t slash = key.find('/');
    segments.emplace_back(key.substr(0, slash));
    if (slash == std::string_view::npos) return segments;
    key.remove_prefix(slash + 1);
  }
}

Result<Ino> ObjectSupport::parent_of(kv::Transaction& txn, std::string_view bucket_name,
                                     const std::vector<std::string>& segments) {
  TARN_ASSIGN(meta::InodeRow at, meta::lookup(txn, kRootIno, bucket_name));
  for (size_t i = 0; i + 1 < segments.size(); ++i) {
    TARN_ASSIGN(at, meta::lookup(txn, at.ino, segments[i]));
  }
  return at.ino;
}

Status ObjectSupport::inherit(kv::Transaction& txn, const Caller& caller, Ino parent,
                              meta::NewInode& inode) {
  return fs_.inherit(txn, caller, parent, inode);
}

Result<meta::InodeRow> ObjectSupport::put_folder(
    kv::Transaction& txn, const Caller& caller, Ino parent, const std::string& name, Ino ino,
    const std::vector<std::pair<std::string, std::string>>& metadata) {
  auto there = meta::lookup(txn, parent, name);
  if (!there.is_ok() && !there.is(Code::kNotFound)) return there.status();
  const bool is_there = there.is_ok() && there->is_directory();
  meta::InodeRow row;
  if (is_there) {
    TARN_TRY(fs_.check_access(txn, caller, *there, W_OK));
    meta::AttributeChange change;
    change.origin = meta::Origin::kExplicit;
    TARN_ASSIGN(row, meta::set_attributes(txn, s3_context(), there->ino, change));
    TARN_ASSIGN(auto names, meta::list_xattrs(txn, row.ino));
    for (const std::string& old : names) {
      if (old.starts_with(kMetadataPrefix)) {
        TARN_TRY(meta::remove_xattr(txn, s3_context(), row.ino, old));
      }
    }
    for (const auto& [header, value] : metadata) {
      TARN_TRY(meta::set_xattr(txn, s3_context(), row.ino, std::string(kMetadataPrefix) + header,
                               value, meta::XattrMode::kEither));
    }
    return row;
  }
  meta::NewInode directory;
  directory.ino = ino;
  directory.mode = S_IFDIR | 0777;
  TARN_TRY(fs_.inherit(txn, caller, parent, directory));
  directory.origin = meta::Origin::kExplicit;
  if (there.is_ok()) {
    if (!is_as_put(*there) || fs_.is_in_use(there->ino)) {
      return Status(Code::kConflict, fmt::format("'{}' is a file", name));
    }
    directory.twin = meta::Twin::kHide;
  }
  for (const auto& [header, value] : metadata) {
    directory.xattrs.emplace_back(std::string(kMetadataPrefix) + header, value);
  }
  return meta::create(txn, s3_context(), parent, name, directory);
}

Result<bool> ObjectSupport::remove_folder(kv::Transaction& txn, Ino parent, const std::string& name,
                                          const meta::InodeRow& row,
                                          std::vector<meta::InodeRow>& ended) {
  bool is_empty = true;
  TARN_TRY(meta::read_directory(txn, row.ino, "", false, true, [&](const meta::DirectoryEntry&) {
    is_empty = false;
    return false;
  }));
  if (is_empty) {
    TARN_ASSIGN(meta::Removed removed, meta::rmdir(txn, s3_context(), parent, name));
    ended.push_back(removed.inode);
    return true;
  }
  // A POSIX directory with entries is no object of its own; deleting its key changes nothing.
  if (row.origin == meta::Origin::kPosix) return false;
  meta::AttributeChange change;
  change.origin = meta::Origin::kImplied;
  TARN_TRY(meta::set_attributes(txn, s3_context(), row.ino, change));
  return true;
}

void ObjectSupport::invalidate_path(std::string_view bucket_name,
                                    const std::vector<std::string>& segments,
                                    const std::string& name) {
  auto txn = fs_.store().begin();
  auto at = meta::lookup(*txn, kRootIno, bucket_name);
  for (const std::string& segment : segments) {
    if (!at.is_ok()) return;
    fs_.invalidate_entry(at->ino, segment, Caller{});
    at = meta::lookup(*txn, at->ino, segment);
  }
  if (at.is_ok()) fs_.invalidate_entry(at->ino, name, Caller{});
}

namespace {

/// The state of one LIST call.
class Lister {
 public:
  Lister(FileSystemImpl& fs, const Caller& caller, const ListRequest& request)
      : fs_(fs), support_(fs), caller_(caller), request_(request), txn_(fs.store().begin()) {}

  Result<Listing> run(std::string_view bucket) {
    TARN_ASSIGN(meta::InodeRow row, support_.bucket(*txn_, caller_, bucket, X_OK));
    // Go down to the directory that the prefix names in full.
    std::string path;
    const size_t slash = request_.prefix.rfind('/');
    if (slash != std::string::npos) {
      const std::string directory = request_.prefix.substr(0, slash + 1);
      if (!check_key(directory).is_ok()) return Listing{};
      for (const std::string& segment : split_key(directory)) {
        auto next = meta::lookup(*txn_, row.ino, segment);
        if (next.is(Code::kNotFound) || (next.is_ok() && !next->is_directory())) return Listing{};
        if (!next.is_ok()) return next.status();
        TARN_TRY(fs_.check_access(*txn_, caller_, *next, X_OK));
        row = *next;
        path += segment + "/";
      }
    }
    TARN_TRY(fs_.check_access(*txn_, caller_, row, R_OK));
    if (!path.empty() && path == request_.prefix) TARN_TRY(offer_folder(path, row));
    if (!is_full_) TARN_TRY(walk(row.ino, path));
    return std::move(listing_);
  }

 private:
  bool is_before_start(std::string_view key) const {
    return !request_.start_after.empty() && key <= request_.start_after;
  }

  /// Adds a key or its common prefix; sets is_full_ when the page already holds keys_max.
  Status offer(const std::string& key, const std::function<Result<ObjectInfo>()>& info) {
    if (!key.starts_with(request_.prefix)) return {};
    if (!request_.delimiter.empty()) {
      const size_t at = key.find(request_.delimiter, request_.prefix.size());
      if (at != std::string::npos) {
        return offer_prefix(key.substr(0, at + request_.delimiter.size()));
      }
    }
    if (is_before_start(key)) return {};
    if (has_no_room()) return {};
    TARN_ASSIGN(ObjectInfo found, info());
    listing_.last = key;
    listing_.keys.push_back({key, std::move(found)});
    return {};
  }

  Status offer_prefix(const std::string& prefix) {
    if (is_before_start(prefix)) return {};
    if (!listing_.common_prefixes.empty() && listing_.common_prefixes.back() == prefix) return {};
    if (has_no_room()) return {};
    listing_.last = prefix;
    listing_.common_prefixes.push_back(prefix);
    return {};
  }

  bool has_no_room() {
    if (listing_.keys.size() + listing_.common_prefixes.size() < request_.keys_max) return false;
    listing_.is_truncated = true;
    is_full_ = true;
    return true;
  }

  /// The folder object of a directory: always when explicit, only while empty when of POSIX.
  Status offer_folder(const std::string& key, const meta::InodeRow& row) {
    if (row.origin == meta::Origin::kImplied) return {};
    if (row.origin == meta::Origin::kPosix && row.size > 0) return {};
    return offer(key, [&] { return support_.info(*txn_, row, fs_.live_epoch(), false); });
  }

  Status walk(Ino directory, const std::string& path) {
    // Start at the first name that can still matter for the prefix and for start_after.
    std::string from;
    auto raise = [&](std::string_view bound) {
      if (!bound.starts_with(path)) return;
      std::string_view rest = bound.substr(path.size());
      rest = rest.substr(0, rest.find('/'));
      if (!rest.empty() && rest > from) from = rest;
    };
    raise(request_.prefix);
    raise(request_.start_after);
    // `from` itself must be seen: the scan is exclusive, so step to just before it.
    if (!from.empty()) {
      if (from.back() == '\0') {
        from.pop_back();
      } else {
        from.back() = static_cast<char>(static_cast<unsigned char>(from.back()) - 1);
        from += "\xff\xff";
      }
    }
    Status inner;
    const uint64_t epoch = fs_.live_epoch();
    TARN_TRY(meta::read_directory(*txn_, directory, from, true, true,
                                  [&](const meta::DirectoryEntry& e) {
                                    inner = visit(e, path, epoch);
                                    return inner.is_ok() && !is_full_ && !is_past_;
                                  }));
    return inner;
  }

  Status visit(const meta::DirectoryEntry& e, const std::string& path, uint64_t epoch) {
    const std::string key = path + meta::key_name(e);
    // Past every key with the prefix: nothing further in this order matters.
    if (key > request_.prefix && !key.starts_with(request_.prefix)) {
      is_past_ = true;
      return {};
    }
    if (!e.attributes) return {};
    if (S_ISDIR(e.type_mode)) return visit_directory(e, key);
    if (!S_ISREG(e.type_mode)) return {};
    return offer(key, [&] { return support_.info(*txn_, *e.attributes, epoch, false); });
  }

  Status visit_directory(const meta::DirectoryEntry& e, const std::string& key) {
    const bool may_matter = key.starts_with(request_.prefix) || request_.prefix.starts_with(key);
    if (!may_matter) return {};
    if (request_.delimiter == "/" && key.starts_with(request_.prefix) &&
        key.size() > request_.prefix.size()) {
      // An implied directory is never empty; one of POSIX or of S3 is listed by itself.
      return offer_prefix(key);
    }
    // Everything below sorts before start_after: skip the directory.
    if (!request_.start_after.empty() && key < request_.start_after &&
        !request_.start_after.starts_with(key)) {
      return {};
    }
    // What the caller cannot read is left out below a prefix, as readdir would show it without its
    // content.
    if (!fs_.check_access(*txn_, caller_, *e.attributes, R_OK | X_OK).is_ok()) return {};
    TARN_TRY(offer_folder(key, *e.attributes));
    if (is_full_) return {};
    TARN_TRY(walk(e.ino, key));
    return {};
  }

  FileSystemImpl& fs_;
  ObjectSupport support_;
  const Caller& caller_;
  const ListRequest& request_;
  std::unique_ptr<kv::Transaction> txn_;
  Listing listing_;
  bool is_full_ = false;
  bool is_past_ = false;
};

}  // namespace

Result<Listing> Objects::list(const Caller& caller, std::string_view bucket,
                              const ListRequest& request) {
  if (request.keys_max == 0) {
    ObjectSupport support(fs_);
    auto txn = fs_.store().begin();
    TARN_TRY(support.bucket(*txn, caller, bucket, X_OK));
    return Listing{};
  }
  return Lister(static_cast<FileSystemImpl&>(fs_), caller, request).run(bucket);
}

}  // namespace tarn::fs
