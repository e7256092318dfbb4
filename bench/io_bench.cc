// The measuring loops of the mount's benchmarks: one operation a call, on any directory.
//
//   io_bench OPERATION PATH [NUMBER...]
//
// The same program runs on Tarn's mount and on the local file system beside it, so that both sides
// pay the same for the loop itself. Prints one JSON object: seconds of the operation (opening and,
// for writes, the closing sync included), bytes and count of what was touched, and a sum that shows
// that both sides saw the same bytes. Operations:
//   seqread FILE BLOCK            read(2) from start to end
//   mmapread FILE                 map, touch every cache line from start to end
//   randread FILE BLOCK COUNT     COUNT aligned pread(2)s at random places, same places every time
//   write FILE BYTES BLOCK        a new file, ended by fsync
//   create DIR FILES DIRS BYTES (syncfs | fsyncdir)    FILES new files in DIRS folders
//   find DIR | stat DIR | readall DIR    the names; lstat of each; open, read, close of each
//   remove DIR                    the whole tree
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct Totals {
  uint64_t bytes = 0, count = 0, sum = 0;
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "io_bench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

template <class T>
T check(T result, const std::string& what) {
  if (result < 0) fail(what);
  return result;
}

/// The first eight bytes: a cheap sign of which bytes were read.
uint64_t first_word(const std::vector<char>& buffer) {
  uint64_t word = 0;
  std::memcpy(&word, buffer.data(), std::min(buffer.size(), sizeof word));
  return word;
}

/// Memory that was touched before, so that the loop pays no first faults for it.
std::vector<char> make_buffer(size_t bytes) {
  std::vector<char> buffer(bytes);
  for (size_t i = 0; i < bytes; ++i) buffer[i] = static_cast<char>(i * 131 + i / 4096);
  return buffer;
}

Totals read_sequentially(const std::string& path, size_t block) {
  std::vector<char> buffer = make_buffer(block);
  Totals totals;
  int fd = check(open(path.c_str(), O_RDONLY | O_CLOEXEC), path);
  while (ssize_t n = check(read(fd, buffer.data(), block), path)) {
    totals.bytes += static_cast<uint64_t>(n);
    totals.sum += first_word(buffer);
    ++totals.count;
  }
  close(fd);
  return totals;
}

Totals read_mapped(const std::string& path) {
  Totals totals;
  int fd = check(open(path.c_str(), O_RDONLY | O_CLOEXEC), path);
  struct stat attributes{};
  check(fstat(fd, &attributes), path);
  size_t size = static_cast<size_t>(attributes.st_size);
  void* map = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) fail("mmap " + path);
  madvise(map, size, MADV_SEQUENTIAL);
  const char* data = static_cast<const char*>(map);
  for (size_t at = 0; at + 8 <= size; at += 64) {
    uint64_t word;
    std::memcpy(&word, data + at, 8);
    totals.sum += word;
  }
  totals.bytes = size;
  totals.count = 1;
  munmap(map, size);
  close(fd);
  return totals;
}

Totals read_randomly(const std::string& path, size_t block, uint64_t count) {
  std::vector<char> buffer = make_buffer(block);
  Totals totals;
  int fd = check(open(path.c_str(), O_RDONLY | O_CLOEXEC), path);
  uint64_t blocks = static_cast<uint64_t>(check(lseek(fd, 0, SEEK_END), path)) / block;
  std::mt19937_64 random(42);
  for (uint64_t i = 0; i < count; ++i) {
    auto at = static_cast<off_t>(random() % blocks * block);
    totals.bytes += static_cast<uint64_t>(check(pread(fd, buffer.data(), block, at), path));
    totals.sum += first_word(buffer);
  }
  totals.count = count;
  close(fd);
  return totals;
}

Totals write_new(const std::string& path, uint64_t bytes, size_t block) {
  std::vector<char> buffer = make_buffer(block);
  Totals totals;
  int fd = check(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), path);
  while (totals.bytes < bytes) {
    std::memcpy(buffer.data(), &totals.bytes, sizeof totals.bytes);
    size_t want = std::min<uint64_t>(block, bytes - totals.bytes);
    totals.bytes += static_cast<uint64_t>(check(write(fd, buffer.data(), want), path));
    ++totals.count;
  }
  check(fsync(fd), "fsync " + path);
  check(close(fd), "close " + path);
  return totals;
}

void write_small(int directory, const std::string& name, const std::vector<char>& data) {
  int fd =
      check(openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), name);
  if (write(fd, data.data(), data.size()) != static_cast<ssize_t>(data.size()))
    fail("write " + name);
  check(close(fd), "close " + name);
}

