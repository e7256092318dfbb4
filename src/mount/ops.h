// The handlers of the kernel's operations, one function an operation, and the tests that send a
// request to the pool.
//
// Each takes its arguments from the Exchange, calls the file system, and answers. Returned errors
// become the answer. Which opcode calls which, and on which thread, is the table in dispatcher.cc.
// The names are those of the protocol. Thread-safe, as the file system is.
#pragma once

#include "mount/dispatcher.h"

namespace tarn::mount::ops {

// ops_names.cc: what changes or follows names.
Status lookup(Dispatcher& dispatcher, Exchange& exchange);
Status forget(Dispatcher& dispatcher, Exchange& exchange);
Status batch_forget(Dispatcher& dispatcher, Exchange& exchange);
Status readlink(Dispatcher& dispatcher, Exchange& exchange);
Status symlink(Dispatcher& dispatcher, Exchange& exchange);
Status mknod(Dispatcher& dispatcher, Exchange& exchange);
Status mkdir(Dispatcher& dispatcher, Exchange& exchange);
Status unlink(Dispatcher& dispatcher, Exchange& exchange);
Status rmdir(Dispatcher& dispatcher, Exchange& exchange);
Status rename(Dispatcher& dispatcher, Exchange& exchange);
Status rename2(Dispatcher& dispatcher, Exchange& exchange);
Status link(Dispatcher& dispatcher, Exchange& exchange);
/// A rename that may replace a file waits until the new content is on disk.
bool rename_is_slow(Dispatcher& dispatcher, Request request);
bool rename2_is_slow(Dispatcher& dispatcher, Request request);

// ops_attributes.cc: attributes, extended attributes, the whole file system.
Status getattr(Dispatcher& dispatcher, Exchange& exchange);
Status statx(Dispatcher& dispatcher, Exchange& exchange);
Status setattr(Dispatcher& dispatcher, Exchange& exchange);
/// Changing the size of a file that must get bytes of its own first.
bool setattr_is_slow(Dispatcher& dispatcher, Request request);
Status access(Dispatcher& dispatcher, Exchange& exchange);
Status statfs(Dispatcher& dispatcher, Exchange& exchange);
Status setxattr(Dispatcher& dispatcher, Exchange& exchange);
Status getxattr(Dispatcher& dispatcher, Exchange& exchange);
/// The digests: they may have to read the whole file.
bool getxattr_is_slow(Dispatcher& dispatcher, Request request);
Status listxattr(Dispatcher& dispatcher, Exchange& exchange);
Status removexattr(Dispatcher& dispatcher, Exchange& exchange);

// ops_files.cc: open files.
Status open(Dispatcher& dispatcher, Exchange& exchange);
bool open_is_slow(Dispatcher& dispatcher, Request request);
Status create(Dispatcher& dispatcher, Exchange& exchange);
/// With O_SYNC or O_DSYNC the new file is durable before the answer.
bool create_is_slow(Dispatcher& dispatcher, Request request);
Status tmpfile(Dispatcher& dispatcher, Exchange& exchange);
Status read(Dispatcher& dispatcher, Exchange& exchange);
Status write(Dispatcher& dispatcher, Exchange& exchange);
Status lseek(Dispatcher& dispatcher, Exchange& exchange);
Status fallocate(Dispatcher& dispatcher, Exchange& exchange);
/// More than 1 MiB of blocks.
bool fallocate_is_slow(Dispatcher& dispatcher, Request request);
Status copy_file_range(Dispatcher& dispatcher, Exchange& exchange);
Status copy_file_range_64(Dispatcher& dispatcher, Exchange& exchange);
/// ENOSYS, after which the kernel sends no more: rows are written back at RELEASE, sizes are live
/// before that, and locks are the kernel's own, so that close(2) has nothing to say.
Status flush(Dispatcher& dispatcher, Exchange& exchange);
Status fsync(Dispatcher& dispatcher, Exchange& exchange);
Status release(Dispatcher& dispatcher, Exchange& exchange);

// ops_directories.cc: open directories, and the end of the connection.
Status opendir(Dispatcher& dispatcher, Exchange& exchange);
Status readdir(Dispatcher& dispatcher, Exchange& exchange);
Status readdirplus(Dispatcher& dispatcher, Exchange& exchange);
Status fsyncdir(Dispatcher& dispatcher, Exchange& exchange);
Status releasedir(Dispatcher& dispatcher, Exchange& exchange);
Status interrupt(Dispatcher& dispatcher, Exchange& exchange);
Status destroy(Dispatcher& dispatcher, Exchange& exchange);

}  // namespace tarn::mount::ops
