// Uploads: multipart uploads in progress.
//
// An upload is a directory below meta::kStagingIno, which no path leads to: its attributes say what
// object it will be, its files are the parts, settled and durable when put_part returns. So parts
// survive a restart, are scrubbed and compacted like every other file, and are removed in the same
// way. complete() gives the parts' bytes to the new object, and ends the parts, in one transaction;
// no byte is copied. Only who began an upload, or uid 0, may touch it.
//
// Errors: kNotFound (upload or part), kAccessDenied, kConflict (a part changed since it was
// chosen), and those of Objects::put. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/objects.h"

namespace tarn::fs {

class Uploads {
 public:
  explicit Uploads(FileSystem& file_system) : fs_(file_system) {}

  using Metadata = std::vector<std::pair<std::string, std::string>>;
  /// Which upload a call is about; all three must agree.
  struct Name {
    std::string bucket, key, id;
  };
  struct Upload {
    Name name;
    TimeNs initiated = 0;
    uint32_t uid = 0;
    Metadata metadata;
  };
  struct Part {
    uint32_t number = 0;
    uint64_t size = 0;
    std::string etag;
    TimeNs modified = 0;
    Metadata checksums;  // header -> value, as the client sent them
  };
  struct Chosen {
    uint32_t number = 0;
    std::string etag;
  };

  /// The new upload's id. `metadata` becomes the object's.
  Result<std::string> create(const Caller& caller, std::string_view bucket, std::string_view key,
                             const Metadata& metadata);
  Result<Upload> find(const Caller& caller, const Name& name);
  /// Durable when it returns; replaces the part of that number.
  Result<Part> put_part(const Caller& caller, const Name& name, uint32_t number,
                        const content::Incoming::Done& content, const Metadata& checksums);
  /// In the order of their numbers.
  Result<std::vector<Part>> parts(const Caller& caller, const Name& name);
  /// Makes the object of the chosen parts, in that order, with the given ETag; durable when it
  /// returns.
  Result<ObjectInfo> complete(const Caller& caller, const Name& name,
                              const std::vector<Chosen>& chosen, std::string etag,
                              const PutCondition& condition);
  Status abort(const Caller& caller, const Name& name);
  /// Those of a bucket whose key has the prefix, by key, then id.
  Result<std::vector<Upload>> list(const Caller& caller, std::string_view bucket,
                                   std::string_view prefix);

 private:
  Result<Ino> locate(kv::Transaction& txn, const Caller& caller, const Name& name);

  FileSystem& fs_;
};

/// True for a staging tree that is an upload still to be completed: a restart keeps it.
bool is_upload(kv::Transaction& txn, Ino staging);

}  // namespace tarn::fs
