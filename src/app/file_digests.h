// Digests and soundness of files of a running file system, several files at a time.
//
// `digests_of` returns what is stored with the settled generation, computing what is missing; a
// file that was closed a moment ago is settled first. `reread` reads every byte from the disk
// again. Permissions are the caller's: read on the file. Errors: kBusy (has a writer), kCorrupt
// (known damage), kAccessDenied, kIsDirectory, and content's own. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "app/health.h"
#include "fs/fs.h"

namespace tarn::app {

struct WantedDigests {
  bool md5 = false, crc64nvme = false, sha256 = false, etag = false;
};

/// Hexadecimal, lower case; empty when not wanted. `etag` as S3 shows it, without quotes.
struct FileDigests {
  std::string md5, crc64nvme, sha256, etag;
};

Result<FileDigests> digests_of(fs::FileSystem& file_system, const Health& health,
                               const fs::Caller& caller, const fs::Attributes& file,
                               const WantedDigests& wanted);

/// Reads the file's settled bytes again and records the outcome; the damage, empty when sound.
Result<std::vector<KnownDamage>> reread(fs::FileSystem& file_system, Health& health,
                                        const fs::Caller& caller, const fs::Attributes& file);

/// Runs `body(0)` ... `body(count - 1)` on at most one thread a core, at most 8; returns when all
/// are done.
void for_each_parallel(size_t count, const std::function<void(size_t)>& body);

}  // namespace tarn::app
