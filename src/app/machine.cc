#include "app/machine.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include "base/file.h"

namespace tarn::app {
namespace {

constexpr size_t kProcBytesMax = 16 << 20;
constexpr uint32_t kStateListen = 0x0A;  // TCP_LISTEN in /proc/net/tcp
constexpr int kCapSysAdmin = 21;         // linux/capability.h
// From here on blocks become scattered and writes slow on ext4 and XFS.
constexpr unsigned kNearlyFullPercent = 95;

struct Listener {
  uint64_t inode = 0;
  uid_t uid = 0;
};

/// The socket that listens on `port`, from one of /proc/net/tcp and tcp6.
std::optional<Listener> listener_in(const std::string& table_path, uint16_t port,
                                    std::string_view host) {
  const auto text = read_file(table_path, kProcBytesMax);
  if (!text.is_ok()) return std::nullopt;
  std::string_view rest = text.value();
  in_addr wanted{};
  const bool is_ipv4 =
      inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : std::string(host).c_str(), &wanted) ==
      1;
  while (!rest.empty()) {
    const size_t newline = rest.find('\n');
    const std::string line(rest.substr(0, newline));
    rest = newline == std::string_view::npos ? "" : rest.substr(newline + 1);
    char address[40] = {};
    unsigned local_port = 0, state = 0, uid = 0;
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(),
                    " %*d: %32[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %u %*s %lu", address,
                    &local_port, &state, &uid, &inode) != 5)
      continue;
    if (state != kStateListen || local_port != port) continue;
    // Another address of the same port is no obstacle; an address given by name may be any.
    const std::string_view local(address);
    const bool is_any = local.find_first_not_of('0') == std::string_view::npos;
    if (local.size() == 8 && is_ipv4 && !is_any && wanted.s_addr != INADDR_ANY &&
        std::strtoul(address, nullptr, 16) != wanted.s_addr)
      continue;
    return Listener{inode, uid};
  }
  return std::nullopt;
}

pid_t process_with_socket(uint64_t inode) {
  const std::string wanted = fmt::format("socket:[{}]", inode);
  const auto closer = [](DIR* d) { closedir(d); };
  const std::unique_ptr<DIR, decltype(closer)> processes(opendir("/proc"), closer);
  if (processes == nullptr) return 0;
  while (const dirent* process = readdir(processes.get())) {
    const std::string_view name = process->d_name;
    if (name.find_first_not_of("0123456789") != std::string_view::npos) continue;
    const std::string folder = fmt::format("/proc/{}/fd", name);
    const std::unique_ptr<DIR, decltype(closer)> descriptors(opendir(folder.c_str()), closer);
    if (descriptors == nullptr) continue;
    while (const dirent* descriptor = readdir(descriptors.get())) {
      char link[64];
      const ssize_t length =
          readlinkat(dirfd(descriptors.get()), descriptor->d_name, link, sizeof link);
      if (length > 0 && std::string_view(link, static_cast<size_t>(length)) == wanted)
        return static_cast<pid_t>(std::strtol(process->d_name, nullptr, 10));
    }
  }
  return 0;
}

}  // namespace

Result<uint64_t> raise_open_file_limit(uint64_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return last_errno("getrlimit");
  const rlim_t target = wanted == 0 ? limit.rlim_max : std::min<rlim_t>(wanted, limit.rlim_max);
  if (target != limit.rlim_cur) {
    limit.rlim_cur = target;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
      return last_errno(fmt::format("setrlimit of open files to {}", target));
  }
  return static_cast<uint64_t>(target);
}

std::optional<uint64_t> resident_bytes(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/statm", pid), 4096);
  if (!text.is_ok()) return std::nullopt;
  unsigned long total = 0, resident = 0;
  if (std::sscanf(text.value().c_str(), "%lu %lu", &total, &resident) != 2) return std::nullopt;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::string process_title(pid_t pid) {
  auto text = read_file(fmt::format("/proc/{}/cmdline", pid), kProcBytesMax);
  if (!text.is_ok()) return {};
  std::string title = text.value().substr(0, 200);
  std::ranges::replace(title, '\0', ' ');
  while (!title.empty() && title.back() == ' ') title.pop_back();
  return title;
}

std::optional<PortHolder> port_holder(const HostPort& where) {
  std::optional<Listener> listener;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"})
    if (!listener) listener = listener_in(table, where.port, where.host);
  if (!listener) return std::nullopt;
  PortHolder holder;
  holder.uid = listener->uid;
  holder.pid = process_with_socket(listener->inode);
  if (holder.pid != 0) holder.title = process_title(holder.pid);
  return holder;
}

std::string port_in_use_message(const HostPort& where) {
  const auto holder = port_holder(where);
  if (!holder.has_value())
    return fmt::format("port {} on {} is in use by another program", where.port, where.host);
  if (holder->pid == 0)
    return fmt::format(
        "port {} on {} is in use by a program of uid {} (as root, ss -ltnp names it)", where.port,
        where.host, holder->uid);
  return fmt::format("port {} on {} is in use by pid {} ({})", where.port, where.host, holder->pid,
                     holder->title);
}

std::string kernel_release() {
  utsname name{};
  uname(&name);
  return name.release;
}

std::pair<int, int> kernel_version() {
  std::pair<int, int> version{0, 0};
  std::sscanf(kernel_release().c_str(), "%d.%d", &version.first, &version.second);
  return version;
}

bool may_administer() {
  const auto text = read_file("/proc/self/status", 1 << 16);
  if (!text.is_ok()) return false;
  const size_t at = text.value().find("CapEff:");
  if (at == std::string::npos) return false;
  const uint64_t effective = std::strtoull(text.value().c_str() + at + 7, nullptr, 16);
  return ((effective >> kCapSysAdmin) & 1) != 0;
}

Result<DiskUse> disk_use(const std::string& path) {
  struct statvfs space{};
  if (statvfs(path.c_str(), &space) != 0) return last_errno(fmt::format("look at '{}'", path));
  const uint64_t used = (space.f_blocks - space.f_bfree) * space.f_frsize;
  DiskUse use{.bytes_free = space.f_bavail * space.f_frsize};
  use.bytes_total = used + use.bytes_free;
  if (use.bytes_total > 0)
    use.percent_used = static_cast<unsigned>((used * 100 + use.bytes_total - 1) / use.bytes_total);
  return use;
}

std::string nearly_full_warning(const DiskUse& use, uint64_t refused_below) {
  if (use.percent_used < kNearlyFullPercent) return {};
  return fmt::format("nearly full ({} %): new files are refused when less than {} is free",
                     use.percent_used, human_bytes(refused_below));
}

std::string find_program(std::string_view program) {
  const char* variable = std::getenv("PATH");
  std::string_view path = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  while (true) {
    const size_t colon = path.find(':');
    const std::string candidate = fmt::format("{}/{}", path.substr(0, colon), program);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    if (colon == std::string_view::npos) return {};
    path.remove_prefix(colon + 1);
  }
}

std::string human_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double amount = static_cast<double>(bytes);
  size_t unit = 0;
  while (amount >= 1024 && unit + 1 < std::size(kUnits)) {
    amount /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.1f} {}", amount, kUnits[unit]);
}

std::string human_seconds(uint64_t seconds) {
  std::string text;
  if (seconds >= 86400) text += fmt::format("{}d ", seconds / 86400);
  if (seconds >= 3600) text += fmt::format("{}h ", seconds / 3600 % 24);
  if (seconds >= 60) text += fmt::format("{}m ", seconds / 60 % 60);
  return text + fmt::format("{}s", seconds % 60);
}

}  // namespace tarn::app
