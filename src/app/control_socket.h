// The address of ROOT/control.sock.
//
// A Unix socket's address holds 107 bytes and ROOT may be longer, so it is written through the
// descriptor of ROOT: /proc/self/fd/N/control.sock. The descriptor must be open while the address
// is used. Thread-safe.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <string>

#include <fmt/format.h>

namespace tarn::app {

inline sockaddr_un control_address(int root_directory) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/control.sock", root_directory);
  std::ranges::copy(path, address.sun_path);
  return address;
}

}  // namespace tarn::app
