#include "mount/passthrough.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/log.h"

namespace tarn::mount {
namespace {

/// Why passthrough does not work on the whole mount; empty when `error` concerns one file only.
std::string refusal(int error) {
  switch (error) {
    case EPERM:
      return "the kernel refused it (EPERM): it needs CAP_SYS_ADMIN; run as root";
    case ENOTTY:
      return "this kernel has no FUSE passthrough (it came with Linux 6.9)";
    case ELOOP:
      return "the file system under the root is stacked itself, such as overlayfs in a container "
             "(ELOOP); put the root on a plain disk or volume";
    case EOPNOTSUPP:
      return "the file system under the root cannot be used for it (EOPNOTSUPP)";
    default:
      return {};
  }
}

}  // namespace

Passthrough::Passthrough(int fuse_fd, SharedFields& shared) : fuse_fd_(fuse_fd), shared_(shared) {
  for (size_t i = kBackingIdsMax; i-- > 0;) {
    auto place = static_cast<int32_t>(i);
    int32_t id = shared_.backing_ids[i];
    if (id == 0) {
      free_places_.push_back(place);
    } else {
      inherited_.emplace_back(id, place);
      places_[id] = place;
    }
  }
  if (!shared_.negotiated.has(wire::init::kPassthrough)) {
    is_refused_ = true;
    reason_ = (shared_.negotiated.offered & wire::init::kPassthrough) != 0
                  ? "switched off for this mount"
                  : "this kernel has no FUSE passthrough (it came with Linux 6.9)";
  }
}

Result<int32_t> Passthrough::attach(int fd) {
  MutexLock lock(mutex_);
  if (is_refused_) return Status(Code::kNotSupported, "no passthrough: " + reason_);
  if (free_places_.empty()) {
    return Status(
        Code::kTooManyOpenFiles,
        fmt::format("{} backing files are registered, which is the limit", kBackingIdsMax));
  }
  wire::BackingMap map{fd, 0, 0};
  int id = ioctl(fuse_fd_, wire::kIoctlBackingOpen, &map);
  if (id <= 0) {
    int error = id == 0 ? EINVAL : errno;
    std::string why = refusal(error);
    if (!why.empty()) {
      is_refused_ = true;
      reason_ = why;
      log_warn("mount.passthrough_off", "reason=\"{}\"", why);
      return Status(Code::kNotSupported, "no passthrough: " + why);
    }
    return errno_status(error, fmt::format("registering descriptor {} for passthrough", fd));
  }
  is_proven_ = true;
  int32_t place = free_places_.back();
  free_places_.pop_back();
  shared_.backing_ids[place] = id;
  places_[id] = place;
  return id;
}

void Passthrough::detach(int32_t id) {
  MutexLock lock(mutex_);
  auto argument = static_cast<uint32_t>(id);
  if (ioctl(fuse_fd_, wire::kIoctlBackingClose, &argument) != 0 && errno != ENOENT &&
      errno != ENODEV && errno != ECONNABORTED && errno != ENOTCONN && errno != EPERM) {
    log_warn("mount.backing_close", "id={} error=\"{}\"", id, std::strerror(errno));
  }
  auto found = places_.find(id);
  if (found == places_.end()) return;
  shared_.backing_ids[found->second] = 0;
  free_places_.push_back(found->second);
  places_.erase(found);
}

size_t Passthrough::close_others(std::span<const int32_t> in_use) {
  std::vector<int32_t> others;
  {
    MutexLock lock(mutex_);
    for (auto [id, place] : inherited_) {
      bool is_live = shared_.backing_ids[place] == id;
      if (is_live && std::ranges::find(in_use, id) == in_use.end()) others.push_back(id);
    }
    inherited_.clear();
  }
  for (int32_t id : others) detach(id);
  return others.size();
}

Passthrough::Mode Passthrough::mode() {
  MutexLock lock(mutex_);
  if (is_refused_) return {false, reason_};
  if (!is_proven_) return {true, "no file has used it yet"};
  return {true, {}};
}

}  // namespace tarn::mount
