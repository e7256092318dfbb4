#include "app/tree.h"

#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <vector>

#include <fmt/format.h>

namespace tarn::app {
namespace {

constexpr int kSymlinksMax = 40;       // as Linux (MAXSYMLINKS)
constexpr size_t kItemsABatch = 1024;  // of a directory held in memory at once

std::deque<std::string> components(std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path = slash == std::string_view::npos ? "" : path.substr(slash + 1);
  }
  return parts;
}

struct Found {
  std::string name;
  fs::Attributes attributes;
};

/// The next items of an open directory; empty at its end. `after` moves on.
Result<std::vector<Found>> read_batch(fs::FileSystem& file_system, const fs::Caller& caller, Fh fh,
                                      uint64_t& after) {
  std::vector<Found> batch;
  size_t seen = 0;
  TARN_TRY(file_system.read_directory(caller, fh, after, true, [&](const fs::DirectoryItem& item) {
    after = item.next;
    if (item.name != "." && item.name != ".." && item.attributes.has_value())
      batch.push_back({item.name, *item.attributes});
    return ++seen < kItemsABatch;
  }));
  // A batch of nothing but "." and ".." is not the end of the directory.
  if (batch.empty() && seen >= kItemsABatch) return read_batch(file_system, caller, fh, after);
  return batch;
}

struct Walk {
  fs::FileSystem& file_system;
  const fs::Caller& caller;
  const std::function<bool()>& is_cancelled;
  const FileVisitor& visitor;

  struct Directory {
    Ino ino;
    std::string path;  // ends in '/' unless it is the start
  };
  std::vector<Directory> waiting;

  Status visit_all(Fh fh, const std::string& path) {
    uint64_t after = 0;
    while (true) {
      if (is_cancelled()) return {Code::kInterrupted, "stopped before the end of the tree"};
      TARN_ASSIGN(const std::vector<Found> batch, read_batch(file_system, caller, fh, after));
      if (batch.empty()) return {};
      for (const Found& found : batch) {
        if (S_ISDIR(found.attributes.mode)) {
          waiting.push_back({found.attributes.ino, path + found.name + "/"});
        } else if (S_ISREG(found.attributes.mode)) {
          TARN_TRY(visitor(path + found.name, found.attributes));
        }
      }
    }
  }

  Status visit(const Directory& directory) {
    Status allowed = file_system.access(caller, directory.ino, X_OK);
    if (!allowed.is_ok()) return allowed.with_context(fmt::format("'{}'", directory.path));
    const auto fh = file_system.open_directory(caller, directory.ino);
    // A directory that went away while the tree was walked has no files.
    if (fh.is(Code::kStale) || fh.is(Code::kNotFound)) return {};
    if (!fh.is_ok()) return fh.status().with_context(fmt::format("'{}'", directory.path));
    const Status visited = visit_all(fh.value(), directory.path);
    TARN_TRY(file_system.release_directory(fh.value()));
    return visited;
  }
};

}  // namespace

Result<fs::Attributes> resolve(fs::FileSystem& file_system, const fs::Caller& caller, Ino start,
                               std::string_view path) {
  std::deque<std::string> parts = components(path);
  std::vector<Ino> above;  // the directories on the way, for ".."
  TARN_ASSIGN(fs::Attributes at, file_system.get_attributes(caller, start));
  for (int links = 0; !parts.empty();) {
    const std::string name = std::move(parts.front());
    parts.pop_front();
    if (name == "..") {
      if (above.empty())
        return Status(Code::kInvalidArgument, fmt::format("'{}' leaves the tree", path));
      TARN_ASSIGN(at, file_system.get_attributes(caller, above.back()));
      above.pop_back();
      continue;
    }
    const auto next = file_system.lookup(caller, at.ino, name);
    if (!next.is_ok()) return next.status().with_context(fmt::format("'{}'", path));
    if (!S_ISLNK(next->mode)) {
      above.push_back(at.ino);
      at = next.value();
      continue;
    }
    if (++links > kSymlinksMax)
      return Status(Code::kTooManySymlinks,
                    fmt::format("'{}' passes more than {} symbolic links", path, kSymlinksMax));
    TARN_ASSIGN(const std::string target, file_system.readlink(caller, next->ino));
    if (target.starts_with('/'))
      return Status(Code::kInvalidArgument,
                    fmt::format("'{}' passes the link '{}' to '{}', which is absolute: it means a "
                                "path of the machine, not of this Tarn",
                                path, name, target));
    std::deque<std::string> linked = components(target);
    parts.insert(parts.begin(), linked.begin(), linked.end());
  }
  return at;
}

Status walk_files(fs::FileSystem& file_system, const fs::Caller& caller, Ino start,
                  const std::function<bool()>& is_cancelled, const FileVisitor& visitor) {
  Walk walk{file_system, caller, is_cancelled, visitor, {}};
  walk.waiting.push_back({start, ""});
  while (!walk.waiting.empty()) {
    const Walk::Directory directory = std::move(walk.waiting.back());
    walk.waiting.pop_back();
    TARN_TRY(walk.visit(directory));
  }
  return {};
}

}  // namespace tarn::app
