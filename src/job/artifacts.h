// Artifacts: what a job leaves, packed and stored under its output prefix; and the script archive
// it starts from, unpacked.
//
// Both run after, or before, the job's program: nothing changes the directories meanwhile. Symbolic
// links are packed as links and never followed. Plain functions; thread-safe.
#pragma once

#include <string>

#include "fs/fs.h"

namespace tarn::job {

/// A gzip tar of the contents of `directory` (no leading folder) as object `bucket`/`key`; the
/// number of members. Durable when it returns.
Result<uint64_t> store_archive(fs::FileSystem& file_system, const fs::Caller& caller,
                               const std::string& directory, const std::string& bucket,
                               const std::string& key);
/// Every file below `directory` as an object `key_prefix` + relative path.
Result<uint64_t> store_files(fs::FileSystem& file_system, const fs::Caller& caller,
                             const std::string& directory, const std::string& bucket,
                             const std::string& key_prefix);
/// Unpacks a tar (gzip or plain) into `directory`; the bytes of its files. kBadFormat for what is
/// no archive, or has names that leave the directory; kFileTooLarge above `bytes_max`.
Result<uint64_t> unpack(std::string_view archive, const std::string& directory, uint64_t bytes_max);

}  // namespace tarn::job
