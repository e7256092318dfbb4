#include "fs/extract.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "archive/acl_text.h"
#include "archive/archive.h"
#include "base/kill_point.h"
#include "digest/md5_lanes.h"
#include "fs/staging.h"

namespace tarn::fs {
namespace {

// Members per transaction: enough to make its cost small, few enough to bound memory.
constexpr size_t kMembersPerTransaction = 512;
// Slices whose digests are computed together: keeps all lanes full.
constexpr size_t kDigestBatch = 4096;
// Blobs of members that wait for a sync, each with an open descriptor.
constexpr size_t kUnsyncedBlobs = 256;

/// The bytes of an open file of the file system, as an archive's source.
class FileSource final : public archive::Source {
 public:
  FileSource(content::FileRef file, uint64_t size) : file_(std::move(file)), size_(size) {}
  std::optional<uint64_t> size() const override { return size_; }
  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) override {
    return file_->read(offset, out);
  }

 private:
  content::FileRef file_;
  uint64_t size_;
};

/// One extraction: reads members, builds the staging tree, publishes it.
class Extraction {
 public:
  Extraction(FileSystemImpl& fs, const Caller& caller, const ExtractRequest& request)
      : fs_(fs), caller_(caller), request_(request) {}

  Result<ExtractReport> run();

 private:
  struct Pending {
    Ino parent;
    std::string name;
    meta::NewInode inode;
    content::Descriptor descriptor;
    std::unique_ptr<content::Incoming>
        incoming;  // kept until its descriptor is attached and synced
  };

  Status open_source();
  Status add(const archive::Member& member, archive::Reader& reader);
  Status add_file(const archive::Member& member, archive::Reader& reader, Pending& pending);
  Status add_hardlink(const archive::Member& member);
  Status replace_earlier(const archive::Member& member);
  Result<Ino> directory_for(std::string_view path);
  Result<meta::InodeRow> find(std::string_view path);
  void set_owner_and_mode(const archive::Member& member, meta::NewInode& inode) const;
  Status flush();
  Status digest_slices();
  Status apply_directory_attributes();
  Status check_top_level(std::string_view path);

