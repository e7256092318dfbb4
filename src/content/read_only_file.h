// Base of the Files that cannot be written: the answers that all of them share.
//
// Size and times are those of the row at the time of opening. Thread-safe: immutable.
#pragma once

#include <algorithm>

#include "content/content.h"

namespace tarn::content {

class ReadOnlyFile : public File {
 public:
  ReadOnlyFile(FileStat stat, Descriptor descriptor)
      : stat_(stat), descriptor_(std::move(descriptor)) {}

  Result<size_t> write(uint64_t, std::span<const std::byte>) override { return refused(); }
  Status truncate(uint64_t) override { return refused(); }
  Status allocate(int, uint64_t, uint64_t) override { return refused(); }
  Result<FileStat> stat() override { return stat_; }
  /// Only settled content is opened so: it is durable already.
  Status sync() override { return {}; }
  /// Times live in the row alone.
  Status set_times(std::optional<TimeNs>, std::optional<TimeNs>) override { return {}; }
  bool is_writable() const override { return false; }
  LocalFileRef local() const override { return nullptr; }
  Descriptor descriptor() const override { return descriptor_; }
  Extent extent(uint64_t, uint64_t) override { return {}; }

 protected:
  size_t clip(uint64_t offset, size_t length) const {
    if (offset >= stat_.size) return 0;
    return static_cast<size_t>(std::min<uint64_t>(length, stat_.size - offset));
  }
  Status check_seek(uint64_t offset) const {
    if (offset < stat_.size) return {};
    return Status(Code::kNoDevice, "seek past the end of the file");
  }
  const FileStat stat_;
  const Descriptor descriptor_;

 private:
  static Status refused() {
    return Status(Code::kBadHandle, "the content was not prepared for writing");
  }
};

}  // namespace tarn::content
