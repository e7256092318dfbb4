#include "meta/rows.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/coding.h"
#include "meta/keys.h"

namespace tarn::meta {
namespace {

// Flags of inode rows and of entry rows.
constexpr uint64_t kLinked = 1 << 0, kHidden = 1 << 1, kSealed = 1 << 2, kS3Written = 1 << 3,
                   kHasXattrs = 1 << 4, kHasGrant = 1 << 5, kHasAttributes = 1 << 6;

constexpr uint64_t zigzag(int64_t v) {
  return static_cast<uint64_t>(v) << 1 ^ static_cast<uint64_t>(v >> 63);
}
constexpr int64_t unzigzag(uint64_t v) {
  return static_cast<int64_t>(v >> 1 ^ (~(v & 1) + 1));
}
// Differences wrap, so that any two times have one.
uint64_t difference(TimeNs time, TimeNs base) {
  return zigzag(static_cast<int64_t>(static_cast<uint64_t>(time) - static_cast<uint64_t>(base)));
}
TimeNs with_difference(TimeNs base, uint64_t difference) {
  return static_cast<TimeNs>(static_cast<uint64_t>(base) +
                             static_cast<uint64_t>(unzigzag(difference)));
}

Status corrupt(std::string_view what, std::string_view value) {
  uint8_t version = value.empty() ? uint8_t{0} : static_cast<uint8_t>(value[0]);
  if (!value.empty() && version != kRowVersion) {
    return {Code::kCorrupt, fmt::format("{} has version {}, this program knows version {}", what,
                                        version, kRowVersion)};
  }
  return {Code::kCorrupt, fmt::format("{} of {} bytes ends early", what, value.size())};
}

uint32_t narrow(uint64_t v) {
  return static_cast<uint32_t>(v);
}

uint64_t flags_of(const InodeRow& row) {
  return (row.is_linked ? kLinked : 0) | (row.is_hidden ? kHidden : 0) |
         (row.is_sealed ? kSealed : 0) | (row.is_s3_written ? kS3Written : 0) |
         (row.has_xattrs ? kHasXattrs : 0);
}
void set_flags(InodeRow& row, uint64_t flags) {
  row.is_linked = flags & kLinked;
  row.is_hidden = flags & kHidden;
  row.is_sealed = flags & kSealed;
  row.is_s3_written = flags & kS3Written;
  row.has_xattrs = flags & kHasXattrs;
}

// The fields that inode rows and entry rows share.
void write_common(Writer& w, const InodeRow& row) {
  w.varint(row.mode);
  w.varint(row.uid);
  w.varint(row.gid);
  w.varint(row.rdev);
  w.varint(row.size);
  w.varint(row.blocks);
  w.i64(row.ctime);
  w.varint(difference(row.mtime, row.ctime));
  w.varint(difference(row.atime, row.ctime));
  w.varint(difference(row.btime, row.ctime));
  w.u8(static_cast<uint8_t>(row.state));
  w.varint(row.generation.value);
  w.bytes(row.etag);
}
void read_common(Reader& r, InodeRow& row) {
  row.mode = narrow(r.varint());
  row.uid = narrow(r.varint());
  row.gid = narrow(r.varint());
  row.rdev = narrow(r.varint());
  row.size = r.varint();
  row.blocks = r.varint();
  row.ctime = r.i64();
  row.mtime = with_difference(row.ctime, r.varint());
  row.atime = with_difference(row.ctime, r.varint());
  row.btime = with_difference(row.ctime, r.varint());
  row.state = static_cast<ContentState>(r.u8());
  row.generation = Generation{r.varint()};
  row.etag = r.bytes();
}
void write_places(Writer& w, const InodeRow& row) {
  w.varint(row.version_id);
  w.varint(row.project_id);
  w.varint(row.node_id);
  w.varint(row.session_id);
  w.varint(row.key_id);
}
void read_places(Reader& r, InodeRow& row) {
  row.version_id = r.varint();
  row.project_id = r.varint();
  row.node_id = r.varint();
  row.session_id = r.varint();
  row.key_id = r.varint();
}

bool is_sound(const InodeRow& row) {
  return row.state >= ContentState::kOpen && row.state <= ContentState::kSettled &&
         row.origin >= Origin::kPosix && row.origin <= Origin::kExplicit;
}

}  // namespace

std::string encode_inode(const InodeRow& row) {
  bool has_grant = row.grant != GrantStamp{};
  Writer w;
  w.u8(kRowVersion);
  w.varint(flags_of(row) | (has_grant ? kHasGrant : 0));
  write_common(w, row);
  w.varint(row.nlink);
  w.varint(row.parent.value);
  w.bytes(row.name);
  w.u8(static_cast<uint8_t>(row.origin));
  w.bytes(row.content);
  if (has_grant) {
    w.varint(row.grant.size);
    w.i64(row.grant.mtime);
    w.i64(row.grant.ctime);
  }
  w.bytes(row.digests.md5);
  w.bytes(row.digests.crc64nvme);
  w.bytes(row.digests.sha256);
  write_places(w, row);
  return std::move(w).take();
}

Result<InodeRow> decode_inode(Ino ino, std::string_view value) {
  Reader r(value);
  InodeRow row;
  row.ino = ino;
  bool is_known = r.u8() == kRowVersion;
  uint64_t flags = r.varint();
  set_flags(row, flags);
  read_common(r, row);
  row.nlink = narrow(r.varint());
  row.parent = Ino{r.varint()};
  row.name = r.bytes();
  row.origin = static_cast<Origin>(r.u8());
  row.content = r.bytes();
  if (flags & kHasGrant) {
    row.grant.size = r.varint();
    row.grant.mtime = r.i64();
    row.grant.ctime = r.i64();
  }
  row.digests.md5 = r.bytes();
  row.digests.crc64nvme = r.bytes();
  row.digests.sha256 = r.bytes();
  read_places(r, row);
  if (!is_known || !r.is_ok() || !is_sound(row)) {
    return corrupt(fmt::format("the row of inode {}", ino.value), value);
  }
  return row;
}

std::string encode_entry(const EntryRow& entry) {
  Writer w;
  w.u8(kRowVersion);
  w.be64(entry.ino.value);
  uint64_t flags = (entry.is_linked ? kLinked : 0) | (entry.is_hidden ? kHidden : 0);
  if (entry.attributes) flags |= flags_of(*entry.attributes) | kHasAttributes;
  w.varint(flags);
  w.varint(entry.type_mode >> 12);
  if (entry.attributes) {
    write_common(w, *entry.attributes);
    write_places(w, *entry.attributes);
  }
  return std::move(w).take();
}

Result<EntryRow> decode_entry(Ino parent, std::string_view key_name, std::string_view value) {
  Reader r(value);
  EntryRow entry;
  bool is_known = r.u8() == kRowVersion;
  entry.ino = Ino{r.be64()};
  uint64_t flags = r.varint();
  entry.is_linked = flags & kLinked;
  entry.is_hidden = flags & kHidden;
  entry.type_mode = narrow(r.varint() << 12);
  if (flags & kHasAttributes) {
    InodeRow& row = entry.attributes.emplace();
    set_flags(row, flags);
    read_common(r, row);
    read_places(r, row);
    row.ino = entry.ino;
    row.nlink = 1;
    row.parent = parent;
    row.name = key_name;
  }
  if (!is_known || !r.is_ok() || (entry.attributes && !is_sound(*entry.attributes))) {
    return corrupt(fmt::format("the entry '{}' of directory {}", key_name, parent.value), value);
  }
  return entry;
}

kv::Link inode_link() {
  static constexpr char kPrefix = static_cast<char>(Prefix::kInode);
  return kv::Link{.offset = 1, .prefix = std::string_view(&kPrefix, 1)};
}

InodeRow listed_attributes(const InodeRow& row) {
  InodeRow out = row;
  out.content.clear();
  out.grant = {};
  out.digests = {};
  return out;
}

EntryRow entry_of(const InodeRow& row) {
  EntryRow entry{.ino = row.ino,
                 .type_mode = row.mode & S_IFMT,
                 .is_linked = row.is_linked,
                 .is_hidden = row.is_hidden,
                 .attributes = std::nullopt};
  if (!row.is_directory() && !row.is_linked) entry.attributes = listed_attributes(row);
  return entry;
}

namespace {
// Bits of a delta's mask; the fields follow in this order.
enum DeltaField : uint64_t {
  kNlink = 1 << 0,
  kEntries = 1 << 1,
  kTouched = 1 << 2,
  kChanged = 1 << 3,
  kMode = 1 << 4,
  kUid = 1 << 5,
  kGid = 1 << 6,
  kAtime = 1 << 7,
  kMtime = 1 << 8,
  kCtime = 1 << 9,
  kBtime = 1 << 10,
  kPlace = 1 << 11,
  kOrigin = 1 << 12,
  kSealedTo = 1 << 13,
  kPromoted = 1 << 14,  // without a field
  kXattrs = 1 << 15,    // without a field
  kRemoved = 1 << 16,   // without a field
};

uint64_t mask_of(const DirectoryDelta& d) {
  auto bit = [](bool is_set, DeltaField field) { return is_set ? field : uint64_t{0}; };
  return bit(d.nlink != 0, kNlink) | bit(d.entries != 0, kEntries) |
         bit(d.touched.has_value(), kTouched) | bit(d.changed.has_value(), kChanged) |
         bit(d.mode.has_value(), kMode) | bit(d.uid.has_value(), kUid) |
         bit(d.gid.has_value(), kGid) | bit(d.atime.has_value(), kAtime) |
         bit(d.mtime.has_value(), kMtime) | bit(d.ctime.has_value(), kCtime) |
         bit(d.btime.has_value(), kBtime) | bit(d.place.has_value(), kPlace) |
         bit(d.origin.has_value(), kOrigin) | bit(d.is_sealed.has_value(), kSealedTo) |
         bit(d.is_promoted, kPromoted) | bit(d.has_xattrs, kXattrs) | bit(d.is_removed, kRemoved);
}
}  // namespace

std::string encode_delta(const DirectoryDelta& d) {
  Writer w;
  w.u8(kRowVersion);
  w.varint(mask_of(d));
  if (d.nlink != 0) w.varint(zigzag(d.nlink));
  if (d.entries != 0) w.varint(zigzag(d.entries));
  if (d.touched) w.i64(*d.touched);
  if (d.changed) w.i64(*d.changed);
  if (d.mode) w.varint(*d.mode);
  if (d.uid) w.varint(*d.uid);
  if (d.gid) w.varint(*d.gid);
  if (d.atime) w.i64(*d.atime);
  if (d.mtime) w.i64(*d.mtime);
  if (d.ctime) w.i64(*d.ctime);
  if (d.btime) w.i64(*d.btime);
  if (d.place) {
    w.varint(d.place->first.value);
    w.bytes(d.place->second);
  }
  if (d.origin) w.u8(static_cast<uint8_t>(*d.origin));
  if (d.is_sealed) w.u8(*d.is_sealed ? 1 : 0);
  return std::move(w).take();
}

Result<DirectoryDelta> decode_delta(std::string_view operand) {
  Reader r(operand);
  DirectoryDelta d;
  bool is_known = r.u8() == kRowVersion;
  uint64_t mask = r.varint();
  if (mask & kNlink) d.nlink = unzigzag(r.varint());
  if (mask & kEntries) d.entries = unzigzag(r.varint());
  if (mask & kTouched) d.touched = r.i64();
  if (mask & kChanged) d.changed = r.i64();
  if (mask & kMode) d.mode = narrow(r.varint());
  if (mask & kUid) d.uid = narrow(r.varint());
  if (mask & kGid) d.gid = narrow(r.varint());
  if (mask & kAtime) d.atime = r.i64();
  if (mask & kMtime) d.mtime = r.i64();
  if (mask & kCtime) d.ctime = r.i64();
  if (mask & kBtime) d.btime = r.i64();
  if (mask & kPlace) {
    Ino parent{r.varint()};
    d.place.emplace(parent, std::string(r.bytes()));
  }
  if (mask & kOrigin) d.origin = static_cast<Origin>(r.u8());
  if (mask & kSealedTo) d.is_sealed = r.u8() != 0;
  d.is_promoted = mask & kPromoted;
  d.has_xattrs = mask & kXattrs;
  d.is_removed = mask & kRemoved;
  if (!is_known || !r.is_ok()) return corrupt("a change of a directory", operand);
  return d;
}

void apply_delta(InodeRow& row, const DirectoryDelta& d) {
  auto added = [](uint64_t value, int64_t delta) {
    int64_t sum = static_cast<int64_t>(value) + delta;
    return sum < 0 ? uint64_t{0} : static_cast<uint64_t>(sum);
  };
  row.nlink = narrow(added(row.nlink, d.nlink));
  row.size = added(row.size, d.entries);
  if (d.mode) row.mode = (row.mode & S_IFMT) | (*d.mode & 07777);
  if (d.uid) row.uid = *d.uid;
  if (d.gid) row.gid = *d.gid;
  if (d.touched) {
    row.mtime = row.mtime > row.ctime ? *d.touched : std::max(row.mtime, *d.touched);
    row.ctime = std::max(row.ctime, *d.touched);
  }
  if (d.changed) row.ctime = std::max(row.ctime, *d.changed);
  if (d.atime) row.atime = *d.atime;
  if (d.mtime) row.mtime = *d.mtime;
  if (d.ctime) row.ctime = *d.ctime;
  if (d.btime) row.btime = *d.btime;
  if (d.place) {
    row.parent = d.place->first;
    row.name = d.place->second;
  }
  if (d.origin) row.origin = *d.origin;
  if (d.is_sealed) row.is_sealed = *d.is_sealed;
  if (d.is_promoted && row.origin == Origin::kImplied) row.origin = Origin::kPosix;
  if (d.has_xattrs) row.has_xattrs = true;
  if (d.is_removed) {
    row.nlink = 0;
    row.parent = {};
    row.name.clear();
  }
}

std::string encode_counters(const std::vector<int64_t>& counters) {
  Writer w;
  w.u8(kRowVersion);
  for (int64_t counter : counters) w.varint(zigzag(counter));
  return std::move(w).take();
}

Result<std::vector<int64_t>> decode_counters(std::string_view value) {
  Reader r(value);
  bool is_known = r.u8() == kRowVersion;
  std::vector<int64_t> counters;
  while (is_known && r.is_ok() && !r.at_end()) counters.push_back(unzigzag(r.varint()));
  if (!is_known || !r.is_ok()) return corrupt("a row of counters", value);
  return counters;
}

namespace {
enum ChangeField : uint64_t {
  kGeneration = 1 << 0,
  kBefore = 1 << 1,
  kAfter = 1 << 2,
  kReplaced = 1 << 3,
  kSize = 1 << 4,
  kEtag = 1 << 5,
  kRequest = 1 << 6,
  kNode = 1 << 7,
};
}  // namespace

std::string encode_change(const ChangeRecord& c) {
  bool has_before = c.parent_before || !c.name_before.empty();
  bool has_after = c.parent_after || !c.name_after.empty();
  bool has_request = c.request.connection != 0 || c.request.unique != 0;
  auto bit = [](bool is_set, ChangeField field) { return is_set ? field : uint64_t{0}; };
  uint64_t mask = bit(bool(c.generation), kGeneration) | bit(has_before, kBefore) |
                  bit(has_after, kAfter) | bit(bool(c.replaced), kReplaced) |
                  bit(c.size != 0, kSize) | bit(!c.etag.empty(), kEtag) |
                  bit(has_request, kRequest) | bit(c.node_id != 0, kNode);
  Writer w;
  w.u8(kRowVersion);
  w.u8(static_cast<uint8_t>(c.kind));
  w.varint(mask);
  w.i64(c.time);
  w.varint(c.ino.value);
  if (mask & kGeneration) w.varint(c.generation.value);
  if (has_before) {
    w.varint(c.parent_before.value);
    w.bytes(c.name_before);
  }
  if (has_after) {
    w.varint(c.parent_after.value);
    w.bytes(c.name_after);
  }
  if (c.replaced) w.varint(c.replaced.value);
  if (c.size) w.varint(c.size);
  if (!c.etag.empty()) w.bytes(c.etag);
  if (has_request) {
    w.varint(c.request.connection);
    w.varint(c.request.unique);
  }
  if (c.node_id) w.varint(c.node_id);
  return std::move(w).take();
}

Result<ChangeRecord> decode_change_record(std::string_view value) {
  Reader r(value);
  ChangeRecord c;
  bool is_known = r.u8() == kRowVersion;
  c.kind = static_cast<ChangeKind>(r.u8());
  uint64_t mask = r.varint();
  c.time = r.i64();
  c.ino = Ino{r.varint()};
  if (mask & kGeneration) c.generation = Generation{r.varint()};
  if (mask & kBefore) {
    c.parent_before = Ino{r.varint()};
    c.name_before = r.bytes();
  }
  if (mask & kAfter) {
    c.parent_after = Ino{r.varint()};
    c.name_after = r.bytes();
  }
  if (mask & kReplaced) c.replaced = Ino{r.varint()};
  if (mask & kSize) c.size = r.varint();
  if (mask & kEtag) c.etag = r.bytes();
  if (mask & kRequest) {
    c.request.connection = r.varint();
    c.request.unique = r.varint();
  }
  if (mask & kNode) c.node_id = r.varint();
  if (!is_known || !r.is_ok()) return corrupt("a change record", value);
  return c;
}

std::string encode_number(uint64_t number) {
  Writer w;
  w.u8(kRowVersion);
  w.varint(number);
  return std::move(w).take();
}

Result<uint64_t> decode_number(std::string_view value) {
  Reader r(value);
  bool is_known = r.u8() == kRowVersion;
  uint64_t number = r.varint();
  if (!is_known || !r.is_ok()) return corrupt("a row with a number", value);
  return number;
}

std::string_view mark() {
  static constexpr char kMark = static_cast<char>(kRowVersion);
  return {&kMark, 1};
}

}  // namespace tarn::meta
