// Blobs as files: ROOT/blobs/xx/yy/ID and ROOT/packs/ID; names, removal, and what each says of
// itself.
//
// ID is 16 hexadecimal digits; xx and yy are bits 16-23 and 8-15 of it, so that 256 blobs made one
// after the other share a directory. A blob begins without a name (O_TMPFILE), `link` gives it one,
// `sync_name` makes the name durable. Self-description is the attribute kIdentityXattr in the
// format of a pack record's header (pack.h). Thread-safe.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "base/file.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "content/root.h"

namespace tarn::content {

inline constexpr const char* kIdentityXattr = "user.tarn.blob";
/// 8 bytes, little-endian: bytes of the base below this show through holes of an Overlay's blob.
inline constexpr const char* kOverlayXattr = "user.tarn.overlay";

class BlobStore {
 public:
  explicit BlobStore(Root& root);

  Root& root() { return root_; }
  /// A write after a look at a file's ctime always changes it (Linux 6.13 and a file system that
  /// takes part); elsewhere only when the clock has ticked. Found by trying.
  bool has_fine_times() const { return has_fine_times_; }
  /// Relative to ROOT.
  static std::string blob_path(BlobId id);
  static std::string pack_path(BlobId id);

  /// A new file without a name; named at once (`*is_named` of the result) where O_TMPFILE is
  /// missing.
  struct New {
    UniqueFd fd;
    bool is_named = false;
  };
  Result<New> create(BlobId id);
  Result<UniqueFd> open(BlobId id, int flags);
  Result<UniqueFd> open_pack(BlobId id, int flags);
  Status link(int fd, BlobId id);
  /// The directories on the way to the name are synced; the file itself is the caller's.
  Status sync_name(BlobId id);
  /// syncfs: all data and names under ROOT's file system.
  Status sync_all();
  Status sync_packs_directory();
  bool exists(BlobId id);
  /// Ok also when there is no such file.
  Status unlink(BlobId id);
  Status unlink_pack(BlobId id);
  /// Every blob / pack on disk; the visitor returns false to stop.
  Status for_each(const std::function<bool(BlobId)>& visitor);
  Status for_each_pack(const std::function<bool(BlobId)>& visitor);

 private:
  Status make_directories_for(BlobId id);
  Status sync_directory_at(const std::string& path);

  Root& root_;
  const bool has_fine_times_;
  Mutex mutex_{"content.blob_store", 385};
  std::set<std::string> unsynced_directories_;  // made, their parent's entry not synced yet
};

}  // namespace tarn::content