Totals create_tree(const std::string& top, uint64_t files, uint64_t folders, size_t bytes,
                   bool ends_by_syncfs) {
  std::vector<char> data = make_buffer(bytes);
  Totals totals;
  check(mkdir(top.c_str(), 0755), top);
  uint64_t made = 0;
  for (uint64_t folder = 0; folder < folders; ++folder) {
    std::string path = top + "/d" + std::to_string(folder);
    check(mkdir(path.c_str(), 0755), path);
    int directory = check(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
    for (uint64_t end = files * (folder + 1) / folders; made < end; ++made) {
      std::memcpy(data.data(), &made, sizeof made);
      write_small(directory, "f" + std::to_string(made), data);
      totals.bytes += bytes;
    }
    close(directory);
  }
  totals.count = made;
  int fd = check(open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), top);
  check(ends_by_syncfs ? syncfs(fd) : fsync(fd), "sync " + top);
  close(fd);
  return totals;
}

/// Calls `visit(directory fd, name, is a directory)` for every entry below `path`, in the order in
/// which the file system lists them; a directory after its contents.
void walk(int parent, const std::string& path,
          const std::function<void(int, const char*, bool)>& visit) {
  int fd =
      check(openat(parent, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), path);
  DIR* stream = fdopendir(fd);
  if (stream == nullptr) fail("fdopendir " + path);
  while (const dirent* entry = readdir(stream)) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    bool is_directory = entry->d_type == DT_DIR;
    if (is_directory) walk(fd, entry->d_name, visit);
    visit(fd, entry->d_name, is_directory);
  }
  closedir(stream);
}

Totals find_all(const std::string& top) {
  Totals totals;
  walk(AT_FDCWD, top, [&](int, const char* name, bool) {
    ++totals.count;
    totals.sum += std::strlen(name);
  });
  return totals;
}

Totals stat_all(const std::string& top) {
  Totals totals;
  walk(AT_FDCWD, top, [&](int directory, const char* name, bool is_directory) {
    struct stat attributes{};
    check(fstatat(directory, name, &attributes, AT_SYMLINK_NOFOLLOW), name);
    ++totals.count;
    if (!is_directory) totals.sum += static_cast<uint64_t>(attributes.st_size);
  });
  return totals;
}

Totals read_all(const std::string& top) {
  std::vector<char> buffer = make_buffer(1 << 20);
  Totals totals;
  walk(AT_FDCWD, top, [&](int directory, const char* name, bool is_directory) {
    if (is_directory) return;
    int fd = check(openat(directory, name, O_RDONLY | O_CLOEXEC), name);
    while (ssize_t n = check(read(fd, buffer.data(), buffer.size()), name)) {
      totals.bytes += static_cast<uint64_t>(n);
      totals.sum += first_word(buffer);
    }
    close(fd);
    ++totals.count;
  });
  return totals;
}

Totals remove_all(const std::string& top) {
  Totals totals;
  walk(AT_FDCWD, top, [&](int directory, const char* name, bool is_directory) {
    check(unlinkat(directory, name, is_directory ? AT_REMOVEDIR : 0), name);
    ++totals.count;
  });
  check(rmdir(top.c_str()), top);
  return totals;
}

Totals run(const std::string& operation, const std::string& path,
           const std::vector<std::string>& rest) {
  auto number = [&](size_t i) -> uint64_t {
    if (i >= rest.size()) {
      std::fprintf(stderr, "io_bench: %s needs more numbers\n", operation.c_str());
      std::exit(2);
    }
    return std::strtoull(rest[i].c_str(), nullptr, 10);
  };
  if (operation == "seqread") return read_sequentially(path, number(0));
  if (operation == "mmapread") return read_mapped(path);
  if (operation == "randread") return read_randomly(path, number(0), number(1));
  if (operation == "write") return write_new(path, number(0), number(1));
  if (operation == "create") {
    return create_tree(path, number(0), number(1), number(2),
                       rest.size() > 3 && rest[3] == "syncfs");
  }
  if (operation == "find") return find_all(path);
  if (operation == "stat") return stat_all(path);
  if (operation == "readall") return read_all(path);
  if (operation == "remove") return remove_all(path);
  std::fprintf(stderr, "io_bench: no operation '%s'\n", operation.c_str());
  std::exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: io_bench OPERATION PATH [NUMBER...]\n");
    return 2;
  }
  auto begin = std::chrono::steady_clock::now();
  Totals totals = run(argv[1], argv[2], std::vector<std::string>(argv + 3, argv + argc));
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("{\"seconds\": %.9f, \"bytes\": %llu, \"count\": %llu, \"sum\": %llu}\n", seconds,
              static_cast<unsigned long long>(totals.bytes),
              static_cast<unsigned long long>(totals.count),
              static_cast<unsigned long long>(totals.sum));
  return 0;
}
