// ObjectSupport: what the operations on objects share. Internal to room fs; see objects.h for the
// rules.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/file_system.h"
#include "fs/objects.h"

namespace tarn::fs {

/// "a/b/c" and "a/b/c/" -> {"a", "b", "c"}.
std::vector<std::string> split_key(std::string_view key);

class ObjectSupport {
 public:
  explicit ObjectSupport(FileSystem& fs);

  /// Fills in the content inside the transaction that places the object (multipart uploads); may
  /// run several times.
  using ContentMaker = std::function<Status(kv::Transaction&, content::Incoming::Done&)>;
  /// Objects::put; `make_content` may be empty.
  Result<ObjectInfo> put(const Caller& caller, std::string_view bucket_name, std::string_view key,
                         PutObject object, const ContentMaker& make_content);

  /// A bucket's directory, checked for `wanted` access; kNotFound.
  Result<meta::InodeRow> bucket(kv::Transaction& txn, const Caller& caller, std::string_view name,
                                uint32_t wanted);
  /// The inode behind a key, hidden files included; searches directories as the caller.
  Result<meta::InodeRow> resolve(kv::Transaction& txn, const Caller& caller,
                                 std::string_view bucket, std::string_view key);
  /// The directory that holds the last of `segments`.
  Result<Ino> parent_of(kv::Transaction& txn, std::string_view bucket,
                        const std::vector<std::string>& segments);
  /// Makes the missing directories of `segments`; `spare_numbers` keeps inode numbers between
  /// retries.
  Result<Ino> make_parents(kv::Transaction& txn, const Caller& caller, const meta::InodeRow& bucket,
                           const std::vector<std::string>& segments,
                           std::vector<uint64_t>& spare_numbers);
  Result<meta::InodeRow> put_folder(
      kv::Transaction& txn, const Caller& caller, Ino parent, const std::string& name, Ino ino,
      const std::vector<std::pair<std::string, std::string>>& metadata);
  /// True when the folder object ended (its directory stays, as implied, while keys are below it).
  Result<bool> remove_folder(kv::Transaction& txn, Ino parent, const std::string& name,
                             const meta::InodeRow& row, std::vector<meta::InodeRow>& ended);
  /// As FileSystemImpl::inherit, also below a directory made in the same transaction.
  Status inherit(kv::Transaction& txn, const Caller& caller, Ino parent, meta::NewInode& inode);
  /// S3 wrote its bytes and nobody has since: S3's inodes begin with generation 1, and whatever
  /// else writes makes another.
  static bool is_as_put(const meta::InodeRow& row) {
    return row.is_s3_written && row.generation == Generation{1} &&
           row.state == meta::ContentState::kSettled;
  }
  /// Lower-case digits.
  static std::string hex(std::string_view bytes);
  static std::string etag_of(const meta::InodeRow& row, const Attributes& live);
  Result<ObjectInfo> info(kv::Transaction& txn, const meta::InodeRow& row, uint64_t epoch,
                          bool with_metadata);
  meta::Context s3_context() const;
  /// The kernel forgets the names on the way, so that what was made or removed is seen at once.
  void invalidate_path(std::string_view bucket, const std::vector<std::string>& segments,
                       const std::string& name);

 private:
  FileSystemImpl& fs_;
};

inline meta::Context s3_of(const ObjectSupport& support) {
  return support.s3_context();
}

}  // namespace tarn::fs
