// Paths and trees of a running file system, seen by one caller.
//
// What the commands need above fs::FileSystem, which speaks of inodes: a path becomes an inode, a
// directory becomes the files below it. Permissions are the caller's: search on every directory of
// a path, read and search on every directory that is walked. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "fs/fs.h"

namespace tarn::app {

/// The inode at `path` below `start` (absolute and relative paths mean the same). Symbolic links in
/// it are followed as long as they are relative and stay inside; kTooManySymlinks after 40.
Result<fs::Attributes> resolve(fs::FileSystem& file_system, const fs::Caller& caller, Ino start,
                               std::string_view path);

using FileVisitor =
    std::function<Status(const std::string& path, const fs::Attributes& attributes)>;
/// Calls `visitor` for every regular file below directory `start`, directory by directory, with its
/// path relative to `start`. Stops at the visitor's first failure; kInterrupted once
/// `is_cancelled`.
Status walk_files(fs::FileSystem& file_system, const fs::Caller& caller, Ino start,
                  const std::function<bool()>& is_cancelled, const FileVisitor& visitor);

}  // namespace tarn::app
