// A small file system in memory, for the mount's own tests only: it stands where room fs stands.
//
// Names, attributes, xattrs and file bytes live in a map; a file can be given a real backing file,
// and is then opened direct (passthrough) through the Attacher. `generated` files have bytes that
// are a function of the offset, so that a second process serves the same file. Thread-safe (one
// lock).
#pragma once

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>

#include "base/file.h"
#include "base/mutex.h"
#include "fs/fs.h"

namespace tarn::mount {

/// Byte `offset` of every generated file.
inline std::byte generated_byte(uint64_t offset) {
  return static_cast<std::byte>((offset * 2654435761u) >> 13 ^ offset >> 20);
}

class MemoryLocalFile final : public content::LocalFile {
 public:
  MemoryLocalFile(UniqueFd fd, content::Attacher* attacher)
      : fd_(std::move(fd)), attacher_(attacher) {}
  ~MemoryLocalFile() override {
    if (id_ != 0) attacher_->detach(id_);
  }
  BlobId blob() const override { return BlobId(1); }
  int fd() const override { return fd_.get(); }
  int32_t attachment() const override { return id_; }
  Result<int32_t> attach() override {
    if (id_ == 0) {
      TARN_ASSIGN(id_, attacher_->attach(fd_.get()));
    }
    return id_;
  }
  std::string kernel_handle() const override { return {}; }
  bool is_named() const override { return false; }
  Result<content::FileStat> stat() const override {
    struct stat info{};
    if (fstat(fd_.get(), &info) != 0) return last_errno("fstat");
    content::FileStat out;
    out.size = static_cast<uint64_t>(info.st_size);
    out.blocks = static_cast<uint64_t>(info.st_blocks);
    out.mtime = from_timespec(info.st_mtim);
    return out;
  }

 private:
  UniqueFd fd_;
  content::Attacher* attacher_;
  int32_t id_ = 0;
};

class MemoryFs final : public fs::FileSystem {
 public:
  using fs::FileSystem::open;

  struct Node {
    fs::Attributes attributes;
    std::string bytes;  // file data or symlink target
    std::map<std::string, Ino> entries;
    std::map<std::string, std::string> xattrs;
    content::LocalFileRef backing;  // direct when set
    bool is_generated = false;
  };

  MemoryFs() { nodes_[kRootIno] = make(S_IFDIR | 0755, kRootIno); }

  // --- set-up and observation by tests
  Ino add_generated(const std::string& name, uint64_t size) {
    std::lock_guard lock(mutex_);
    Ino ino = next();
    Node node = make(S_IFREG | 0644, ino);
    node.attributes.size = size;
    node.is_generated = true;
    nodes_[ino] = std::move(node);
    nodes_[kRootIno].entries[name] = ino;
    return ino;
  }
  Ino add_backed(const std::string& name, content::LocalFileRef backing) {
    std::lock_guard lock(mutex_);
    Ino ino = next();
    Node node = make(S_IFREG | 0644, ino);
    node.backing = std::move(backing);
    nodes_[ino] = std::move(node);
    nodes_[kRootIno].entries[name] = ino;
    return ino;
  }
  /// Adds a file without telling the kernel, as another face of Tarn would.
  Ino add_behind(const std::string& name, const std::string& bytes) {
    std::lock_guard lock(mutex_);
    Ino ino = next();
    Node node = make(S_IFREG | 0644, ino);
    node.bytes = bytes;
    node.attributes.size = bytes.size();
    nodes_[ino] = std::move(node);
    nodes_[kRootIno].entries[name] = ino;
    return ino;
  }
  /// No writer is left; the kernel may believe attributes again.
  void settle(const std::string& name) {
    std::lock_guard lock(mutex_);
    nodes_[nodes_[kRootIno].entries[name]].attributes.is_settled = true;
  }
  void drop_backings() {
    std::lock_guard lock(mutex_);
    for (auto& [ino, node] : nodes_) node.backing.reset();
  }
  void replace_behind(Ino ino, const std::string& bytes) {
    std::lock_guard lock(mutex_);
    nodes_[ino].bytes = bytes;
    nodes_[ino].attributes.size = bytes.size();
  }
  fs::Invalidator* invalidator() {
    std::lock_guard lock(mutex_);
    return invalidator_;
  }
  uint64_t calls(const std::string& name) {
    std::lock_guard lock(mutex_);
    return calls_[name];
  }
  std::atomic<bool> is_open_slow{false};
  /// `hook` runs at the start of operation `name` (fsync, open, read, copy), outside the lock.
  void on(const std::string& name, std::function<void()> hook) {
    std::lock_guard lock(mutex_);
    hooks_[name] = std::move(hook);
  }
  meta::Request last_request() {
    std::lock_guard lock(mutex_);
    return last_request_;
  }
  uint64_t open_handles() {
    std::lock_guard lock(mutex_);
    return handles_.size();
  }

