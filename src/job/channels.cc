#include "job/channels.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include <fmt/format.h>

#include "base/file.h"
#include "fs/objects.h"
#include "meta/meta.h"

namespace tarn::job {
namespace {

using registry::Channel;
using registry::ChannelKind;
using registry::InputMode;

constexpr size_t kCopyBytes = size_t{1} << 20;
// Names that begin with a prefix which ends inside a name; each is a mount.
constexpr size_t kMatchesMax = 1000;
// A directory hangs at most this deep (PATH_MAX / 2); deeper means a loop, which is damage.
constexpr int kDepthMax = 2048;

Status nothing_there(const Channel& channel) {
  return {Code::kNotFound,
          fmt::format("channel '{}': nothing is at {}", channel.name, channel.uri)};
}

struct Match {
  std::string name;
  fs::Attributes attributes;
};

/// Entries of `directory` whose names begin with `prefix`.
Result<std::vector<Match>> entries_with_prefix(fs::FileSystem& file_system,
                                               const fs::Caller& caller, Ino directory,
                                               const std::string& prefix) {
  std::vector<Match> matches;
  TARN_ASSIGN(const Fh fh, file_system.open_directory(caller, directory));
  const Status read =
      file_system.read_directory(caller, fh, 0, true, [&](const fs::DirectoryItem& item) {
        if (item.name != "." && item.name != ".." && item.name.starts_with(prefix) &&
            item.attributes)
          matches.push_back({item.name, *item.attributes});
        return matches.size() <= kMatchesMax;
      });
  TARN_TRY(file_system.release_directory(fh));
  TARN_TRY(read);
  return matches;
}

std::string source_path(const Channel& channel) {
  if (channel.kind != ChannelKind::kPrefix) {
    const size_t begin = channel.prefix.find_first_not_of('/');
    return begin == std::string::npos ? "" : channel.prefix.substr(begin);
  }
  return channel.prefix.empty() ? channel.bucket : channel.bucket + "/" + channel.prefix;
}

MountKind mount_kind(const Channel& channel) {
  if (channel.kind == ChannelKind::kFileSystemReadWrite) return MountKind::kBindReadWrite;
  if (channel.kind == ChannelKind::kPrefix && channel.mode == InputMode::kFile)
    return MountKind::kOverlay;
  return MountKind::kBindReadOnly;
}

Result<PlannedChannel> plan_directory(const fs::Caller& caller, const Channel& channel,
                                      const std::string& source, const std::string& target,
                                      const std::string& scratch) {
  TARN_TRY(make_directories(target));
  MountStep step{mount_kind(channel), source, "/opt/ml/input/data/" + channel.name, "", ""};
  if (step.kind == MountKind::kOverlay) {
    step.upper = scratch + "/" + channel.name + "/upper";
    step.work = scratch + "/" + channel.name + "/work";
    TARN_TRY(make_directories(step.upper));
    TARN_TRY(make_directories(step.work));
    // The upper directory's owner is what the job sees at the top of its channel.
    if (geteuid() == 0 && chown(step.upper.c_str(), caller.uid, caller.gid) != 0)
      return last_errno("give the channel's upper layer to the job");
  }
  const char* how = step.kind == MountKind::kOverlay         ? "overlay"
                    : step.kind == MountKind::kBindReadWrite ? "bind read-write"
                                                             : "bind";
  return PlannedChannel{{step}, {}, how};
}

/// A prefix that is one file, or ends inside a name.
Result<PlannedChannel> plan_matches(fs::FileSystem& file_system, const fs::Caller& caller,
                                    const Channel& channel, const std::string& source,
                                    const std::string& target) {
  const size_t slash = source.rfind('/');
  if (slash == std::string::npos || source.ends_with('/')) return nothing_there(channel);
  const std::string folder = source.substr(0, slash), prefix = source.substr(slash + 1);
  const auto parent = find_path(file_system, caller, folder);
  if (!parent.is_ok() || !S_ISDIR(parent->mode)) return nothing_there(channel);
  TARN_ASSIGN(const auto matches, entries_with_prefix(file_system, caller, parent->ino, prefix));
  if (matches.empty()) return nothing_there(channel);
  if (matches.size() > kMatchesMax)
    return Status(Code::kInvalidArgument,
                  fmt::format("channel '{}': more than {} names begin with {}; name a folder",
                              channel.name, kMatchesMax, channel.uri));
  TARN_TRY(make_directories(target));
  PlannedChannel planned{{}, {}, "bind of names"};
  for (const Match& match : matches) {
    const std::string place = target + "/" + match.name;
    if (S_ISDIR(match.attributes.mode)) {
      TARN_TRY(make_directories(place));
    } else if (S_ISREG(match.attributes.mode)) {
      TARN_TRY(open_at(AT_FDCWD, place, O_WRONLY | O_CREAT).status());
    } else {
      continue;
    }
    planned.tops.push_back(match.attributes.ino);
    planned.mounts.push_back({MountKind::kBindReadOnly, folder + "/" + match.name,
                              "/opt/ml/input/data/" + channel.name + "/" + match.name, "", ""});
  }
  if (planned.mounts.empty()) return nothing_there(channel);
  return planned;
}

/// `key` as a path below the channel: without the prefix, or, where that ends inside a name, with
/// the whole of that name.
std::string relative_key(const std::string& prefix, const std::string& key) {
  if (prefix.empty()) return key;
  if (prefix.ends_with('/') || (key.size() > prefix.size() && key[prefix.size()] == '/')) {
    std::string rest = key.substr(prefix.size());
    return rest.starts_with('/') ? rest.substr(1) : rest;
  }
  const size_t slash = prefix.rfind('/');
  return slash == std::string::npos ? key : key.substr(slash + 1);
}

Result<uint64_t> copy_object(const content::FileRef& source, const std::string& path,
                             std::vector<std::byte>& buffer,
                             const std::function<bool()>& is_cancelled) {
  if (const size_t slash = path.rfind('/'); slash != std::string::npos)
    TARN_TRY(make_directories(path.substr(0, slash)));
  TARN_ASSIGN(const UniqueFd target,
              open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
  uint64_t offset = 0;
  while (true) {
    if (is_cancelled()) return Status(Code::kInterrupted, "the job was stopped");
    TARN_ASSIGN(const size_t got, source->read(offset, buffer));
    if (got == 0) return offset;
    TARN_TRY(write_all(target.get(), std::span(buffer).first(got)));
    offset += got;
  }
}

/// Answers below which of the watched directories an inode lies, walking up once for each parent.
class Ancestry {
 public:
  Ancestry(kv::Transaction& txn, const std::vector<std::vector<Ino>>& tops) : txn_(txn) {
    for (size_t i = 0; i < tops.size(); ++i)
      for (const Ino top : tops[i]) watched_[top] |= uint64_t{1} << i;
  }
  /// Bit i: is one of tops[i] or below one.
  Result<uint64_t> below(Ino ino, int depth = 0) {
    if (const auto known = known_.find(ino); known != known_.end()) return known->second;
    uint64_t bits = 0;
    if (const auto own = watched_.find(ino); own != watched_.end()) bits = own->second;
    const auto row = meta::get_inode(txn_, ino);
    if (!row.is_ok() && !row.is(Code::kNotFound)) return row.status();
    if (row.is_ok() && row->parent && ino != kRootIno && depth < kDepthMax) {
      TARN_ASSIGN(const uint64_t above, below(row->parent, depth + 1));
      bits |= above;
    }
    known_[ino] = bits;
    return bits;
  }

 private:
  kv::Transaction& txn_;
  std::map<Ino, uint64_t> watched_, known_;
};

/// A file that settles, or gets its digests, changes its row and not its bytes: then its mtime is
/// from before.
Result<bool> changes_input(kv::Transaction& txn, const meta::ChangeRecord& record, TimeNs began) {
  if (record.kind == meta::ChangeKind::kForget || record.kind == meta::ChangeKind::kXattr)
    return false;
  if (record.kind != meta::ChangeKind::kContent) return true;
  const auto row = meta::get_inode(txn, record.ino);
  if (row.is(Code::kNotFound)) return true;
  TARN_TRY(row.status());
  return row->mtime >= began;
}

/// The watched directories that a record concerns, as bits.
Result<uint64_t> touched(kv::Transaction& txn, Ancestry& ancestry, const meta::ChangeRecord& record,
                         TimeNs began) {
  TARN_ASSIGN(const bool is_change, changes_input(txn, record, began));
  uint64_t bits = 0;
  if (!is_change) return bits;
  for (const Ino ino : {record.ino, record.parent_before, record.parent_after}) {
    if (!ino) continue;
    TARN_ASSIGN(const uint64_t below, ancestry.below(ino));
    bits |= below;
  }
  return bits;
}

}  // namespace

fs::Caller caller_of(const registry::Owner& owner) {
  fs::Caller caller;
  caller.uid = owner.uid;
  caller.gid = owner.gid;
  caller.groups = owner.groups;
  caller.umask = owner.umask;
  return caller;
}

Result<fs::Attributes> find_path(fs::FileSystem& file_system, const fs::Caller& caller,
                                 std::string_view path) {
  TARN_ASSIGN(fs::Attributes at, file_system.get_attributes(caller, kRootIno));
  std::string_view rest = path;
  while (!rest.empty()) {
    const size_t slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    rest = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..")
      return Status(Code::kInvalidArgument, fmt::format("'{}' has a '..' in it", path));
    TARN_ASSIGN(at, file_system.lookup(caller, at.ino, name));
    if (S_ISLNK(at.mode))
      return Status(Code::kInvalidArgument,
                    fmt::format("'{}' goes through the symbolic link '{}'; name what it points to",
                                path, name));
  }
  return at;
}

Result<PlannedChannel> plan_channel(fs::FileSystem& file_system, const fs::Caller& caller,
                                    const Channel& channel, const std::string& ml_directory,
                                    const std::string& scratch_directory) {
  const std::string source = source_path(channel);
  const std::string target = ml_directory + "/input/data/" + channel.name;
  const auto found = find_path(file_system, caller, source);
  if (!found.is_ok() && !found.is(Code::kNotFound) && !found.is(Code::kNotDirectory))
    return found.status().with_context(fmt::format("channel '{}'", channel.name));
  if (found.is_ok() && S_ISDIR(found->mode)) {
    TARN_TRY(file_system.access(caller, found->ino, R_OK | X_OK)
                 .with_context(fmt::format("channel '{}', {}", channel.name, channel.uri)));
    TARN_ASSIGN(PlannedChannel planned,
                plan_directory(caller, channel, source, target, scratch_directory));
    planned.tops = {found->ino};
    return planned;
  }
  if (channel.kind != ChannelKind::kPrefix)
    return Status(Code::kNotFound,
                  fmt::format("channel '{}': there is no directory '/{}'", channel.name, source));
  return plan_matches(file_system, caller, channel, source, target);
}

Result<Copied> copy_channel(fs::FileSystem& file_system, const fs::Caller& caller,
                            const Channel& channel, const std::string& target,
                            const std::function<bool()>& is_cancelled) {
  std::string bucket = channel.bucket, prefix = channel.prefix;
  if (channel.kind != ChannelKind::kPrefix) {
    const std::string path = source_path(channel);
    const size_t slash = path.find('/');
    bucket = path.substr(0, slash);
    prefix = slash == std::string::npos ? "" : path.substr(slash + 1) + "/";
  }
  TARN_TRY(make_directories(target));
  fs::Objects objects(file_system);
  std::vector<std::byte> buffer(kCopyBytes);
  Copied copied;
  fs::ListRequest request{prefix, "", "", 1000};
  while (true) {
    TARN_ASSIGN(const fs::Listing page, objects.list(caller, bucket, request));
    for (const fs::ListedKey& item : page.keys) {
      if (item.key.ends_with('/')) continue;
      TARN_ASSIGN(const fs::OpenObject object, objects.open(caller, bucket, item.key));
      TARN_ASSIGN(const uint64_t bytes,
                  copy_object(object.file, target + "/" + relative_key(prefix, item.key), buffer,
                              is_cancelled));
      copied.bytes += bytes;
      ++copied.files;
    }
    if (!page.is_truncated) break;
    request.start_after = page.last;
  }
  if (copied.files == 0) return nothing_there(channel);
  return copied;
}

Result<std::string> read_object(fs::FileSystem& file_system, const fs::Caller& caller,
                                const std::string& uri, uint64_t bytes_max) {
  const size_t scheme = uri.find("://"), slash = uri.find('/', scheme + 3);
  if (!uri.starts_with("s3://") || slash == std::string::npos)
    return Status(Code::kInvalidArgument, fmt::format("'{}' is no s3://bucket/key", uri));
  fs::Objects objects(file_system);
  const auto opened =
      objects.open(caller, uri.substr(scheme + 3, slash - scheme - 3), uri.substr(slash + 1));
  if (!opened.is_ok()) return opened.status().with_context(uri);
  if (opened->file == nullptr)
    return Status(Code::kInvalidArgument, fmt::format("'{}' is a folder", uri));
  const uint64_t size = opened->info.attributes.size;
  if (size > bytes_max)
    return Status(Code::kFileTooLarge,
                  fmt::format("{} has {} bytes, the limit is {}", uri, size, bytes_max));
  std::string text(size, '\0');
  TARN_ASSIGN(const size_t got, opened->file->read(0, std::as_writable_bytes(std::span(text))));
  if (got != size) return Status(Code::kIo, fmt::format("{} ended after {} bytes", uri, got));
  return text;
}

Result<std::vector<uint64_t>> count_changes(fs::FileSystem& file_system, Stamp since, TimeNs began,
                                            const std::vector<std::vector<Ino>>& tops) {
  std::vector<uint64_t> counts(tops.size(), 0);
  const auto txn = file_system.store().begin();
  Ancestry ancestry(*txn, tops);
  Status failed;
  TARN_TRY(file_system.store().read_log(since, [&](const kv::LogEntry& entry) {
    const auto record = meta::decode_change(entry);
    if (!record.is_ok()) {
      failed = record.status();
      return false;
    }
    const auto below = touched(*txn, ancestry, *record, began);
    if (!below.is_ok()) {
      failed = below.status();
      return false;
    }
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += *below >> i & 1;
    return true;
  }));
  TARN_TRY(failed);
  return counts;
}

}  // namespace tarn::job
