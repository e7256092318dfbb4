// Digests and soundness of files of a running file system, several files at a time.
//
// `digests_of` returns what is stored with the settled generation, computing what is missing; a
// file that was closed a moment ago is settled first. `read_again` reads every byte and computes
// them again. Permissions are the caller's: read on the file. Errors: kBusy (has a writer),
// kCorrupt (known damage), kAccessDenied, kIsDirectory, and content's own. Thread-safe.
#pragma once

#include <functional>
#include <span>
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

/// What reading a file's settled bytes again gave. `status` is not ok when they could not be read
/// or hashed at all.
struct ReadAgain {
  Status status;
  FileDigests found;                // of the bytes as they are now
  std::vector<KnownDamage> damage;  // they do not fit what was stored at ingest; empty when sound
};

/// Reads every byte of `files` again and computes MD5 (of many files at once) and, where `wanted`
/// says so, the other digests; compares with those stored, never with CRCs alone, and records the
/// outcome. `wanted` is by file, `etag` is ignored. One result a file, in the order given.
std::vector<ReadAgain> read_again(fs::FileSystem& file_system, Health& health,
                                  const fs::Caller& caller, std::span<const fs::Attributes> files,
                                  std::span<const WantedDigests> wanted);

/// Runs `body(0)` ... `body(count - 1)` on at most one thread a core, at most 8, and for fewer than
/// `parallel_from` on the caller's alone; returns when all are done.
void for_each_parallel(size_t count, size_t parallel_from, const std::function<void(size_t)>& body);

}  // namespace tarn::app
