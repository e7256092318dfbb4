// ROOT/endpoint: where the running program listens, for `tarn env` and `tarn run`.
//
// The worker writes it when it listens and removes it when it stops. Plain functions; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace tarn::app {

/// "http://127.0.0.1:8333" or "https://...".
Status write_endpoint(const std::string& root, const std::string& url);
void remove_endpoint(const std::string& root);

/// Variables that point an AWS client at the Tarn of `root`, name and value; a value that is absent
/// is to be unset. `key`: the name of one in ROOT/credentials, empty for the first. Writes
/// ROOT/sagemaker.yaml, which one of them names. kUnavailable when nothing listens.
using ClientEnvironment = std::vector<std::pair<std::string, std::optional<std::string>>>;
Result<ClientEnvironment> client_environment(const std::string& root, const std::string& key);

}  // namespace tarn::app
