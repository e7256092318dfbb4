// What is known about damage to stored bytes, and when all of them were last read back.
//
// Kept in ROOT/health.json, so that it survives a restart: after every scrub and every re-read the
// worker records the outcome. A damage belongs to one generation of a file and is forgotten when
// that generation is gone (`is_damaged` asks with the current one). Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/status.h"

namespace tarn::app {

struct KnownDamage {
  Ino ino;
  Generation generation;
  BlobId blob;
  uint64_t offset = 0, length = 0;  // within the blob, bytes
  std::string what;
  TimeNs found = 0;
  bool operator==(const KnownDamage&) const = default;
};

class Health {
 public:
  /// Reads what is recorded; a record that cannot be read is logged and counts as none.
  explicit Health(std::string root);

  /// A scrub of everything that began at `started` ended; `damage` is all that is damaged now.
  Status record_scrub(TimeNs started, std::vector<KnownDamage> damage);
  /// One generation of a file was read back; `damage` (maybe empty) replaces what was known of it.
  Status record_reread(Ino ino, Generation generation, std::vector<KnownDamage> damage);

  /// When the last complete scrub began; nullopt when there was none.
  std::optional<TimeNs> last_scrub() const;
  bool is_damaged(Ino ino, Generation generation) const;
  std::vector<KnownDamage> damage() const;

 private:
  Status save_locked();

  const std::string path_;
  mutable Mutex mutex_{"app.health", 7};  // held while the small file is written
  std::optional<TimeNs> last_scrub_;
  std::map<Ino, std::vector<KnownDamage>> damage_;
};

}  // namespace tarn::app
