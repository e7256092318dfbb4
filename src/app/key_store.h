// CredentialsKeyStore: the keys of ROOT/credentials for the endpoint.
//
// The file is looked at again at most once a second, so that a key that `tarn key` adds or removes
// counts without a restart. A file that cannot be read leaves the keys as they were, and is logged.
// Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "app/credentials.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "http/message.h"

namespace tarn::app {

class CredentialsKeyStore final : public http::KeyStore {
 public:
  /// Reads the file; its errors.
  static Result<std::unique_ptr<CredentialsKeyStore>> open(std::string root);
  std::optional<http::Key> find(std::string_view access_key) override;

 private:
  explicit CredentialsKeyStore(std::string root) : root_(std::move(root)) {}
  Status load();
  void refresh();

  const std::string root_;
  Mutex mutex_{"app.keys", 8};  // held while that small file is read
  std::map<std::string, http::Key, std::less<>> keys_;
  TimeNs checked_ = 0, modified_ = 0;
};

}  // namespace tarn::app
