// Facts about this machine and its processes that the program's commands tell and act on.
//
// Reads /proc and system calls only; nothing is changed but this process's own limits. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "app/config.h"
#include "base/status.h"

namespace tarn::app {

/// Raises the soft limit on open descriptors to `wanted`, or to the hard limit when `wanted` is 0
/// or above it. Returns the limit that holds now.
Result<uint64_t> raise_open_file_limit(uint64_t wanted);

/// Bytes of physical memory that a process holds; nullopt when it is gone.
std::optional<uint64_t> resident_bytes(pid_t pid);
/// A process's command line, arguments joined by spaces, at most 200 bytes; empty when it is gone.
std::string process_title(pid_t pid);

struct PortHolder {
  pid_t pid = 0;  // 0: of another user, so /proc does not tell
  uid_t uid = 0;  // whose socket it is
  std::string title;
};
/// Who listens on a TCP port of `where` (or of all addresses); nullopt when nobody does.
std::optional<PortHolder> port_holder(const HostPort& where);
/// "port 9000 on 127.0.0.1 is in use by pid 12 (nginx ...)", or by whose program where /proc does
/// not tell the pid; what a failed bind should say.
std::string port_in_use_message(const HostPort& where);

/// Two first numbers of `uname -r`, such as {6, 18}.
std::pair<int, int> kernel_version();
std::string kernel_release();

/// True when the process has CAP_SYS_ADMIN, which passthrough needs.
bool may_administer();

/// How full the disk under `path` is, as df counts it: what only root may use belongs to neither.
struct DiskUse {
  uint64_t bytes_free = 0;
  uint64_t bytes_total = 0;
  unsigned percent_used = 0;
};
Result<DiskUse> disk_use(const std::string& path);
/// From 95 % on: that it is nearly full, and that new files are refused when less than
/// `refused_below` bytes are free; else empty.
std::string nearly_full_warning(const DiskUse& use, uint64_t refused_below);

/// Finds `program` in PATH; empty when it is not there.
std::string find_program(std::string_view program);

/// "1.5 GiB", "12 KiB", "512 B".
std::string human_bytes(uint64_t bytes);
/// "2d 3h 4m 5s" without leading zero parts.
std::string human_seconds(uint64_t seconds);

}  // namespace tarn::app
