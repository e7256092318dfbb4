#include "fs/handle_table.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include <fmt/format.h>

namespace tarn::fs {

void Slot::set_kernel_handle(std::string_view handle) {
  CHECK(handle.size() <= sizeof kernel_handle);
  handle_bytes = static_cast<uint8_t>(handle.size());
  std::memcpy(kernel_handle, handle.data(), handle.size());
}

Result<std::unique_ptr<HandleTable>> HandleTable::open(int fd) {
  const size_t bytes = sizeof(Slot) * kSlots;
  int flags = MAP_SHARED;
  if (fd < 0) {
    flags = MAP_PRIVATE | MAP_ANONYMOUS;
  } else if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    return last_errno("grow the handle table");
  }
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) return last_errno("map the handle table");
  return std::unique_ptr<HandleTable>(new HandleTable(static_cast<Slot*>(memory), bytes));
}

HandleTable::HandleTable(Slot* slots, size_t bytes) : slots_(slots), bytes_(bytes) {
  free_.reserve(kSlots);
  for (uint32_t i = kSlots; i-- > 0;) {
    if (slots_[i].fh == 0) {
      free_.push_back(i);
    } else {
      ++used_;
      sequence_ = std::max(sequence_, slots_[i].fh / kSlots + 1);
    }
  }
}

HandleTable::~HandleTable() {
  ::munmap(slots_, bytes_);
}

Result<Fh> HandleTable::take(Slot content) {
  MutexLock lock(mutex_);
  if (free_.empty()) {
    return Status(Code::kTooManyOpenFiles,
                  fmt::format("all {} handles are in use; close some files", kSlots));
  }
  uint32_t index = free_.back();
  free_.pop_back();
  // A handle's number is its slot and a sequence, so that a stale handle never finds another's
  // slot.
  uint64_t fh = sequence_++ * kSlots + index;
  Slot& slot = slots_[index];
  content.fh = 0;
  slot = content;
  std::atomic_ref<uint64_t>(slot.fh).store(fh, std::memory_order_release);
  ++used_;
  return Fh(fh);
}

Slot* HandleTable::find(Fh fh) {
  if (!fh) return nullptr;
  Slot& slot = slots_[fh.value % kSlots];
  return std::atomic_ref<uint64_t>(slot.fh).load(std::memory_order_acquire) == fh.value ? &slot
                                                                                        : nullptr;
}

void HandleTable::free(Fh fh) {
  Slot* slot = find(fh);
  if (slot == nullptr) return;
  MutexLock lock(mutex_);
  std::atomic_ref<uint64_t>(slot->fh).store(0, std::memory_order_release);
  slot->kind = static_cast<uint8_t>(SlotKind::kFree);
  free_.push_back(static_cast<uint32_t>(fh.value % kSlots));
  --used_;
}

void HandleTable::for_each(const std::function<void(Slot&)>& visitor) {
  for (uint32_t i = 0; i < kSlots; ++i) {
    if (slots_[i].fh != 0) visitor(slots_[i]);
  }
}

uint64_t HandleTable::used() const {
  MutexLock lock(mutex_);
  return used_;
}

}  // namespace tarn::fs
