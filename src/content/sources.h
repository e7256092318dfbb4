// Sources: where Files get older bytes from: blobs and packs by id, kept open and bounded.
//
// DamageMap remembers ranges that a scrub found damaged; reads of them answer kCorrupt. PinTable
// keeps a blob's file from being unlinked while a File reads it by name without holding a
// descriptor (pieces of many blobs). Thread-safe.
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "content/descriptor.h"
#include "content/local_file.h"

namespace tarn::content {

inline constexpr size_t kOpenPacksMax = 64;

class DamageMap {
 public:
  struct Range {
    uint64_t offset = 0, length = 0;
  };
  void add(BlobId blob, Range range);
  void clear(BlobId blob);
  bool has(BlobId blob) const;
  /// kCorrupt when the range touches a damaged one.
  Status check(BlobId blob, uint64_t offset, uint64_t length) const;

 private:
  std::atomic<bool> is_empty_{true};  // reads of a healthy root take no lock
  mutable Mutex mutex_{"content.damage", 380};
  std::unordered_map<BlobId, std::vector<Range>> ranges_;
};

class PinTable {
 public:
  void pin(const std::vector<BlobId>& blobs);
  void unpin(const std::vector<BlobId>& blobs);
  bool is_pinned(BlobId blob);

 private:
  Mutex mutex_{"content.pins", 381};
  std::unordered_map<BlobId, uint32_t> counts_;
};

struct PackFile {
  BlobId id;
  UniqueFd fd;
};
using PackFileRef = std::shared_ptr<PackFile>;

class Sources {
 public:
  explicit Sources(std::shared_ptr<LocalFiles> files) : files_(std::move(files)) {}

  LocalFiles& files() { return *files_; }
  DamageMap& damage() { return damage_; }
  PinTable& pins() { return pins_; }
  /// A missing blob is kDataLoss: a settled row names it.
  Result<LocalBlobRef> blob(BlobId id);
  Result<PackFileRef> pack(BlobId id);
  void forget_pack(BlobId id);
  void close_cache();

 private:
  const std::shared_ptr<LocalFiles> files_;
  DamageMap damage_;
  PinTable pins_;
  Mutex mutex_{"content.packs_open", 376};
  std::list<PackFileRef> packs_;  // most recently used first; few, so a list is searched
};
using SourcesRef = std::shared_ptr<Sources>;

}  // namespace tarn::content