  // --- fs::FileSystem
  Status close() override { return Status::ok(); }
  void set_invalidator(fs::Invalidator* invalidator) override {
    std::lock_guard lock(mutex_);
    invalidator_ = invalidator;
  }
  Result<fs::Attributes> lookup(const fs::Caller&, Ino parent, std::string_view name) override {
    std::lock_guard lock(mutex_);
    ++calls_["lookup"];
    auto& entries = nodes_[parent].entries;
    auto found = entries.find(std::string(name));
    if (found == entries.end()) return Status(Code::kNotFound, "no such name");
    return live(found->second);
  }
  Result<fs::Attributes> get_attributes(const fs::Caller&, Ino ino) override {
    std::lock_guard lock(mutex_);
    ++calls_["getattr"];
    if (!nodes_.contains(ino)) return Status(Code::kStale, "no such inode");
    return live(ino);
  }
  Result<fs::Attributes> set_attributes(const fs::Caller& caller, Ino ino,
                                        const fs::SetAttributes& change,
                                        std::optional<Fh>) override {
    std::lock_guard lock(mutex_);
    last_request_ = caller.request;
    Node& node = nodes_[ino];
    if (change.mode) node.attributes.mode = (node.attributes.mode & S_IFMT) | *change.mode;
    if (change.clears_set_id && S_ISREG(node.attributes.mode)) {
      node.attributes.mode &= ~static_cast<uint32_t>(S_ISUID);
    }
    if (change.uid) node.attributes.uid = *change.uid;
    if (change.gid) node.attributes.gid = *change.gid;
    if (change.atime) node.attributes.atime = *change.atime;
    if (change.mtime) node.attributes.mtime = *change.mtime;
    if (change.size) {
      node.attributes.size = *change.size;
      if (node.backing) {
        if (ftruncate(node.backing->fd(), static_cast<off_t>(*change.size)) != 0) {
          return last_errno("ftruncate");
        }
      } else {
        node.bytes.resize(*change.size);
      }
    }
    return live(ino);
  }
  Result<std::string> readlink(const fs::Caller&, Ino ino) override {
    std::lock_guard lock(mutex_);
    return nodes_[ino].bytes;
  }
  Result<fs::Attributes> mknod(const fs::Caller& caller, Ino parent, std::string_view name,
                               uint32_t mode, uint32_t rdev) override {
    std::lock_guard lock(mutex_);
    TARN_ASSIGN(Ino ino, add(caller, parent, name, mode));
    nodes_[ino].attributes.rdev = rdev;
    return live(ino);
  }
  Result<fs::Attributes> mkdir(const fs::Caller& caller, Ino parent, std::string_view name,
                               uint32_t mode) override {
    std::lock_guard lock(mutex_);
    TARN_ASSIGN(Ino ino, add(caller, parent, name, (mode & 07777) | S_IFDIR));
    ++nodes_[parent].attributes.nlink;
    return live(ino);
  }
  Result<fs::Attributes> symlink(const fs::Caller& caller, Ino parent, std::string_view name,
                                 std::string_view target) override {
    std::lock_guard lock(mutex_);
    TARN_ASSIGN(Ino ino, add(caller, parent, name, S_IFLNK | 0777));
    nodes_[ino].bytes = target;
    nodes_[ino].attributes.size = target.size();
    return live(ino);
  }
  Result<fs::Attributes> link(const fs::Caller&, Ino ino, Ino parent,
                              std::string_view name) override {
    std::lock_guard lock(mutex_);
    auto [at, is_new] = nodes_[parent].entries.emplace(name, ino);
    if (!is_new) return Status(Code::kExists, "exists");
    ++nodes_[ino].attributes.nlink;
    return live(ino);
  }
  Status unlink(const fs::Caller& caller, Ino parent, std::string_view name) override {
    std::lock_guard lock(mutex_);
    last_request_ = caller.request;
    auto& entries = nodes_[parent].entries;
    auto found = entries.find(std::string(name));
    if (found == entries.end()) return Status(Code::kNotFound, "no such name");
    --nodes_[found->second].attributes.nlink;
    entries.erase(found);
    return Status::ok();
  }
  Status rmdir(const fs::Caller&, Ino parent, std::string_view name) override {
    std::lock_guard lock(mutex_);
    auto& entries = nodes_[parent].entries;
    auto found = entries.find(std::string(name));
    if (found == entries.end()) return Status(Code::kNotFound, "no such name");
    if (!nodes_[found->second].entries.empty()) return Status(Code::kNotEmpty, "not empty");
    nodes_[found->second].attributes.nlink = 0;
    --nodes_[parent].attributes.nlink;
    entries.erase(found);
    return Status::ok();
  }
  Status rename(const fs::Caller&, Ino source_parent, std::string_view source_name,
                Ino target_parent, std::string_view target_name, fs::RenameFlags flags) override {
    std::lock_guard lock(mutex_);
    ++calls_["rename"];
    auto& source = nodes_[source_parent].entries;
    auto& target = nodes_[target_parent].entries;
    auto from = source.find(std::string(source_name));
    if (from == source.end()) return Status(Code::kNotFound, "no such name");
    auto to = target.find(std::string(target_name));
    if (flags.no_replace && to != target.end()) return Status(Code::kExists, "exists");
    if (flags.exchange) {
      if (to == target.end()) return Status(Code::kNotFound, "no such name");
      std::swap(from->second, to->second);
      return Status::ok();
    }
    Ino moved = from->second;
    source.erase(from);
    if (to != target.end()) --nodes_[to->second].attributes.nlink;
    target[std::string(target_name)] = moved;
    return Status::ok();
  }
  Status access(const fs::Caller&, Ino, int) override { return Status::ok(); }
  Result<fs::StatFs> statfs() override { return fs::StatFs{1000, 500, 4096, 100, 50, 255}; }
  void forget(Ino ino) override {
    std::lock_guard lock(mutex_);
    ++calls_["forget"];
    auto found = nodes_.find(ino);
    if (found != nodes_.end() && found->second.attributes.nlink == 0) nodes_.erase(found);
  }
  Result<fs::Opened> open(const fs::Caller&, Ino ino, int flags) override {
    run_hook("open");
    std::lock_guard lock(mutex_);
    ++calls_["open"];
    Node& node = nodes_[ino];
    if (node.backing && (flags & O_ACCMODE) != O_RDONLY) node.attributes.is_settled = false;
    if ((flags & O_TRUNC) != 0 && !node.backing) {
      node.bytes.clear();
      node.attributes.size = 0;
    }
    return opened(ino);
  }
  Result<fs::Created> create(const fs::Caller& caller, Ino parent, std::string_view name,
                             uint32_t mode, int) override {
    std::lock_guard lock(mutex_);
    TARN_ASSIGN(Ino ino, add(caller, parent, name, (mode & 07777) | S_IFREG));
    TARN_ASSIGN(auto handle, opened(ino));
    return fs::Created{live(ino), handle};
  }
  Result<fs::Created> create_unnamed(const fs::Caller& caller, Ino, uint32_t mode, int) override {
    std::lock_guard lock(mutex_);
    Ino ino = next();
    nodes_[ino] = make((mode & 07777) | S_IFREG, ino);
    nodes_[ino].attributes.nlink = 0;
    nodes_[ino].attributes.uid = caller.uid;
    TARN_ASSIGN(auto handle, opened(ino));
    return fs::Created{live(ino), handle};
  }
  Result<size_t> read(Fh fh, uint64_t offset, std::span<std::byte> out) override {
    run_hook("read");
    std::lock_guard lock(mutex_);
    ++calls_["read"];
    TARN_ASSIGN(Ino ino, ino_of(fh));
    Node& node = nodes_[ino];
    if (node.backing) return read_at(node.backing->fd(), offset, out);
    uint64_t size = node.attributes.size;
    size_t count = offset >= size ? 0 : std::min<uint64_t>(out.size(), size - offset);
    for (size_t i = 0; i < count; ++i) {
      out[i] = node.is_generated ? generated_byte(offset + i)
                                 : static_cast<std::byte>(node.bytes[offset + i]);
    }
    return count;
  }
  Result<size_t> write(const fs::Caller&, Fh fh, uint64_t offset,
                       std::span<const std::byte> data) override {
    std::lock_guard lock(mutex_);
    ++calls_["write"];
    TARN_ASSIGN(Ino ino, ino_of(fh));
    Node& node = nodes_[ino];
    if (node.bytes.size() < offset + data.size()) node.bytes.resize(offset + data.size());
    std::memcpy(node.bytes.data() + offset, data.data(), data.size());
    node.attributes.size = node.bytes.size();
    return data.size();
  }
  Result<uint64_t> seek(Fh fh, uint64_t offset, int whence) override {
    std::lock_guard lock(mutex_);
    TARN_ASSIGN(Ino ino, ino_of(fh));
    uint64_t size = nodes_[ino].attributes.size;
    if (offset >= size) return Status(Code::kNoDevice, "past the end");
    return whence == SEEK_HOLE ? size : offset;
  }
  Status allocate(const fs::Caller&, Fh fh, int, uint64_t offset, uint64_t length) override {
    std::lock_guard lock(mutex_);
    TARN_ASSIGN(Ino ino, ino_of(fh));
    Node& node = nodes_[ino];
    if (node.bytes.size() < offset + length) node.bytes.resize(offset + length);
    node.attributes.size = node.bytes.size();
    return Status::ok();
  }
  Result<uint64_t> copy_range(const fs::Caller&, Fh source, uint64_t source_offset, Fh target,
                              uint64_t target_offset, uint64_t length) override {
    run_hook("copy");
    std::lock_guard lock(mutex_);
    ++calls_["copy_range"];
    TARN_ASSIGN(Ino from, ino_of(source));
    TARN_ASSIGN(Ino to, ino_of(target));
    std::string part = nodes_[from].bytes.substr(source_offset, length);
    Node& node = nodes_[to];
    if (node.bytes.size() < target_offset + part.size()) {
      node.bytes.resize(target_offset + part.size());
    }
    node.bytes.replace(target_offset, part.size(), part);
    node.attributes.size = node.bytes.size();
    return part.size();
  }
  Status flush(const fs::Caller&, Fh) override { return Status::ok(); }
  Status fsync(Fh, bool) override {
    run_hook("fsync");
    std::lock_guard lock(mutex_);
    ++calls_["fsync"];
    return Status::ok();
  }
  Status release(Fh fh) override {
    std::lock_guard lock(mutex_);
    ++calls_["release"];
    handles_.erase(fh);
    return Status::ok();
  }
  bool open_is_quick(Ino, int) override { return !is_open_slow.load(); }
  Result<Fh> open_directory(const fs::Caller&, Ino ino) override {
    std::lock_guard lock(mutex_);
    return handle(ino);
  }
  Status read_directory(const fs::Caller&, Fh fh, uint64_t after, bool with_attributes,
                        const std::function<bool(const fs::DirectoryItem&)>& visitor) override {
    std::lock_guard lock(mutex_);
    TARN_ASSIGN(Ino ino, ino_of(fh));
    uint64_t cookie = 0;
    auto visit = [&](const std::string& name, Ino child) {
      if (++cookie <= after) return true;
      fs::DirectoryItem item{name, child, nodes_[child].attributes.mode & S_IFMT, cookie, {}};
      if (with_attributes) item.attributes = live(child);
      return visitor(item);
    };
    if (!visit(".", ino) || !visit("..", kRootIno)) return Status::ok();
    for (const auto& [name, child] : nodes_[ino].entries) {
      if (!visit(name, child)) break;
    }
    return Status::ok();
  }
  Status fsync_directory(Fh) override { return Status::ok(); }
  Status release_directory(Fh fh) override { return release(fh); }
  Result<std::string> get_xattr(const fs::Caller&, Ino ino, std::string_view name) override {
    std::lock_guard lock(mutex_);
    auto& xattrs = nodes_[ino].xattrs;
    auto found = xattrs.find(std::string(name));
    if (found == xattrs.end()) return Status(Code::kNoAttribute, "no such attribute");
    return found->second;
  }
  Result<std::vector<std::string>> list_xattrs(const fs::Caller&, Ino ino) override {
    std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, value] : nodes_[ino].xattrs) names.push_back(name);
    return names;
  }
  Status set_xattr(const fs::Caller&, Ino ino, std::string_view name, std::string_view value,
                   int flags) override {
    std::lock_guard lock(mutex_);
    auto& xattrs = nodes_[ino].xattrs;
    bool exists = xattrs.contains(std::string(name));
    if (flags == XATTR_CREATE && exists) return Status(Code::kExists, "exists");
    xattrs[std::string(name)] = value;
    return Status::ok();
  }
  Status remove_xattr(const fs::Caller&, Ino ino, std::string_view name) override {
    std::lock_guard lock(mutex_);
    if (nodes_[ino].xattrs.erase(std::string(name)) == 0) {
      return Status(Code::kNoAttribute, "no such attribute");
    }
    return Status::ok();
  }
  Status sync() override { return Status::ok(); }
  OpenCounts open_counts() override { return {}; }
  std::vector<int32_t> attachments() override { return {}; }
  content::Content& content() override {
    CHECK(false, "the test file system has no content");
    std::abort();
  }
  kv::Store& store() override {
    CHECK(false, "the test file system has no store");
    std::abort();
  }

 private:
  void run_hook(const std::string& name) {
    std::function<void()> hook;
    {
      std::lock_guard lock(mutex_);
      auto found = hooks_.find(name);
      if (found != hooks_.end()) hook = found->second;
    }
    if (hook) hook();
  }
  Ino next() { return Ino(++last_ino_); }
  static Node make(uint32_t mode, Ino ino) {
    Node node;
    node.attributes.ino = ino;
    node.attributes.mode = mode;
    node.attributes.nlink = S_ISDIR(mode) ? 2 : 1;
    node.attributes.atime = node.attributes.mtime = node.attributes.ctime = node.attributes.btime =
        Clock::system().now();
    return node;
  }
  Result<Ino> add(const fs::Caller& caller, Ino parent, std::string_view name, uint32_t mode) {
    last_request_ = caller.request;
    auto& entries = nodes_[parent].entries;
    if (entries.contains(std::string(name))) return Status(Code::kExists, "exists");
    Ino ino = next();
    nodes_[ino] = make(mode, ino);
    nodes_[ino].attributes.uid = caller.uid;
    nodes_[ino].attributes.gid = caller.gid;
    nodes_[parent].entries[std::string(name)] = ino;
    return ino;
  }
  fs::Attributes live(Ino ino) {
    Node& node = nodes_[ino];
    if (node.backing) {
      auto stat = node.backing->stat();
      if (stat.is_ok()) {
        node.attributes.size = stat->size;
        node.attributes.blocks = stat->blocks;
        node.attributes.mtime = stat->mtime;
      }
    }
    return node.attributes;
  }
  Fh handle(Ino ino) {
    Fh fh(++last_fh_);
    handles_[fh] = ino;
    return fh;
  }
  Result<fs::Opened> opened(Ino ino) {
    // Handles of generated files are the inode, so that another process knows them too.
    Node& node = nodes_[ino];
    fs::Opened result;
    if (node.is_generated) {
      result.fh = Fh(ino.value | uint64_t{1} << 40);
      handles_[result.fh] = ino;
      return result;
    }
    result.fh = handle(ino);
    if (node.backing) {
      auto attached = node.backing->attach();
      if (attached.is_ok()) {
        result.path = fs::Path::kDirect;
        result.backing = node.backing;
      }
    }
    return result;
  }
  Result<Ino> ino_of(Fh fh) {
    if ((fh.value & uint64_t{1} << 40) != 0) return Ino(fh.value & 0xffffffff);
    auto found = handles_.find(fh);
    if (found == handles_.end()) return Status(Code::kBadHandle, "no such handle");
    return found->second;
  }

  Mutex mutex_{"mount.memory_fs", 990};
  std::map<Ino, Node> nodes_;
  std::map<Fh, Ino> handles_;
  std::map<std::string, uint64_t> calls_;
  std::map<std::string, std::function<void()>> hooks_;
  uint64_t last_ino_ = 1, last_fh_ = 0;
  fs::Invalidator* invalidator_ = nullptr;
  meta::Request last_request_;
};

}  // namespace tarn::mount
