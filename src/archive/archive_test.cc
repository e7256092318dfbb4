// Archives that the real tar makes, read back and compared with the files and with libarchive.
#include "archive/archive.h"

#include <fcntl.h>
#include <locale.h>
#include <sys/xattr.h>

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <archive.h>
#include <archive_entry.h>

#include "archive/acl_text.h"
#include "archive/tar_builder.h"
#include "base/limits.h"

namespace tarn::archive {
namespace {

using testing::HasSubstr;

/// What libarchive says about a tar: path -> (type, size, mtime, mode, offset of the data).
struct Seen {
  unsigned type;
  int64_t size, mtime;
  unsigned mode;
  int64_t data_offset;
  bool operator==(const Seen&) const = default;
};
std::map<std::string, Seen> list_with_libarchive(const std::string& path) {
  std::map<std::string, Seen> members;
  ::archive* handle = archive_read_new();
  archive_read_support_format_tar(handle);
  CHECK(archive_read_open_filename(handle, path.c_str(), 10240) == ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(handle, &entry) == ARCHIVE_OK) {
    std::string name = archive_entry_pathname(entry);
    while (name.ends_with('/')) name.pop_back();
    const bool is_link = archive_entry_hardlink(entry) != nullptr;
    members[name] = {is_link ? 0u : static_cast<unsigned>(archive_entry_filetype(entry)),
                     archive_entry_size(entry), archive_entry_mtime(entry),
                     static_cast<unsigned>(archive_entry_perm(entry)),
                     archive_filter_bytes(handle, 0)};
  }
  archive_read_free(handle);
  return members;
}
std::map<std::string, Seen> list_with_reader(const std::string& path) {
  std::map<std::string, Seen> members;
  auto source = FdSource::open(path);
  auto reader = Reader::open(**source, {});
  CHECK(reader.is_ok(), reader.status().to_string());
  for (;;) {
    auto next = (*reader)->next();
    CHECK(next.is_ok(), next.status().to_string());
    if (!*next) return members;
    const Member& m = **next;
    unsigned type = 0;
    if (m.type == MemberType::kFile) type = S_IFREG;
    if (m.type == MemberType::kDirectory) type = S_IFDIR;
    if (m.type == MemberType::kSymlink) type = S_IFLNK;
    if (m.type == MemberType::kFifo) type = S_IFIFO;
    members[m.path] = {type, static_cast<int64_t>(m.size), m.mtime / kSecondNs, m.mode,
                       static_cast<int64_t>(m.data_offset)};
  }
}

std::string deep_name(size_t segments) {
  std::string name = "tree";
  for (size_t i = 0; i < segments; ++i) name += fmt::format("/{}-{}", std::string(60, 'd'), i);
  return name;
}

void make_tree(const TempDir& dir, bool has_long_names) {
  std::filesystem::create_directories(dir / "tree/sub");
  write_text(dir / "tree/empty", "");
  write_text(dir / "tree/small", "hello");
  write_text(dir / "tree/block", noise(512, 1));
  write_text(dir / "tree/sub/large", noise(3'000'001, 2));
  write_text(dir / "tree/sub/exec", "#!/bin/sh\n");
  run(dir,
      "chmod 4755 tree/sub/exec && touch -d @1234567890 tree/small && ln tree/small tree/sub/hard"
      " && ln -s ../small tree/sub/soft && mkfifo tree/pipe && chmod 1777 tree/sub");
  if (!has_long_names) return;
  std::filesystem::create_directories(dir / deep_name(5));
  write_text(dir / (deep_name(5) + "/leaf"), "deep");
  run(dir, fmt::format("ln -s {} tree/far", deep_name(5).substr(5)));
}

class TarFormats : public testing::TestWithParam<const char*> {};

TEST_P(TarFormats, MembersAreWhereLibarchiveSeesThemAndHoldTheFilesBytes) {
  const std::string format = GetParam();
  TempDir dir;
  make_tree(dir, format != "v7" && format != "ustar");
  if (format == "v7") std::filesystem::remove(dir / "tree/pipe");
  run(dir, fmt::format("tar --format={} -cf t.tar tree", format));
  const auto ours = list_with_reader(dir / "t.tar");
  EXPECT_EQ(ours, list_with_libarchive(dir / "t.tar"));
  EXPECT_GE(ours.size(), 9u);

  const std::string bytes = read_text(dir / "t.tar");
  const ReadArchive read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  for (const ReadMember& m : read.members) {
    struct stat st;
    ASSERT_EQ(::lstat((dir / m.member.path).c_str(), &st), 0) << m.member.path;
    EXPECT_EQ(m.member.uid, st.st_uid);
    if (m.member.type != MemberType::kSymlink) {
      EXPECT_EQ(m.member.mode, st.st_mode & 07777) << m.member.path;
    }
    if (m.member.type != MemberType::kFile) continue;
    const std::string file = read_text(dir / m.member.path);
    EXPECT_EQ(m.member.size, file.size());
    EXPECT_TRUE(bytes.compare(m.member.data_offset, m.member.stored_bytes, file) == 0)
        << m.member.path;
    EXPECT_TRUE(m.data == file) << m.member.path;
  }
  const bool first_is_small = read.find("tree/small")->member.type == MemberType::kFile;
  const ReadMember* link = read.find(first_is_small ? "tree/sub/hard" : "tree/small");
  ASSERT_NE(link, nullptr);
  EXPECT_EQ(link->member.type, MemberType::kHardlink);
  EXPECT_EQ(link->member.link_target, first_is_small ? "tree/small" : "tree/sub/hard");
  EXPECT_EQ(read.find("tree/sub/soft")->member.link_target, "../small");
  EXPECT_EQ(read.find("tree/sub")->member.type, MemberType::kDirectory);
  if (format == "gnu" || format == "posix") {
    EXPECT_EQ(read.find(deep_name(5) + "/leaf")->data, "deep");
    EXPECT_EQ(read.find("tree/far")->member.link_target, deep_name(5).substr(5));
  }
}
INSTANTIATE_TEST_SUITE_P(All, TarFormats, testing::Values("v7", "oldgnu", "ustar", "gnu", "posix"));

TEST(Tar, PaxTimesKeepTheirNanoseconds) {
  TempDir dir;
  write_text(dir / "a", "x");
  const timespec times[2] = {{1'500'000'000, 123'456'789}, {1'400'000'000, 987'654'321}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (dir / "a").c_str(), times, 0), 0);
  run(dir, "tar --format=posix -cf t.tar a");
  const ReadArchive read = read_archive(read_text(dir / "t.tar"));
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_EQ(read.members.at(0).member.mtime, 1'400'000'000'987'654'321);
  EXPECT_EQ(read.members.at(0).member.atime, 1'500'000'000'123'456'789);
  EXPECT_TRUE(read.members.at(0).member.ctime.has_value());
}

TEST(Tar, TimesBeforeTheEpochAndBeyondItsEnd) {
  const std::string bytes =
      tar_special('x', pax_record("mtime", "-1.25") + pax_record("atime", "99999999999999.5")) +
      tar_file("a", "") + tar_end();
  const ReadArchive read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_EQ(read.members.at(0).member.mtime, -1'250'000'000);
  EXPECT_EQ(read.members.at(0).member.atime, INT64_MAX);
}

class SparseVersions : public testing::TestWithParam<const char*> {};

TEST_P(SparseVersions, ExtentsAreTheFile) {
  TempDir dir;
  // More stretches than the 4 of an old GNU header and the 21 of its first extension.
  std::string file(4 << 20, '\0');
  for (size_t i = 0; i < 30; ++i) file.replace(i * 131072, 4096, noise(4096, i + 7));
  {
    UniqueFd fd(::open((dir / "holes").c_str(), O_RDWR | O_CREAT, 0644));
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(file.size())), 0);
    for (size_t i = 0; i < 30; ++i)
      ASSERT_TRUE(write_at(fd.get(), i * 131072, as_bytes(file.substr(i * 131072, 4096))).is_ok());
  }
  run(dir, "truncate -s 1M nothing && echo end > after");
  run(dir, fmt::format("tar {} -S -cf t.tar holes nothing after", GetParam()));
  const std::string bytes = read_text(dir / "t.tar");
  const ReadArchive read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  ASSERT_EQ(read.members.size(), 3u);
  const Member& m = read.members[0].member;
  EXPECT_EQ(m.path, "holes");
  EXPECT_TRUE(m.is_sparse);
  EXPECT_EQ(m.size, file.size());
  EXPECT_EQ(m.stored_bytes, 30u * 4096);
  EXPECT_EQ(m.extents.size(), 30u);
  std::string rebuilt(m.size, '\0');
  for (const Extent& e : m.extents)
    rebuilt.replace(e.logical_offset, e.length, bytes, e.archive_offset, e.length);
  EXPECT_TRUE(rebuilt == file);
  EXPECT_TRUE(read.members[0].data == file);
  EXPECT_TRUE(read.members[1].member.is_sparse);
  EXPECT_EQ(read.members[1].member.size, 1u << 20);
  EXPECT_TRUE(read.members[1].member.extents.empty());
  EXPECT_EQ(read.members[2].data, "end\n");
  // Through a compressed stream the same bytes arrive, without offsets in the archive.
  run(dir, "gzip -1 t.tar");
  const ReadArchive streamed = read_archive(read_text(dir / "t.tar.gz"));
  ASSERT_TRUE(streamed.status.is_ok()) << streamed.status.to_string();
  EXPECT_TRUE(streamed.members.at(0).data == file);
  EXPECT_EQ(streamed.members.at(2).data, "end\n");
}
INSTANTIATE_TEST_SUITE_P(All, SparseVersions,
                         testing::Values("--format=gnu", "--format=posix --sparse-version=0.0",
                                         "--format=posix --sparse-version=0.1",
                                         "--format=posix --sparse-version=1.0"));

