#include "archive/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace tarn::archive {

Result<std::unique_ptr<FdSource>> FdSource::open(const std::string& path) {
  TARN_ASSIGN(UniqueFd fd, open_at(AT_FDCWD, path, O_RDONLY));
  auto source = adopt(std::move(fd));
  if (!source) return source.status().with_context(fmt::format("archive '{}'", path));
  return source;
}

Result<std::unique_ptr<FdSource>> FdSource::adopt(UniqueFd fd) {
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return last_errno("fstat of the archive");
  const off_t end = ::lseek(fd.get(), 0, SEEK_END);
  if (end < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
    return {
        Code::kInvalidArgument,
        "an archive must be a regular file or a block device; write the stream to a file first"};
  return std::unique_ptr<FdSource>(new FdSource(std::move(fd), static_cast<uint64_t>(end)));
}

Result<size_t> FdSource::read_at(uint64_t offset, std::span<std::byte> out) {
  return tarn::read_at(fd_.get(), offset, out);
}

Result<size_t> MemorySource::read_at(uint64_t offset, std::span<std::byte> out) {
  if (offset >= bytes_.size()) return size_t{0};
  const size_t n = std::min<uint64_t>(out.size(), bytes_.size() - offset);
  std::memcpy(out.data(), bytes_.data() + offset, n);
  return n;
}

}  // namespace tarn::archive
