#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <unistd.h>

#include "content/files.h"
#include "content/read_only_file.h"

namespace tarn::content {
namespace {

class MemoryFile final : public ReadOnlyFile {
 public:
  MemoryFile(std::string head, FileStat stat, Descriptor descriptor)
      : ReadOnlyFile(stat, std::move(descriptor)), head_(std::move(head)) {
    if (head_.size() > stat.size) head_.resize(stat.size);
  }

  Result<size_t> read(uint64_t offset, std::span<std::byte> out) override {
    const size_t n = clip(offset, out.size());
    size_t from_head = 0;
    if (offset < head_.size()) {
      from_head = std::min<size_t>(n, head_.size() - offset);
      std::memcpy(out.data(), head_.data() + offset, from_head);
    }
    std::memset(out.data() + from_head, 0, n - from_head);
    return n;
  }

  Result<uint64_t> seek(uint64_t offset, int whence) override {
    TARN_TRY(check_seek(offset));
    if (whence == SEEK_DATA) {
      if (offset < head_.size()) return offset;
      return Status(Code::kNoDevice, fmt::format("no data at or after byte {}", offset));
    }
    return std::max<uint64_t>(offset, head_.size());
  }

 private:
  std::string head_;
};

}  // namespace

FileRef make_memory_file(std::string head, FileStat stat, Descriptor descriptor) {
  return std::make_shared<MemoryFile>(std::move(head), stat, std::move(descriptor));
}

FileStat stat_of_row(const meta::InodeRow& row) {
  return {row.size, row.blocks, row.atime, row.mtime, row.ctime};
}

}  // namespace tarn::content