/// A member of 9 GiB whose size is told by `header`, in a file that is nearly all hole.
void expect_nine_gib(const std::string& header, const std::string& name) {
  constexpr uint64_t kSize = 9 * limits::kGiB;
  TempDir dir;
  UniqueFd fd(::open((dir / "t.tar").c_str(), O_RDWR | O_CREAT, 0644));
  ASSERT_TRUE(write_at(fd.get(), 0, as_bytes(header)).is_ok());
  const std::string tail = tar_file("after", "end") + tar_end();
  ASSERT_TRUE(write_at(fd.get(), header.size() + kSize, as_bytes(tail)).is_ok());
  auto source = FdSource::adopt(std::move(fd));
  CountingSource counting(**source);
  auto reader = Reader::open(counting, {});
  ASSERT_TRUE(reader.is_ok());
  auto big = (*reader)->next();
  ASSERT_TRUE(big.is_ok()) << big.status().to_string();
  EXPECT_EQ((*big)->path, name);
  EXPECT_EQ((*big)->size, kSize);
  EXPECT_EQ((*big)->data_offset, header.size());
  auto after = (*reader)->next();
  ASSERT_TRUE(after.is_ok()) << after.status().to_string();
  EXPECT_EQ((*after)->path, "after");
  EXPECT_EQ((*after)->data_offset, header.size() + kSize + 512);
  auto end = (*reader)->next();
  ASSERT_TRUE(end.is_ok()) << end.status().to_string();
  EXPECT_FALSE(end->has_value());
  EXPECT_LT(counting.bytes(), 20'000u);
}

TEST(Tar, SizesBeyondEightGiB) {
  std::string base256(12, '\0');
  base256[0] = '\x80';
  base256[7] = 2;  // 9 GiB = 0x2'4000'0000
  base256[8] = '\x40';
  expect_nine_gib(tar_header({.name = "binary", .size_field = base256}), "binary");
  expect_nine_gib(tar_special('x', pax_record("size", std::to_string(9 * limits::kGiB))) +
                      tar_header({.name = "decimal"}),
                  "decimal");
  expect_nine_gib(tar_header({.name = "octal", .size_field = "110000000000"}), "octal");
}

TEST(Tar, IndexingReadsHeadersOnly) {
  std::string bytes;
  for (int i = 0; i < 50; ++i) bytes += tar_file(fmt::format("f{}", i), noise(1 << 20, 3));
  bytes += tar_end();
  MemorySource source(bytes);
  CountingSource counting(source);
  auto reader = Reader::open(counting, {});
  ASSERT_TRUE(reader.is_ok());
  int members = 0;
  for (;; ++members) {
    auto member = (*reader)->next();
    ASSERT_TRUE(member.is_ok()) << member.status().to_string();
    if (!*member) break;
  }
  EXPECT_EQ(members, 50);
  EXPECT_LT(counting.bytes(), 51u * 4096 + 8192);
  EXPECT_EQ((*reader)->raw_bytes(), bytes.size());
}

TEST(Tar, NamesAreBytesInEveryLocale) {
  // Latin-1, a decomposed character that conversion would compose, and a lone continuation byte.
  const std::vector<std::string> names = {"caf\xe9", "e\xcc\x81.txt", "\x80\xff"};
  TempDir dir;
  for (const auto& name : names) write_text(dir / name, name);
  for (const char* locale : {"C", "C.UTF-8"}) {
    ASSERT_NE(::setlocale(LC_ALL, locale), nullptr);
    for (const char* format : {"ustar", "gnu", "posix"}) {
      run(dir, fmt::format("rm -f t.tar && tar --format={} -cf t.tar --exclude=t.tar .", format));
      const ReadArchive read = read_archive(read_text(dir / "t.tar"));
      ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
      for (const auto& name : names) {
        ASSERT_NE(read.find(name), nullptr) << format;
        EXPECT_EQ(read.find(name)->data, name);
      }
    }
    // Names beyond ASCII in pax records, which tar itself writes only for long ones.
    std::string bytes;
    for (const auto& name : names)
      bytes += tar_special('x', pax_record("path", name)) + tar_file("short", name);
    const ReadArchive read = read_archive(bytes + tar_end());
    ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
    for (size_t i = 0; i < names.size(); ++i) EXPECT_EQ(read.members.at(i).member.path, names[i]);
  }
  ::setlocale(LC_ALL, "C");
}

TEST(Tar, XattrsAndAclsOfTheRealTar) {
  TempDir dir;
  write_text(dir / "a", "x");
  const std::string value("with\0nul\n", 9);
  ASSERT_EQ(::setxattr((dir / "a").c_str(), "user.k=%y", value.data(), value.size(), 0), 0);
  const NameResolver nobody_known = [](std::string_view, bool) { return std::nullopt; };
  auto acl = parse_acl_text("u::rw-,u:1234:r--,g::r--,m::r--,o::---", nobody_known);
  ASSERT_TRUE(acl.is_ok());
  ASSERT_EQ(::setxattr((dir / "a").c_str(), "system.posix_acl_access", acl->xattr.data(),
                       acl->xattr.size(), 0),
            0);
  run(dir, "tar --xattrs --acls -cf t.tar a");
  const ReadArchive read = read_archive(read_text(dir / "t.tar"));
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  const Member& m = read.members.at(0).member;
  EXPECT_THAT(m.xattrs,
              testing::UnorderedElementsAre(Xattr{"user.k=%y", value},
                                            Xattr{"system.posix_acl_access", acl->xattr}));
}

TEST(Tar, XattrsOfOtherWriters) {
  const std::string bytes =
      tar_special('x', pax_record("LIBARCHIVE.xattr.user.a%20b", "aGVsbG8=") +
                           pax_record("SCHILY.xattr.user.c", "") +
                           pax_record("SCHILY.acl.access",
                                      "user::rwx,user:nosuch:r-x,user:root:r--"
                                      ":0,group::r-x,mask::rwx,other::r-x")) +
      tar_file("a", "") + tar_end();
  const ReadArchive read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  const auto& xattrs = read.members.at(0).member.xattrs;
  ASSERT_EQ(xattrs.size(), 3u);
  EXPECT_EQ(xattrs[0], (Xattr{"user.a b", "hello"}));
  EXPECT_EQ(xattrs[1], (Xattr{"user.c", ""}));
  EXPECT_EQ(xattrs[2].value.size(), 4u + 5 * 8);
  ASSERT_EQ(read.warnings.size(), 1u);
  EXPECT_THAT(read.warnings[0], HasSubstr("user:nosuch:r-x"));
}

TEST(Tar, GlobalPaxHeadersHoldUntilALocalOneSaysOtherwise) {
  const std::string bytes =
      tar_special('g',
                  pax_record("mtime", "5") + pax_record("uid", "7") + pax_record("comment", "c")) +
      tar_file("a", "") + tar_special('x', pax_record("mtime", "6")) + tar_file("b", "") +
      tar_special('x', pax_record("uid", "")) + tar_file("c", "") + tar_end();
  const ReadArchive read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_EQ(read.members.at(0).member.mtime, 5 * kSecondNs);
  EXPECT_EQ(read.members.at(0).member.uid, 7u);
  EXPECT_EQ(read.members.at(1).member.mtime, 6 * kSecondNs);
  EXPECT_EQ(read.members.at(2).member.mtime, 5 * kSecondNs);
  EXPECT_EQ(read.members.at(2).member.uid, 01750u);
}

TEST(Tar, HardLinksWithAndWithoutData) {
  // Old writers put the size into the header of a link and no data behind it.
  std::string bytes = tar_file("a", "data") +
                      tar_header({.name = "b", .type = '1', .size = 4, .link = "a"}) +
                      tar_file("c", "see") + tar_end();
  ReadArchive read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  ASSERT_EQ(read.members.size(), 3u);
  EXPECT_EQ(read.members[2].data, "see");
  bytes = tar_file("a", "data") + tar_header({.name = "b", .type = '1', .size = 4, .link = "a"}) +
          padded("data") + tar_file("c", "see") + tar_end();
  read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  ASSERT_EQ(read.members.size(), 3u);
  EXPECT_EQ(read.members[1].member.size, 0u);
  EXPECT_EQ(read.members[2].data, "see");
}

TEST(Tar, DevicesAreGivenOutAsSuch) {
  std::string device = tar_header({.name = "null", .type = '3'});
  device.replace(329, 7, "0000001").replace(337, 7, "0000003");
  const ReadArchive read = read_archive(with_checksum(device) + tar_end());
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_EQ(read.members.at(0).member.type, MemberType::kCharDevice);
  EXPECT_EQ(read.members.at(0).member.device_major, 1u);
  EXPECT_EQ(read.members.at(0).member.device_minor, 3u);
}

TEST(Tar, NamesAreNormalised) {
  const std::string bytes = tar_header({.name = "./", .type = '5'}) + tar_file(".//a/./b", "1") +
                            tar_file("dir/", "ignored") +
                            tar_header({.name = "leaf", .prefix = "some/prefix"}) + tar_end();
  const ReadArchive read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  ASSERT_EQ(read.members.size(), 4u);
  EXPECT_EQ(read.members[0].member.path, "");
  EXPECT_EQ(read.members[0].member.type, MemberType::kDirectory);
  EXPECT_EQ(read.members[1].member.path, "a/b");
  EXPECT_EQ(read.members[2].member.path, "dir");
  EXPECT_EQ(read.members[2].member.type, MemberType::kDirectory);
  EXPECT_EQ(read.members[3].member.path, "some/prefix/leaf");
}

TEST(Detect, TellsFormatsApart) {
  MemorySource empty("");
  EXPECT_EQ(detect(empty).code(), Code::kBadFormat);
  MemorySource text("just some text, nothing more");
  EXPECT_EQ(detect(text).code(), Code::kBadFormat);
  MemorySource seven(std::string("7z\xbc\xaf\x27\x1c", 6));
  EXPECT_EQ(detect(seven).code(), Code::kNotSupported);
  EXPECT_THAT(std::string(detect(seven).status().message()), HasSubstr("7z"));
  // A member whose name is another format's magic.
  MemorySource tar(tar_file("BZh91AY", "x") + tar_end());
  ASSERT_TRUE(detect(tar).is_ok());
  EXPECT_EQ(format_name(*detect(tar)), "tar");
  const ReadArchive zeros = read_archive(std::string(10240, '\0'));
  EXPECT_TRUE(zeros.status.is_ok());
  EXPECT_TRUE(zeros.members.empty());
}

TEST(FdSource, RefusesWhatCannotSeek) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  UniqueFd writer(ends[1]);
  EXPECT_EQ(FdSource::adopt(UniqueFd(ends[0])).code(), Code::kInvalidArgument);
  EXPECT_EQ(FdSource::open("/tmp").code(), Code::kInvalidArgument);
  EXPECT_EQ(FdSource::open("/nowhere/at/all").code(), Code::kNotFound);
}

}  // namespace
}  // namespace tarn::archive
