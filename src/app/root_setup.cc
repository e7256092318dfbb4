#include "app/root_setup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <memory>

#include <fmt/format.h>

#include "app/credentials.h"
#include "app/machine.h"
#include "content/root.h"

namespace tarn::app {
namespace {

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

std::string lock_path(const std::string& root) {
  return root + "/serve.lock";
}

/// While it lives, new files are for their owner alone.
class PrivateUmask {
 public:
  PrivateUmask() : saved_(umask(077)) {}
  ~PrivateUmask() { umask(saved_); }
  PrivateUmask(const PrivateUmask&) = delete;
  PrivateUmask& operator=(const PrivateUmask&) = delete;

 private:
  mode_t saved_;
};

}  // namespace

Result<RootState> inspect_root(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return RootState::kMissing;
    return last_errno(fmt::format("'{}'", path));
  }
  if (!S_ISDIR(info.st_mode))
    return Status(Code::kNotDirectory, fmt::format("'{}' is not a folder", path));
  if (exists(path + "/superblock")) {
    // Another program may call a file of its own so; nothing may be written beside it.
    TARN_ASSIGN(const std::string start, read_file(path + "/superblock", 4096));
    return start.starts_with("TARNROOT") ? RootState::kTarn : RootState::kForeign;
  }
  const auto closer = [](DIR* d) { closedir(d); };
  const std::unique_ptr<DIR, decltype(closer)> folder(opendir(path.c_str()), closer);
  if (folder == nullptr) return last_errno(fmt::format("open '{}'", path));
  while (const dirent* entry = readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return RootState::kForeign;
  }
  return RootState::kEmpty;
}

Status initialise_root(const std::string& path, const InitOptions& options) {
  const PrivateUmask guard;
  TARN_TRY(make_directories(path, 0700));
  TARN_TRY(content::Root::create(path, {.ballast_bytes = options.ballast_bytes}));
  if (chmod(path.c_str(), 0700) != 0) return last_errno(fmt::format("chmod '{}'", path));
  return ensure_root_files(path, options);
}

Status ensure_root_files(const std::string& path, const InitOptions& options) {
  const PrivateUmask guard;
  TARN_TRY(make_directories(path + "/log", 0700));
  if (!exists(path + "/tarn.toml"))
    TARN_TRY(replace_file(path + "/tarn.toml", default_config_text(options.settings), 0600));
  if (!exists(path + "/credentials")) {
    TARN_ASSIGN(AccessKey key, make_access_key("default", options.umask));
    TARN_TRY(write_credentials(path, {std::move(key)}));
  }
  return {};
}

std::string serving_process(const std::string& root) {
  const auto text = read_file(lock_path(root), 64);
  pid_t pid = 0;
  if (text.is_ok()) std::from_chars(text->data(), text->data() + text->size(), pid);
  const std::string title = pid > 0 ? process_title(pid) : "";
  return title.empty() ? "a process that does not tell its pid"
                       : fmt::format("pid {} ({})", pid, title);
}

Result<ServeLock> ServeLock::take(const std::string& root) {
  const std::string path = lock_path(root);
  TARN_ASSIGN(UniqueFd fd, open_at(AT_FDCWD, path, O_RDWR | O_CREAT, 0600));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return last_errno(fmt::format("lock '{}'", path));
    return Status(Code::kBusy,
                  fmt::format("'{}' is served by another Tarn: {}", root, serving_process(root)));
  }
  const std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd.get(), 0) != 0) return last_errno(fmt::format("write '{}'", path));
  TARN_TRY(write_at(fd.get(), 0, as_bytes(text)));
  return ServeLock(std::move(fd));
}

}  // namespace tarn::app
