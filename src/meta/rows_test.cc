// Encodings, pinned byte for byte, and the merge function.
#include "meta/rows.h"

#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "meta/keys.h"
#include "meta/meta.h"

namespace tarn::meta {
namespace {

std::string hex(std::string_view bytes) {
  std::string out;
  for (char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

InodeRow sample_file() {
  InodeRow row;
  row.ino = Ino{0x102};
  row.mode = S_IFREG | 0644;
  row.uid = 1000;
  row.gid = 100;
  row.nlink = 1;
  row.size = 300;
  row.blocks = 8;
  row.ctime = 0x0102030405060708;
  row.mtime = row.ctime - 1;
  row.atime = row.ctime + 1;
  row.btime = row.ctime;
  row.parent = kRootIno;
  row.name = "f";
  row.is_s3_written = true;
  row.generation = Generation{3};
  row.state = ContentState::kSettled;
  row.content = "C";
  row.etag = "ET";
  row.digests.md5 = std::string(16, '\xaa');
  row.digests.crc64nvme = std::string(8, '\xbb');
  row.project_id = 5;
  return row;
}

TEST(Rows, KeysArePinned) {
  EXPECT_EQ(hex(entry_key(Ino{0x0102}, "a/")), "650000000000000102612f");
  EXPECT_EQ(hex(ino_key(Prefix::kInode, Ino{1})), "690000000000000001");
  EXPECT_EQ(hex(ino_key(Prefix::kGuard, Ino{1})), "670000000000000001");
  EXPECT_EQ(hex(ino_key(Prefix::kAlive, Ino{1})), "610000000000000001");
  EXPECT_EQ(hex(xattr_key(Ino{1}, "user.a")), "780000000000000001757365722e61");
  EXPECT_EQ(hex(prefixed(Prefix::kCounter, "usage")), "637573616765");
  EXPECT_EQ(hex(prefixed(Prefix::kRenameGuard)), "72");
  EXPECT_EQ(ino_of_key(ino_key(Prefix::kInode, Ino{77})), Ino{77});
  EXPECT_EQ(ino_of_key("i"), Ino{});
}

TEST(Rows, PrefixesAreDistinctAndNotTheStores) {
  std::set<char> seen;
#define X(name, byte, room, rest)        \
  EXPECT_TRUE(seen.insert(byte).second); \
  EXPECT_NE(byte, '\0');
#include "meta/key_prefix.def"
#undef X
  EXPECT_GE(seen.size(), 18u);
}

TEST(Rows, InodeIsPinned) {
  InodeRow row = sample_file();
  std::string value = encode_inode(row);
  EXPECT_EQ(hex(value),
            "01"
            "08"  // version, flags: written by S3
            "a48302"
            "e807"
            "64"
            "00"  // mode, uid, gid, rdev
            "ac02"
            "08"  // size, blocks
            "0807060504030201"
            "01"
            "02"
            "00"  // ctime; mtime, atime, btime less ctime, signed
            "03"
            "03"
            "024554"  // state, generation, etag
            "01"
            "01"
            "0166"
            "01"
            "0143"                                // nlink, parent, name, origin, content
            "10aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"  // md5
            "08bbbbbbbbbbbbbbbb"
            "00"  // crc64nvme, sha256
            "00"
            "05"
            "00"
            "00"
            "00");  // version, project, node, session, key id
  EXPECT_EQ(decode_inode(row.ino, value).value(), row);
}

TEST(Rows, InodeWithGrantAndFlags) {
  InodeRow row = sample_file();
  row.state = ContentState::kOpen;
  row.grant = {7, 8, -9};
  row.digests = {};
  row.is_linked = row.is_hidden = row.is_sealed = row.has_xattrs = true;
  row.atime = INT64_MIN;
  row.ctime = INT64_MAX;
  row.version_id = row.node_id = row.session_id = row.key_id = UINT64_MAX;
  EXPECT_EQ(decode_inode(row.ino, encode_inode(row)).value(), row);
}

TEST(Rows, EntryIsPinned) {
  InodeRow row = sample_file();
  std::string value = encode_entry(entry_of(row));
  EXPECT_EQ(hex(value),
            "01"
            "0000000000000102"
            "48"
            "08"  // version, ino, flags, type
            "a48302"
            "e807"
            "64"
            "00"
            "ac02"
            "08"
            "0807060504030201"
            "01"
            "02"
            "00"
            "03"
            "03"
            "024554"
            "00"
            "05"
            "00"
            "00"
            "00");
  EntryRow entry = decode_entry(kRootIno, "f", value).value();
  EXPECT_EQ(*entry.attributes, listed_attributes(row));
  EXPECT_EQ(entry.ino, row.ino);
  InodeRow dir;
  dir.ino = Ino{9};
  dir.mode = S_IFDIR | 0755;
  EXPECT_EQ(hex(encode_entry(entry_of(dir))),
            "01"
            "0000000000000009"
            "00"
            "04");
  EXPECT_TRUE(decode_entry(kRootIno, "d/", encode_entry(entry_of(dir))).value().is_directory());
  EXPECT_EQ(inode_link().offset, 1u);
  EXPECT_EQ(inode_link().prefix, "i");
}

TEST(Rows, DeltaIsPinned) {
  DirectoryDelta delta;
  delta.nlink = -1;
  delta.entries = 2;
  delta.touched = 0x0102030405060708;
  delta.is_promoted = true;
  EXPECT_EQ(hex(encode_delta(delta)),
            "01"
            "878001"
            "01"
            "04"
            "0807060504030201");
  DirectoryDelta all;
  all.changed = 5;
  all.mode = 0700;
  all.uid = 1;
  all.gid = 2;
  all.atime = 3;
  all.mtime = 4;
  all.ctime = 6;
  all.btime = 7;
  all.place.emplace(Ino{8}, "n");
  all.origin = Origin::kExplicit;
  all.is_sealed = true;
  all.has_xattrs = true;
  InodeRow row;
  row.mode = S_IFDIR | 0755;
  apply_delta(row, decode_delta(encode_delta(all)).value());
  EXPECT_EQ(row.mode, S_IFDIR | 0700u);
  EXPECT_EQ(row.uid, 1u);
  EXPECT_EQ(row.gid, 2u);
  EXPECT_EQ(row.atime, 3);
  EXPECT_EQ(row.mtime, 4);
  EXPECT_EQ(row.ctime, 6);
  EXPECT_EQ(row.btime, 7);
  EXPECT_EQ(row.parent, Ino{8});
  EXPECT_EQ(row.name, "n");
  EXPECT_EQ(row.origin, Origin::kExplicit);
  EXPECT_TRUE(row.is_sealed);
  EXPECT_TRUE(row.has_xattrs);
}

TEST(Rows, ChangeIsPinned) {
  ChangeRecord c;
  c.kind = ChangeKind::kRename;
  c.ino = Ino{5};
  c.generation = Generation{2};
  c.parent_before = Ino{1};
  c.name_before = "a";
  c.parent_after = Ino{3};
  c.name_after = "b";
  c.replaced = Ino{4};
  c.size = 300;
  c.etag = "E";
  c.request = {.connection = 6, .unique = 7, .is_resent = false};
  c.node_id = 8;
  c.time = 0x0102030405060708;
  std::string value = encode_change(c);
  EXPECT_EQ(hex(value),
            "01"
            "05"
            "ff01"
            "0807060504030201"
            "05"
            "02"
            "010161"
            "030162"
            "04"
            "ac02"
            "0145"
            "06"
            "07"
            "08");
  EXPECT_EQ(encode_change(decode_change_record(value).value()), value);
  ChangeRecord least;
  least.ino = Ino{5};
  EXPECT_EQ(hex(encode_change(least)),
            "01"
            "01"
            "00"
            "0000000000000000"
            "05");
}

TEST(Rows, SmallRowsArePinned) {
  EXPECT_EQ(hex(encode_counters({1, -1, 300})),
            "01"
            "02"
            "01"
            "d804");
  EXPECT_EQ(decode_counters(encode_counters({INT64_MIN, INT64_MAX})).value(),
            (std::vector<int64_t>{INT64_MIN, INT64_MAX}));
  EXPECT_EQ(hex(encode_number(300)),
            "01"
            "ac02");
  EXPECT_EQ(decode_number(encode_number(UINT64_MAX)).value(), UINT64_MAX);
  EXPECT_EQ(hex(mark()), "01");
}

TEST(Rows, LaterFieldsAreIgnoredAndShortRowsRefused) {
  InodeRow row = sample_file();
  EntryRow entry = entry_of(row);
  ChangeRecord change;
  change.ino = Ino{5};
  std::string inode_value = encode_inode(row), entry_value = encode_entry(entry),
              change_value = encode_change(change);
  EXPECT_EQ(decode_inode(row.ino, inode_value + "later").value(), row);
  EXPECT_EQ(decode_entry(kRootIno, "f", entry_value + "later").value().ino, entry.ino);
  EXPECT_EQ(decode_change_record(change_value + "later").value().ino, Ino{5});
  for (size_t size = 0; size < inode_value.size(); ++size) {
    EXPECT_EQ(decode_inode(row.ino, inode_value.substr(0, size)).code(), Code::kCorrupt) << size;
  }
  for (size_t size = 0; size < entry_value.size(); ++size) {
    EXPECT_EQ(decode_entry(kRootIno, "f", entry_value.substr(0, size)).code(), Code::kCorrupt);
  }
  for (size_t size = 0; size < change_value.size(); ++size) {
    EXPECT_EQ(decode_change_record(change_value.substr(0, size)).code(), Code::kCorrupt);
  }
  inode_value[0] = entry_value[0] = 2;
  auto newer = decode_inode(row.ino, inode_value);
  EXPECT_EQ(newer.code(), Code::kCorrupt);
  EXPECT_NE(newer.status().message().find("version 2"), std::string::npos);
  EXPECT_EQ(decode_entry(kRootIno, "f", entry_value).code(), Code::kCorrupt);
  EXPECT_EQ(decode_delta("").code(), Code::kCorrupt);
  EXPECT_EQ(decode_counters("\x02").code(), Code::kCorrupt);
  EXPECT_EQ(decode_number("\x01").code(), Code::kCorrupt);
}

TEST(Merge, FoldsDeltasInOrderAndMakesNoRow) {
  kv::MergeFunction merge = merge_function();
  InodeRow row;
  row.ino = Ino{7};
  row.mode = S_IFDIR | 0755;
  row.nlink = 2;
  row.origin = Origin::kImplied;
  std::string key = ino_key(Prefix::kInode, row.ino);
  DirectoryDelta first, second, third;
  first.entries = first.nlink = 1;
  first.touched = 20;
  second.mode = 0700;
  second.changed = 10;
  third.is_promoted = true;
  std::string a = encode_delta(first), b = encode_delta(second), c = encode_delta(third);
  EXPECT_FALSE(merge(key, std::nullopt, {a, b}));
  InodeRow merged = decode_inode(row.ino, *merge(key, encode_inode(row), {a, b})).value();
  EXPECT_EQ(merged.nlink, 3u);
  EXPECT_EQ(merged.size, 1u);
  EXPECT_EQ(merged.ctime, 20);
  EXPECT_EQ(merged.mode & 07777, 0700u);
  EXPECT_EQ(merged.origin, Origin::kImplied);
  EXPECT_EQ(decode_inode(row.ino, *merge(key, encode_inode(row), {c})).value().origin,
            Origin::kPosix);
  row.origin = Origin::kExplicit;
  EXPECT_EQ(decode_inode(row.ino, *merge(key, encode_inode(row), {c})).value().origin,
            Origin::kExplicit);
  // In two steps as in one, and what cannot be read changes nothing.
  EXPECT_EQ(merge(key, *merge(key, encode_inode(row), {a}), {b}),
            merge(key, encode_inode(row), {a, b}));
  EXPECT_EQ(*merge(key, encode_inode(row), {"\x09"}), encode_inode(row));
  EXPECT_EQ(*merge(key, "\x09", {a}), "\x09");
}

TEST(Merge, AddsCounters) {
  kv::MergeFunction merge = merge_function();
  std::string key = prefixed(Prefix::kCounter, "usage");
  std::string one = encode_counters({1}), two = encode_counters({2, -5});
  EXPECT_EQ(*merge(key, std::nullopt, {one, two}), encode_counters({3, -5}));
  EXPECT_EQ(*merge(key, two, {one}), encode_counters({3, -5}));
  EXPECT_EQ(*merge("b", "kept", {one}), "kept");
  EXPECT_FALSE(merge("b", std::nullopt, {one}));
}

}  // namespace
}  // namespace tarn::meta
