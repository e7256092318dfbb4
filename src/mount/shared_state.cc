#include "mount/shared_state.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

namespace tarn::mount {
namespace {

constexpr uint64_t kMagic = 0x31544e4d4e524154;  // "TARNMNT1" in little-endian order

Result<SharedFields*> map(int fd) {
  void* memory = mmap(nullptr, sizeof(SharedFields), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return last_errno("mapping the mount's shared state");
  return static_cast<SharedFields*>(memory);
}

}  // namespace

Result<SharedState> SharedState::create() {
  UniqueFd fd(memfd_create("tarn-mount", MFD_CLOEXEC));
  if (!fd) return last_errno("memfd_create for the mount's shared state");
  if (ftruncate(fd.get(), sizeof(SharedFields)) != 0) {
    return last_errno("sizing the mount's shared state");
  }
  TARN_ASSIGN(SharedFields * fields, map(fd.get()));
  SharedState state(std::move(fd), fields);
  fields->magic = kMagic;
  while (fields->connection == 0) {
    if (getrandom(&fields->connection, sizeof fields->connection, 0) < 0 && errno != EINTR) {
      return last_errno("getrandom for a connection id");
    }
  }
  return state;
}

Result<SharedState> SharedState::open(UniqueFd fd) {
  struct stat info{};
  if (fstat(fd.get(), &info) != 0) return last_errno("fstat of the mount's shared state");
  if (info.st_size != static_cast<off_t>(sizeof(SharedFields))) {
    return Status(Code::kBadFormat, fmt::format("the mount's shared state has {} bytes, not {}",
                                                info.st_size, sizeof(SharedFields)));
  }
  TARN_ASSIGN(SharedFields * fields, map(fd.get()));
  SharedState state(std::move(fd), fields);
  if (fields->magic != kMagic) {
    return Status(Code::kBadFormat, "the mount's shared state was written by another version");
  }
  return state;
}

SharedState::SharedState(SharedState&& other) noexcept
    : fd_(std::move(other.fd_)), fields_(std::exchange(other.fields_, nullptr)) {}

SharedState::~SharedState() {
  if (fields_ != nullptr) munmap(fields_, sizeof(SharedFields));
}

}  // namespace tarn::mount
