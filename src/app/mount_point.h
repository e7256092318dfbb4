// Whether a directory can be mounted on, and a clear word when it cannot.
//
// Thread rules: plain functions; a caller that mounts must still expect the kernel's own refusal.
#pragma once

#include <string>
#include <vector>

#include "app/mount_table.h"
#include "base/status.h"

namespace tarn::app {

/// Makes `directory` when it is missing and takes away a dead Tarn's mount of the same `root`
/// there. Returns its path without links. kNotDirectory; kNotEmpty; kBusy names what is mounted
/// there, and by which process; kInvalidArgument when it lies in `root` or `root` in it.
Result<std::string> prepare_mount_point(const std::string& directory, const std::string& root);

/// Ok when this process can open /dev/fuse; else why not, what would help, and that Tarn serves S3
/// and jobs without a mount.
Status check_fuse_device();

/// Why nothing may be mounted at `directory` by a Tarn with `root`; Ok when it may. Looks only at
/// the table and the two paths, which are absolute and without links.
Status check_mount_point(const std::vector<MountEntry>& table, const std::string& directory,
                         const std::string& root);

}  // namespace tarn::app
