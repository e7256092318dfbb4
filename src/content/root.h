// The folder that Tarn owns on the local disk: superblock, owner lock, layout, ballast.
//
//   ROOT/superblock  uuid, format version, compat / ro-compat / incompat flags, boot id, clean mark
//   ROOT/meta/       the key-value store        ROOT/blobs/xx/yy/ID   one file a blob
//   ROOT/packs/ID    small files together       ROOT/ballast          released when the disk is
//   full ROOT/credentials, ROOT/tarn.toml, ROOT/log/, ROOT/control.sock    owned by room app
//
// `open` takes the owner lock (flock of the superblock) for the life of the object and tells how
// the last owner ended. Errors name the cause: kBusy (held; the message names the holder's pid),
// kBadFormat (not a Tarn root, or a newer format), kNotFound, kIo. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/status.h"

namespace tarn::content {

enum class LastEnd : uint8_t {
  kFresh,        // never served before
  kClean,        // mark_clean was called
  kProcessDied,  // same boot id: what reached the kernel is there
  kMachineDied,  // another boot id: only what was synced is there
};

struct RootOptions {
  uint64_t ballast_bytes =
      0;  // 0: max(1 GiB, 1 % of the disk), but at most a tenth of what is free
};

class Root {
 public:
  /// Makes a root in `path`, which must be missing or empty. kExists otherwise (the message says
  /// what is there).
  static Status create(const std::string& path, const RootOptions& options);
  static Result<std::unique_ptr<Root>> open(const std::string& path);
  virtual ~Root() = default;

  virtual const std::string& path() const = 0;
  virtual int directory_fd() const = 0;  // O_RDONLY | O_DIRECTORY descriptor of ROOT
  virtual std::string uuid() const = 0;
  virtual LastEnd last_end() const = 0;
  /// Everything is durable and the process is about to end.
  virtual Status mark_clean() = 0;

  struct Space {
    uint64_t bytes_total = 0, bytes_free = 0;  // ballast counted as used; what statfs shows
    uint64_t files_total = 0, files_free = 0;
    uint64_t ballast_bytes = 0;  // present on disk now
    bool is_low = false;         // below twice the ballast: new writers get kNoSpace
  };
  virtual Result<Space> space() = 0;
  /// kNoSpace while space is low; cheap (refreshed at most every 100 ms).
  virtual Status check_may_write() = 0;
  /// Gives the ballast's blocks back so that the store can commit; called at the first kNoSpace.
  virtual Status release_ballast() = 0;
  /// Makes the ballast again when there is room; called from the barrier. Never fails for lack of
  /// space.
  virtual void restore_ballast() = 0;
};

}  // namespace tarn::content
