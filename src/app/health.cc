#include "app/health.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"

namespace tarn::app {
namespace {

using Json = nlohmann::json;

// A million damaged ranges is a disk to throw away, not a list to keep.
constexpr size_t kHealthBytesMax = size_t{64} << 20;
constexpr size_t kDamagesMax = 100'000;

}  // namespace

Health::Health(std::string root) : path_(std::move(root) + "/health.json") {
  const auto text = read_file(path_, kHealthBytesMax);
  if (text.is(Code::kNotFound)) return;
  if (!text.is_ok()) {
    log_warn("health.unreadable", "error={}", text.status().message());
    return;
  }
  try {
    const Json json = Json::parse(text.value());
    if (json.contains("last_scrub")) last_scrub_ = json.at("last_scrub").get<TimeNs>();
    for (const Json& item : json.at("damage")) {
      KnownDamage damage;
      damage.ino = Ino(item.at("ino").get<uint64_t>());
      damage.generation = Generation(item.at("generation").get<uint64_t>());
      damage.blob = BlobId(item.at("blob").get<uint64_t>());
      damage.offset = item.at("offset").get<uint64_t>();
      damage.length = item.at("length").get<uint64_t>();
      damage.what = item.at("what").get<std::string>();
      damage.found = item.at("found").get<TimeNs>();
      damage_[damage.ino].push_back(std::move(damage));
    }
  } catch (const Json::exception& error) {
    log_warn("health.unreadable", "path={} error={}", path_, error.what());
  }
}

Status Health::save_locked() {
  Json list = Json::array();
  for (const auto& [ino, damages] : damage_)
    for (const KnownDamage& damage : damages)
      if (list.size() < kDamagesMax)
        list.push_back({{"ino", ino.value},
                        {"generation", damage.generation.value},
                        {"blob", damage.blob.value},
                        {"offset", damage.offset},
                        {"length", damage.length},
                        {"what", damage.what},
                        {"found", damage.found}});
  Json json = {{"damage", std::move(list)}};
  if (last_scrub_.has_value()) json["last_scrub"] = *last_scrub_;
  return replace_file(path_, json.dump(-1, ' ', false, Json::error_handler_t::replace), 0600);
}

Status Health::record_scrub(TimeNs started, std::vector<KnownDamage> damage) {
  const MutexLock lock(mutex_);
  last_scrub_ = started;
  damage_.clear();
  for (KnownDamage& item : damage) damage_[item.ino].push_back(std::move(item));
  return save_locked();
}

Status Health::record_reread(Ino ino, Generation generation, std::vector<KnownDamage> damage) {
  const MutexLock lock(mutex_);
  const auto known = damage_.find(ino);
  // Sound before and sound now, which is every file of a healthy disk: nothing to write.
  if (known == damage_.end() && damage.empty()) return {};
  if (known != damage_.end())
    std::erase_if(known->second,
                  [&](const KnownDamage& item) { return item.generation == generation; });
  for (KnownDamage& item : damage) damage_[ino].push_back(std::move(item));
  if (damage_[ino].empty()) damage_.erase(ino);
  return save_locked();
}

std::optional<TimeNs> Health::last_scrub() const {
  const MutexLock lock(mutex_);
  return last_scrub_;
}

bool Health::is_damaged(Ino ino, Generation generation) const {
  const MutexLock lock(mutex_);
  const auto known = damage_.find(ino);
  return known != damage_.end() && std::ranges::any_of(known->second, [&](const KnownDamage& item) {
           return item.generation == generation;
         });
}

std::vector<KnownDamage> Health::damage() const {
  const MutexLock lock(mutex_);
  std::vector<KnownDamage> all;
  for (const auto& [ino, damages] : damage_) all.insert(all.end(), damages.begin(), damages.end());
  return all;
}

}  // namespace tarn::app
