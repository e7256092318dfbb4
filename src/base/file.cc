#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

namespace tarn {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<UniqueFd> open_at(int dir, const std::string& path, int flags, unsigned mode) {
  while (true) {
    int fd = ::openat(dir, path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR) return last_errno(fmt::format("open '{}'", path));
  }
}

Result<size_t> read_at(int fd, uint64_t offset, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    ssize_t n =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0) {
      if (errno == EINTR) continue;
      return last_errno("pread");
    }
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Status read_exactly_at(int fd, uint64_t offset, std::span<std::byte> out) {
  TARN_ASSIGN(size_t n, read_at(fd, offset, out));
  if (n == out.size()) return {};
  return Status(Code::kCorrupt, fmt::format("file ends at byte {} where {} more were expected",
                                            offset + n, out.size() - n));
}

Status write_at(int fd, uint64_t offset, std::span<const std::byte> data) {
  while (!data.empty()) {
    ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return last_errno("pwrite");
    }
    data = data.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status write_all(int fd, std::span<const std::byte> data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return last_errno("write");
    }
    data = data.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status sync_data(int fd) {
  if (::fdatasync(fd) != 0) return last_errno("fdatasync");
  return {};
}

Status sync_file(int fd) {
  if (::fsync(fd) != 0) return last_errno("fsync");
  return {};
}

Status sync_directory(const std::string& path) {
  TARN_ASSIGN(UniqueFd fd, open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  return sync_file(fd.get());
}

Result<std::string> read_file(const std::string& path, size_t bytes_max) {
  TARN_ASSIGN(UniqueFd fd, open_at(AT_FDCWD, path, O_RDONLY));
  std::string text;
  char buffer[65536];
  while (true) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0) {
      if (errno == EINTR) continue;
      return last_errno(fmt::format("read '{}'", path));
    }
    if (n == 0) return text;
    if (text.size() + static_cast<size_t>(n) > bytes_max) {
      return Status(Code::kFileTooLarge,
                    fmt::format("'{}' is larger than {} bytes", path, bytes_max));
    }
    text.append(buffer, static_cast<size_t>(n));
  }
}

Status replace_file(const std::string& path, std::string_view data, unsigned mode) {
  std::string temporary = path + ".new";
  {
    TARN_ASSIGN(UniqueFd fd, open_at(AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
    TARN_TRY(write_all(fd.get(), as_bytes(data)));
    TARN_TRY(sync_file(fd.get()));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return last_errno(fmt::format("rename '{}' to '{}'", temporary, path));
  }
  size_t slash = path.rfind('/');
  return sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

Status make_directories(const std::string& path, unsigned mode) {
  for (size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    std::string prefix = path.substr(0, at);
    if (::mkdir(prefix.c_str(), mode) != 0 && errno != EEXIST) {
      return last_errno(fmt::format("mkdir '{}'", prefix));
    }
  }
  return {};
}

}  // namespace tarn
