// Extracting an archive into a directory of the file system.
//
// A plain tar writes no file data: its members become slices of the archive's blob. A compressed
// archive is decompressed in one streaming pass, each member straight to where a file of its size
// lives. Everything is built under an unlisted directory and synced; then each top-level name is
// moved into the target by one transaction. A top-level name that exists is kExists and names it,
// unless `merge`: then a journal row records the plan, directories merge one transaction each, and
// a restart completes or undoes it.
//
// Errors: those of the archive (kBadFormat, kCorrupt: nothing is left behind), kExists, kBusy (the
// archive has a writer; names it), kNoSpace, kAccessDenied. Thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "fs/fs.h"

namespace tarn::fs {

struct ExtractRequest {
  Ino archive;          // a file of the file system, or
  int archive_fd = -1;  // a descriptor of one outside: it is ingested first (bytes copied)
  std::string
      archive_name;  // for messages, and the name the ingested copy is kept under, if wanted
  Ino target;        // directory to extract into
  bool merge = false;
  bool strip_leading_slash = false;
  std::function<void(uint64_t bytes_done, uint64_t bytes_total)>
      progress;                        // of the archive; may be empty
  std::function<bool()> is_cancelled;  // may be empty
};

struct ExtractReport {
  std::string format;  // "tar", "tar.gz", ...
  uint64_t files = 0, directories = 0, others = 0;
  uint64_t bytes = 0;               // sum of the members' sizes
  uint64_t bytes_in_place = 0;      // members that are slices of the archive
  uint64_t bytes_decompressed = 0;  // written once by the decompressing pass
  uint64_t bytes_copied = 0;        // ingested from outside
  double seconds = 0;
};

Result<ExtractReport> extract(FileSystem& file_system, const Caller& caller,
                              const ExtractRequest& request);
/// Completes or undoes extractions that a crash interrupted; called when the file system opens.
Status recover_extracts(FileSystem& file_system);

}  // namespace tarn::fs
