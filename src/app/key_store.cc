#include "app/key_store.h"

#include <sys/stat.h>

#include "base/log.h"

namespace tarn::app {
namespace {

TimeNs modified_of(const std::string& path) {
  struct stat st{};
  return ::stat(path.c_str(), &st) == 0 ? from_timespec(st.st_ctim) : 0;
}

}  // namespace

Result<std::unique_ptr<CredentialsKeyStore>> CredentialsKeyStore::open(std::string root) {
  std::unique_ptr<CredentialsKeyStore> made(new CredentialsKeyStore(std::move(root)));
  MutexLock lock(made->mutex_);
  TARN_TRY(made->load());
  return made;
}

Status CredentialsKeyStore::load() {
  const TimeNs modified = modified_of(root_ + "/credentials");
  TARN_ASSIGN(const std::vector<AccessKey> keys, read_credentials(root_));
  keys_.clear();
  for (const AccessKey& key : keys) {
    keys_[key.id] = {key.secret, {key.id, key.uid, key.gid, key.groups, key.umask}};
  }
  modified_ = modified;
  checked_ = Clock::system().monotonic();
  return {};
}

void CredentialsKeyStore::refresh() {
  const TimeNs now = Clock::system().monotonic();
  if (now - checked_ < kSecondNs) return;
  checked_ = now;
  if (modified_of(root_ + "/credentials") == modified_) return;
  if (Status loaded = load(); !loaded.is_ok()) {
    log_warn("http.keys", "the old keys stay: {}", loaded.to_string());
  }
}

std::optional<http::Key> CredentialsKeyStore::find(std::string_view access_key) {
  MutexLock lock(mutex_);
  refresh();
  const auto it = keys_.find(access_key);
  if (it == keys_.end()) return std::nullopt;
  return it->second;
}

}  // namespace tarn::app
