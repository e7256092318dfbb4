// Objects: the file system as S3 sees it: top-level directories are buckets, files are objects, and
// a key is a path of segments joined by '/'.
//
// Rules (docs/SEMANTICS.md): PUT makes a new inode and replaces the entry in one transaction, so
// old handles keep the old bytes; directories made by a deeper key are *implied* and go when the
// last key below goes; a file and a directory of one name may both exist for S3 while the mount
// sees the directory; a key POSIX cannot name is refused. Every call checks permissions as its
// caller and is visible to the mount when it returns. Metadata of an object (content type,
// x-amz-meta-*) are extended attributes named kMetadataPrefix + header.
//
// Errors: kNotFound (key), kStale never; kNotDirectory is not used: kConflict names the file in the
// way; kInvalidArgument for refused keys and bucket names; kPreconditionFailed; kAccessDenied;
// kNoSpace. Thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/fs.h"

namespace tarn::fs {

inline constexpr std::string_view kMetadataPrefix = "user.s3.";

struct ObjectInfo {
  Attributes attributes;
  bool is_folder = false;  // key ends in '/'
  std::string etag;        // without quotes
  meta::Digests digests;   // those known; empty while the file is open
  bool is_as_put = false;  // the bytes are those that S3 wrote: its checksums hold
  std::vector<std::pair<std::string, std::string>> metadata;  // header name (lower case) -> value
};

struct OpenObject {
  ObjectInfo info;
  content::FileRef file;  // null for folders
};

/// Conditions on the current object, as the If-* headers of PUT: ETags without quotes, "*" for any.
struct PutCondition {
  std::optional<std::string> if_match;
  std::optional<std::string> if_none_match;
};

struct PutObject {
  content::Incoming::Done content;  // finished; made durable here
  std::string etag;                 // empty: the MD5 in hex, or an opaque one
  std::vector<std::pair<std::string, std::string>> metadata;
  PutCondition condition;
};

struct ListRequest {
  std::string prefix;
  std::string delimiter;    // empty: none
  std::string start_after;  // keys and common prefixes after this one, exclusive
  size_t keys_max = 1000;   // keys and common prefixes together
};
struct ListedKey {
  std::string key;
  ObjectInfo info;  // metadata and digests left out
};
struct Listing {
  std::vector<ListedKey> keys;
  std::vector<std::string> common_prefixes;
  bool is_truncated = false;
  std::string last;  // the last key or common prefix given: start_after of the next page
};

struct BucketInfo {
  std::string name;
  TimeNs created = 0;
};

/// kInvalidArgument names the rule that a bucket name breaks (3-63 characters of a-z 0-9 . -, ...).
Status check_bucket_name(std::string_view name);
/// kInvalidArgument when POSIX cannot name the key: an empty, '.' or '..' segment, one over 255
/// bytes, NUL.
Status check_key(std::string_view key);

class Objects {
 public:
  explicit Objects(FileSystem& file_system) : fs_(file_system) {}

  Result<std::vector<BucketInfo>> list_buckets(const Caller& caller);
  /// kNotFound.
  Result<BucketInfo> head_bucket(const Caller& caller, std::string_view bucket);
  /// kExists.
  Status create_bucket(const Caller& caller, std::string_view bucket);
  /// kNotEmpty.
  Status delete_bucket(const Caller& caller, std::string_view bucket);

  Result<ObjectInfo> head(const Caller& caller, std::string_view bucket, std::string_view key);
  Result<OpenObject> open(const Caller& caller, std::string_view bucket, std::string_view key);
  /// Durable when it returns.
  Result<ObjectInfo> put(const Caller& caller, std::string_view bucket, std::string_view key,
                         PutObject object);
  /// True when there was such a key. Implied directories above it that become empty go with it.
  /// Visible, and durable with the next barrier.
  Result<bool> remove(const Caller& caller, std::string_view bucket, std::string_view key);
  Result<Listing> list(const Caller& caller, std::string_view bucket, const ListRequest& request);

 private:
  FileSystem& fs_;
};

}  // namespace tarn::fs