  FileSystemImpl& fs_;
  const Caller& caller_;
  const ExtractRequest& request_;
  ExtractReport report_;
  std::unique_ptr<archive::Source> source_;
  content::FileRef archive_file_;
  std::optional<BlobId> plain_blob_;  // set: members of a plain archive are slices of it
  Ino ingested_;                      // unnamed inode of an archive from outside
  Ino staging_;
  std::unique_ptr<content::IncomingGroup> group_ = fs_.content().begin_group();
  std::vector<Pending> pending_;
  std::vector<std::unique_ptr<content::Incoming>> unsynced_;
  std::unordered_map<std::string, Ino> directories_;  // path -> inode, of this extraction
  std::unordered_map<std::string, meta::AttributeChange> directory_attributes_;
  std::unordered_set<std::string> top_level_;
};

std::pair<std::string, std::string> split(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {"", std::string(path)};
  return {std::string(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

Status Extraction::open_source() {
  if (request_.archive) {
    TARN_TRY(fs_.settle_now(request_.archive));
    TARN_ASSIGN(meta::InodeRow row, fs_.read_row(request_.archive));
    if (!row.is_regular()) {
      return Status(Code::kInvalidArgument,
                    fmt::format("'{}' is not a regular file", request_.archive_name));
    }
    {
      auto txn = fs_.store().begin();
      TARN_TRY(fs_.check_access(*txn, caller_, row, R_OK));
    }
    TARN_ASSIGN(archive_file_, fs_.content().open_read(row));
    source_ = std::make_unique<FileSource>(archive_file_, row.size);
    TARN_ASSIGN(content::Descriptor descriptor, content::decode(row.content));
    if (const auto* blob = std::get_if<content::WholeBlob>(&descriptor)) plain_blob_ = blob->blob;
    return {};
  }
  UniqueFd fd(::dup(request_.archive_fd));
  if (!fd) return last_errno("archive");
  TARN_ASSIGN(source_, archive::FdSource::adopt(std::move(fd)));
  TARN_ASSIGN(archive::Format format, archive::detect(*source_));
  if (!format.is_plain())
    return {};  // each member is written once from the stream: nothing to ingest
  // A plain archive from outside: its bytes come in once, and the members are slices of them.
  TARN_ASSIGN(auto incoming, fs_.content().begin_incoming(source_->size()));
  std::vector<std::byte> buffer(limits::kMiB);
  for (uint64_t offset = 0;;) {
    TARN_ASSIGN(size_t n, source_->read_at(offset, buffer));
    if (n == 0) break;
    TARN_TRY(incoming->append(std::span(buffer).first(n)));
    offset += n;
    report_.bytes_copied += n;
    if (request_.is_cancelled && request_.is_cancelled())
      return Status(Code::kInterrupted, "cancelled");
  }
  TARN_ASSIGN(content::Incoming::Done done, incoming->finish());
  TARN_TRY(fs_.content().sync_incoming());
  TARN_ASSIGN(uint64_t number, fs_.inode_ids_->next());
  meta::NewInode inode;
  inode.ino = Ino(number);
  inode.mode = S_IFREG | 0600;
  inode.size = done.size;
  inode.blocks = done.blocks;
  inode.content = content::encode(done.descriptor);
  inode.digests = done.digests;
  meta::InodeRow row;
  TARN_TRY(fs_.transact([&](kv::Transaction& txn) -> Status {
    TARN_ASSIGN(row, meta::create_unnamed(txn, fs_.context(Caller{}), inode));
    return fs_.content().attach(txn, inode.ino, row.generation, done.descriptor);
  }));
  ingested_ = inode.ino;
  fs_.note_unlinked(row);
  TARN_ASSIGN(archive_file_, fs_.content().open_read(row));
  source_ = std::make_unique<FileSource>(archive_file_, row.size);
  if (const auto* blob = std::get_if<content::WholeBlob>(&done.descriptor))
    plain_blob_ = blob->blob;
  return {};
}

Status Extraction::check_top_level(std::string_view path) {
  std::string first(path.substr(0, path.find('/')));
  if (request_.merge || !top_level_.insert(first).second) return {};
  auto txn = fs_.store().begin();
  auto there = meta::lookup(*txn, request_.target, first);
  if (there.is(Code::kNotFound)) return {};
  if (!there.is_ok()) return there.status();
  return Status(Code::kExists,
                fmt::format("'{}' exists in the target; remove it or use --merge", first));
}

void Extraction::set_owner_and_mode(const archive::Member& member, meta::NewInode& inode) const {
  const uint32_t type = inode.mode & S_IFMT;
  inode.mtime = member.mtime;
  inode.atime = member.atime.value_or(member.mtime);
  if (caller_.uid == 0) {
    // As tar does for root: names first, numbers where the name is not known here.
    inode.uid = archive::resolve_system_name(member.uname, false).value_or(member.uid);
    inode.gid = archive::resolve_system_name(member.gname, true).value_or(member.gid);
    inode.mode = type | (member.mode & 07777u);
    for (const archive::Xattr& x : member.xattrs) inode.xattrs.emplace_back(x.name, x.value);
    return;
  }
  inode.uid = caller_.uid;
  inode.gid = caller_.gid;
  inode.mode = type | (member.mode & 0777u & ~caller_.umask);
  for (const archive::Xattr& x : member.xattrs) {
    if (x.name.starts_with("user.")) inode.xattrs.emplace_back(x.name, x.value);
  }
}

Result<Ino> Extraction::directory_for(std::string_view path) {
  if (path.empty()) return staging_;
  if (auto it = directories_.find(std::string(path)); it != directories_.end()) return it->second;
  auto [parent_path, name] = split(path);
  TARN_ASSIGN(Ino parent, directory_for(parent_path));
  Pending pending;
  TARN_ASSIGN(uint64_t number, fs_.inode_ids_->next());
  pending.parent = parent;
  pending.name = name;
  pending.inode.ino = Ino(number);
  pending.inode.mode = S_IFDIR | (0777u & ~caller_.umask);
  pending.inode.uid = caller_.uid;
  pending.inode.gid = caller_.gid;
  pending_.push_back(std::move(pending));
  ++report_.directories;
  directories_.emplace(path, Ino(number));
  return Ino(number);
}

Result<meta::InodeRow> Extraction::find(std::string_view path) {
  TARN_TRY(flush());
  auto [parent_path, name] = split(path);
  TARN_ASSIGN(Ino parent, directory_for(parent_path));
  TARN_TRY(flush());
  auto txn = fs_.store().begin();
  return meta::lookup(*txn, parent, name);
}

Status Extraction::replace_earlier(const archive::Member& member) {
  TARN_ASSIGN(meta::InodeRow earlier, find(member.path));
  auto [parent_path, name] = split(member.path);
  TARN_ASSIGN(Ino parent, directory_for(parent_path));
  TARN_ASSIGN(Stamp stamp, fs_.transact([&](kv::Transaction& txn) -> Status {
    const meta::Context context = fs_.context(Caller{});
    Result<meta::Removed> removed = earlier.is_directory()
                                        ? meta::rmdir(txn, context, parent, name)
                                        : meta::unlink(txn, context, parent, name);
    if (!removed.is_ok()) return removed.status();
    if (!removed->inode.is_directory() && removed->inode.nlink > 0) return {};
    auto ended = meta::forget(txn, context, earlier.ino);
    if (!ended.is_ok() || !ended->is_regular()) return detail::as_status(ended);
    TARN_ASSIGN(content::Descriptor old, content::decode(ended->content));
    return fs_.content().release(txn, earlier.ino, ended->generation, old);
  }));
  fs_.content().released(stamp);
  directories_.erase(member.path);
  directory_attributes_.erase(member.path);
  return {};
}

Status Extraction::add_hardlink(const archive::Member& member) {
  TARN_ASSIGN(meta::InodeRow target, find(member.link_target));
  auto [parent_path, name] = split(member.path);
  TARN_ASSIGN(Ino parent, directory_for(parent_path));
  TARN_TRY(flush());
  ++report_.others;
  return detail::as_status(fs_.transact([&](kv::Transaction& txn) -> Status {
    return detail::as_status(meta::link(txn, fs_.context(Caller{}), target.ino, parent, name));
  }));
}

Status Extraction::add_file(const archive::Member& member, archive::Reader& reader,
                            Pending& pending) {
  pending.inode.size = member.size;
  ++report_.files;
  report_.bytes += member.size;
  if (member.size == 0) {
    pending.descriptor = content::Empty{};
    const digest::Digest empty = digest::md5({});
    pending.inode.digests.md5 = std::string(as_text(empty.bytes()));
    pending.inode.etag = empty.hex();
    return {};
  }
  if (plain_blob_ && reader.format().is_plain()) {
    report_.bytes_in_place += member.stored_bytes;
    pending.inode.blocks = (member.stored_bytes + 511) / 512;
    if (!member.is_sparse) {
      pending.descriptor = content::Slice{*plain_blob_, false, member.data_offset, member.size};
      return {};
    }
    content::Pieces pieces;
    uint64_t at = 0;
    auto hole_until = [&](uint64_t end) {
      if (end > at) pieces.pieces.push_back({BlobId{}, false, 0, end - at});
      at = end;
    };
    for (const archive::Extent& e : member.extents) {
      hole_until(e.logical_offset);
      if (e.length > 0) pieces.pieces.push_back({*plain_blob_, false, e.archive_offset, e.length});
      at += e.length;
    }
    hole_until(member.size);
    pending.descriptor = std::move(pieces);
    return {};
  }
  TARN_ASSIGN(pending.incoming, fs_.content().begin_incoming(member.size, group_.get()));
  content::Incoming* incoming = pending.incoming.get();
  meta::NewInode owner;
  owner.mode = S_IFREG;
  set_owner_and_mode(member, owner);
  incoming->describe({.ino = pending.inode.ino,
                      .generation = Generation(1),
                      .parent = pending.parent,
                      .name = pending.name,
                      .mode = owner.mode,
                      .uid = owner.uid,
                      .gid = owner.gid,
                      .mtime = member.mtime});
  uint64_t at = 0;
  TARN_TRY(reader.read_data([&](uint64_t offset, std::span<const std::byte> bytes) -> Status {
    if (offset > at) TARN_TRY(incoming->hole(offset - at));
    at = offset + bytes.size();
    return incoming->append(bytes);
  }));
  if (at < member.size) TARN_TRY(incoming->hole(member.size - at));
  TARN_ASSIGN(content::Incoming::Done done, incoming->finish());
  report_.bytes_decompressed += member.stored_bytes;
  pending.descriptor = std::move(done.descriptor);
  pending.inode.blocks = done.blocks;
  pending.inode.digests = std::move(done.digests);
  if (!pending.inode.digests.md5.empty()) {
    for (char c : pending.inode.digests.md5) {
      pending.inode.etag += fmt::format("{:02x}", static_cast<unsigned char>(c));
    }
  }
  return {};
}

Status Extraction::add(const archive::Member& member, archive::Reader& reader) {
  if (member.path.empty()) return {};  // "./": the target's own attributes stay
  TARN_TRY(check_top_level(member.path));
  const bool is_known_directory = directories_.contains(member.path);
  if (member.type == archive::MemberType::kDirectory) {
    meta::NewInode wanted;
    wanted.mode = S_IFDIR;
    set_owner_and_mode(member, wanted);
    if (member.replaces_earlier && !is_known_directory) TARN_TRY(replace_earlier(member));
    TARN_ASSIGN([[maybe_unused]] Ino ino, directory_for(member.path));
    meta::AttributeChange& change = directory_attributes_[member.path];
    change.mode = wanted.mode & 07777u;
    change.uid = wanted.uid;
    change.gid = wanted.gid;
    change.mtime = wanted.mtime;
    change.atime = wanted.atime;
    for (auto& [name, value] : wanted.xattrs) {
      TARN_TRY(flush());
      TARN_TRY(fs_.transact([&](kv::Transaction& txn) {
        return meta::set_xattr(txn, fs_.context(Caller{}), ino, name, value,
                               meta::XattrMode::kEither);
      }));
    }
    return {};
  }
  if (member.replaces_earlier) TARN_TRY(replace_earlier(member));
  if (member.type == archive::MemberType::kHardlink) return add_hardlink(member);

  auto [parent_path, name] = split(member.path);
  Pending pending;
  TARN_ASSIGN(pending.parent, directory_for(parent_path));
  pending.name = name;
  TARN_ASSIGN(uint64_t number, fs_.inode_ids_->next());
  pending.inode.ino = Ino(number);
  switch (member.type) {
    case archive::MemberType::kFile:
      pending.inode.mode = S_IFREG;
      TARN_TRY(add_file(member, reader, pending));
      break;
    case archive::MemberType::kSymlink:
      pending.inode.mode = S_IFLNK;
      pending.inode.size = member.link_target.size();
      pending.descriptor = content::Inline{member.link_target};
      ++report_.others;
      break;
    case archive::MemberType::kFifo:
      pending.inode.mode = S_IFIFO;
      ++report_.others;
      break;
    default:
      if (caller_.uid != 0) {
        return Status(Code::kNotPermitted,
                      fmt::format("'{}' is a device node, which only root may make", member.path));
      }
      pending.inode.mode = member.type == archive::MemberType::kCharDevice ? S_IFCHR : S_IFBLK;
      pending.inode.rdev = static_cast<uint32_t>(makedev(member.device_major, member.device_minor));
      ++report_.others;
  }
  set_owner_and_mode(member, pending.inode);
  if (S_ISLNK(pending.inode.mode)) pending.inode.mode = S_IFLNK | 0777;
  pending_.push_back(std::move(pending));
  if (pending_.size() >= (plain_blob_ ? kDigestBatch : kMembersPerTransaction)) return flush();
  return {};
}

Status Extraction::digest_slices() {
  const int fd = archive_file_ && archive_file_->local() ? archive_file_->local()->fd() : -1;
  if (fd < 0) return {};
  std::vector<digest::FileRange> ranges;
  std::vector<Pending*> owners;
  for (Pending& p : pending_) {
    if (const auto* slice = std::get_if<content::Slice>(&p.descriptor)) {
      ranges.push_back({fd, slice->offset, slice->length});
      owners.push_back(&p);
    }
  }
  std::vector<Result<digest::Digest>> found = digest::md5_files(ranges);
  for (size_t i = 0; i < found.size(); ++i) {
    TARN_TRY(found[i]);
    owners[i]->inode.digests.md5 = std::string(as_text(found[i]->bytes()));
    owners[i]->inode.etag = found[i]->hex();
  }
  return {};
}

Status Extraction::flush() {
  if (pending_.empty()) return {};
  if (plain_blob_) TARN_TRY(digest_slices());
  for (size_t begin = 0; begin < pending_.size(); begin += kMembersPerTransaction) {
    const size_t end = std::min(begin + kMembersPerTransaction, pending_.size());
    TARN_TRY(fs_.transact([&](kv::Transaction& txn) -> Status {
      for (size_t i = begin; i < end; ++i) {
        Pending& p = pending_[i];
        const bool has_content = S_ISREG(p.inode.mode) || S_ISLNK(p.inode.mode);
        p.inode.content = has_content ? content::encode(p.descriptor) : std::string();
        TARN_ASSIGN(meta::InodeRow row,
                    meta::create(txn, fs_.context(Caller{}), p.parent, p.name, p.inode));
        if (S_ISREG(p.inode.mode)) {
          TARN_TRY(fs_.content().attach(txn, row.ino, row.generation, p.descriptor));
        }
      }
      return {};
    }));
    TARN_KILL_POINT("fs.extract.after_batch");
  }
  // Blobs hold a descriptor each until they are synced; pack records need no more than the attach.
  for (Pending& p : pending_) {
    if (p.incoming && std::holds_alternative<content::WholeBlob>(p.descriptor)) {
      unsynced_.push_back(std::move(p.incoming));
    }
  }
  pending_.clear();
  if (unsynced_.size() < kUnsyncedBlobs) return {};
  TARN_TRY(fs_.content().sync_incoming());
  unsynced_.clear();
  return {};
}

Status Extraction::apply_directory_attributes() {
  for (const auto& [path, change] : directory_attributes_) {
    auto it = directories_.find(path);
    if (it == directories_.end()) continue;
    TARN_TRY(fs_.transact([&](kv::Transaction& txn) -> Status {
      return detail::as_status(
          meta::set_attributes(txn, fs_.context(Caller{}), it->second, change));
    }));
  }
  return {};
}

Result<ExtractReport> Extraction::run() {
  const TimeNs begun = Clock::system().monotonic();
  TARN_TRY(fs_.root_.check_may_write());
  {
    auto txn = fs_.store().begin();
    TARN_ASSIGN(meta::InodeRow target, meta::get_inode(*txn, request_.target));
    if (!target.is_directory()) return Status(Code::kNotDirectory, "the target is not a directory");
    if (target.is_sealed) return Status(Code::kReadOnly, "the target is sealed");
    TARN_TRY(fs_.check_parent(*txn, caller_, request_.target));
  }
  TARN_TRY(open_source());
  archive::Options options;
  options.strip_leading_slash = request_.strip_leading_slash;
  TARN_ASSIGN(auto reader, archive::Reader::open(*source_, options));
  report_.format = std::string(archive::format_name(reader->format()));
  if (!reader->format().is_plain()) plain_blob_.reset();
  TARN_ASSIGN(staging_, make_staging(fs_));
  Status built = [&]() -> Status {
    const uint64_t total = source_->size().value_or(0);
    while (true) {
      if (request_.is_cancelled && request_.is_cancelled()) {
        return Status(Code::kInterrupted, "cancelled");
      }
      TARN_ASSIGN(auto member, reader->next());
      if (!member) break;
      TARN_TRY(add(*member, *reader));
      if (request_.progress) request_.progress(reader->raw_bytes(), total);
    }
    TARN_TRY(flush());
    TARN_TRY(apply_directory_attributes());
    TARN_TRY(fs_.content().sync_incoming());
    unsynced_.clear();
    TARN_TRY(fs_.store().sync(fs_.store().head()));
    TARN_KILL_POINT("fs.extract.before_publish");
    if (request_.merge) return merge(fs_, caller_, staging_, request_.target);
    TARN_ASSIGN(Stamp stamp, publish(fs_, caller_, staging_, request_.target));
    TARN_KILL_POINT("fs.extract.after_publish");
    return fs_.store().sync(stamp);
  }();
  archive_file_ = nullptr;
  if (ingested_) fs_.forget(ingested_);
  if (!built.is_ok()) {
    auto txn = fs_.store().begin();
    const bool is_left =
        meta::lookup(*txn, meta::kStagingIno, std::to_string(staging_.value)).is_ok();
    // A merge that failed half-way stays journalled: the next start finishes it.
    if (is_left && !has_journal(*txn, staging_)) {
      Status removed = remove_staging(fs_, staging_);
      if (!removed.is_ok()) return built.with_context("and its remains wait for the next start");
    }
    return built.with_context(request_.archive_name);
  }
  report_.seconds = static_cast<double>(Clock::system().monotonic() - begun) / 1e9;
  return report_;
}

}  // namespace

Result<ExtractReport> extract(FileSystem& file_system, const Caller& caller,
                              const ExtractRequest& request) {
  return Extraction(static_cast<FileSystemImpl&>(file_system), caller, request).run();
}

Status recover_extracts(FileSystem& file_system) {
  return recover_staging(static_cast<FileSystemImpl&>(file_system));
}

}  // namespace tarn::fs
