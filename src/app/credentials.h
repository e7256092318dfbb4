// ROOT/credentials: access keys and whom each acts for.
//
//   [default]                            any name; clients of AWS call it a profile
//   aws_access_key_id = TARN...          20 characters
//   aws_secret_access_key = ...          40 characters
//   tarn_uid = 1000                      the user that requests with this key act as
//   tarn_gid = 1000
//   tarn_groups = 1000,27                further groups
//   tarn_umask = 0022                    octal
//
// The file has mode 0600 and is one that AWS clients read as it stands. Whoever holds a key acts as
// its user, and jobs run as that user: a key is a login. Plain values; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tarn::app {

struct AccessKey {
  std::string name;
  std::string id, secret;
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  uint32_t umask = 022;
  bool operator==(const AccessKey&) const = default;
};

/// A fresh pair for this process's real user and groups; `umask` as the user's shell has it.
Result<AccessKey> make_access_key(std::string name, uint32_t umask);

std::string format_credentials(const std::vector<AccessKey>& keys);
/// kBadFormat names the line that is wrong.
Result<std::vector<AccessKey>> parse_credentials(std::string_view text);

/// Writes ROOT/credentials, mode 0600, replacing it atomically.
Status write_credentials(const std::string& root, const std::vector<AccessKey>& keys);
/// kAccessDenied when others than the owner may read the file; kNotFound.
Result<std::vector<AccessKey>> read_credentials(const std::string& root);

}  // namespace tarn::app
