#include "mount/encode.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

namespace tarn::mount {
namespace {

// What statx(2) calls STATX_BASIC_STATS | STATX_BTIME.
constexpr uint32_t kStatxMask = 0x7ff | 0x800;
constexpr uint32_t kBlockBytes = 4096;

// The kernel asks for the mode of the file that it has just created, unless it may believe the
// reply. Nothing but the new handle can change the file until then, and what the kernel itself
// writes makes it forget size and times.
constexpr TimeNs kCreatedValidity = kSecondNs;

struct Span {
  uint64_t seconds;
  uint32_t nsec;
};
Span split(TimeNs time) {
  timespec t = to_timespec(time);
  return {static_cast<uint64_t>(t.tv_sec), static_cast<uint32_t>(t.tv_nsec)};
}

Span attributes_validity(const fs::Attributes& attributes, const Validity& validity) {
  return attributes.is_settled ? split(validity.attributes) : Span{0, 0};
}

wire::StatxTime statx_time(TimeNs time) {
  timespec t = to_timespec(time);
  return {t.tv_sec, static_cast<uint32_t>(t.tv_nsec), 0};
}

TimeNs join(uint64_t seconds, uint32_t nsec) {
  return from_timespec({static_cast<time_t>(seconds), static_cast<long>(nsec)});
}

}  // namespace

wire::Attr encode_attributes(const fs::Attributes& a) {
  Span atime = split(a.atime), mtime = split(a.mtime), ctime = split(a.ctime);
  return {.ino = a.ino.value,
          .size = a.size,
          .blocks = a.blocks,
          .atime = atime.seconds,
          .mtime = mtime.seconds,
          .ctime = ctime.seconds,
          .atime_nsec = atime.nsec,
          .mtime_nsec = mtime.nsec,
          .ctime_nsec = ctime.nsec,
          .mode = a.mode,
          .nlink = a.nlink,
          .uid = a.uid,
          .gid = a.gid,
          .rdev = a.rdev,
          .blksize = kBlockBytes,
          .flags = 0};
}

wire::AttrOut encode_attr_out(const fs::Attributes& a, const Validity& validity) {
  Span valid = attributes_validity(a, validity);
  return {valid.seconds, valid.nsec, 0, encode_attributes(a)};
}

wire::EntryOut encode_entry(const fs::Attributes& a, const Validity& validity) {
  Span entry = split(validity.entry), attributes = attributes_validity(a, validity);
  return {.nodeid = a.ino.value,
          .generation = 0,
          .entry_valid = entry.seconds,
          .attr_valid = attributes.seconds,
          .entry_valid_nsec = entry.nsec,
          .attr_valid_nsec = attributes.nsec,
          .attr = encode_attributes(a)};
}

wire::EntryOut encode_created(const fs::Attributes& a, const Validity& validity) {
  wire::EntryOut out = encode_entry(a, validity);
  Span valid = split(std::min(validity.attributes, kCreatedValidity));
  out.attr_valid = valid.seconds;
  out.attr_valid_nsec = valid.nsec;
  return out;
}

wire::EntryOut encode_absent(const Validity& validity) {
  Span entry = split(validity.absent);
  wire::EntryOut out{};
  out.entry_valid = entry.seconds;
  out.entry_valid_nsec = entry.nsec;
  return out;
}

wire::StatxOut encode_statx(const fs::Attributes& a, const Validity& validity) {
  Span valid = attributes_validity(a, validity);
  wire::StatxOut out{};
  out.attr_valid = valid.seconds;
  out.attr_valid_nsec = valid.nsec;
  out.stat.mask = kStatxMask;
  out.stat.blksize = kBlockBytes;
  out.stat.nlink = a.nlink;
  out.stat.uid = a.uid;
  out.stat.gid = a.gid;
  out.stat.mode = static_cast<uint16_t>(a.mode);
  out.stat.ino = a.ino.value;
  out.stat.size = a.size;
  out.stat.blocks = a.blocks;
  out.stat.atime = statx_time(a.atime);
  out.stat.btime = statx_time(a.btime);
  out.stat.ctime = statx_time(a.ctime);
  out.stat.mtime = statx_time(a.mtime);
  out.stat.rdev_major = major(a.rdev);
  out.stat.rdev_minor = minor(a.rdev);
  return out;
}

wire::StatfsOut encode_statfs(const fs::StatFs& s) {
  wire::StatfsOut out{};
  out.blocks = s.blocks;
  out.bfree = s.blocks_free;
  out.bavail = s.blocks_free;
  out.files = s.files;
  out.ffree = s.files_free;
  out.bsize = static_cast<uint32_t>(s.block_bytes);
  out.frsize = static_cast<uint32_t>(s.block_bytes);
  out.namelen = s.name_bytes_max;
  return out;
}

wire::OpenOut encode_opened(const fs::Opened& opened) {
  wire::OpenOut out{opened.fh.value, 0, 0};
  if (opened.path == fs::Path::kDirect) {
    out.open_flags = wire::fopen::kPassthrough;
    out.backing_id = opened.backing->attachment();
  } else if (opened.may_keep_cache) {
    out.open_flags = wire::fopen::kKeepCache;
  }
  return out;
}

fs::SetAttributes decode_setattr(const wire::SetattrIn& in) {
  fs::SetAttributes change;
  auto has = [&](uint32_t bit) { return (in.valid & bit) != 0; };
  // With HANDLE_KILLPRIV_V2 a write that the kernel hands to the backing file is preceded by a
  // SETATTR that names nothing when the file has a set-id bit and the writer is not privileged; so
  // are fallocate and copy_file_range. chown(-1, -1), which clears the bits as well, looks alike.
  constexpr uint32_t kNaming = wire::fattr::kMode | wire::fattr::kUid | wire::fattr::kGid |
                               wire::fattr::kSize | wire::fattr::kAtime | wire::fattr::kMtime |
                               wire::fattr::kAtimeNow | wire::fattr::kMtimeNow |
                               wire::fattr::kCtime;
  change.clears_set_id = has(wire::fattr::kKillSuidgid) || !has(kNaming);
  if (has(wire::fattr::kMode)) change.mode = in.mode & 07777;
  if (has(wire::fattr::kUid)) change.uid = in.uid;
  if (has(wire::fattr::kGid)) change.gid = in.gid;
  if (has(wire::fattr::kSize)) change.size = in.size;
  if (has(wire::fattr::kAtimeNow)) {
    change.atime_now = true;
  } else if (has(wire::fattr::kAtime)) {
    change.atime = join(in.atime, in.atime_nsec);
  }
  if (has(wire::fattr::kMtimeNow)) {
    change.mtime_now = true;
  } else if (has(wire::fattr::kMtime)) {
    change.mtime = join(in.mtime, in.mtime_nsec);
  }
  if (has(wire::fattr::kCtime)) change.ctime = join(in.ctime, in.ctime_nsec);
  return change;
}

bool DirectoryEncoder::add(const fs::DirectoryItem& item, const Validity* validity) {
  size_t entry_bytes = validity != nullptr ? sizeof(wire::EntryOut) : 0;
  size_t bytes = entry_bytes + sizeof(wire::Dirent) + item.name.size();
  size_t padded = (bytes + 7) / 8 * 8;
  if (padded > space_.size() - used_) return false;
  std::byte* at = space_.data() + used_;
  if (validity != nullptr) {
    bool is_dot = item.name == "." || item.name == "..";
    wire::EntryOut entry{};
    if (!is_dot && item.attributes) entry = encode_entry(*item.attributes, *validity);
    std::memcpy(at, &entry, sizeof entry);
    at += sizeof entry;
  }
  wire::Dirent dirent{item.ino.value, item.next, static_cast<uint32_t>(item.name.size()),
                      (item.type_mode & S_IFMT) >> 12};
  std::memcpy(at, &dirent, sizeof dirent);
  std::memcpy(at + sizeof dirent, item.name.data(), item.name.size());
  std::memset(space_.data() + used_ + bytes, 0, padded - bytes);
  used_ += padded;
  return true;
}

}  // namespace tarn::mount
