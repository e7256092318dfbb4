// Archives that are damaged, that lie, or that mean harm: a clear error each, and no crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/archive.h"
#include "archive/tar_builder.h"
#include "base/limits.h"

namespace tarn::archive {
namespace {

using testing::HasSubstr;

void expect_refused(const std::string& bytes, Code code, std::string_view message,
                    Options options = {}) {
  const ReadArchive read = read_archive(bytes, std::move(options));
  EXPECT_EQ(read.status.code(), code) << read.status.to_string();
  EXPECT_THAT(read.status.to_string(), HasSubstr(std::string(message)));
}

TEST(Hostile, NamesThatLeaveTheDirectory) {
  const std::string absolute = tar_file("/etc/passwd", "x") + tar_end();
  expect_refused(absolute, Code::kInvalidArgument, "member '/etc/passwd' at offset 0: name");
  Options strip;
  strip.strip_leading_slash = true;
  const ReadArchive read = read_archive(absolute, strip);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_EQ(read.members.at(0).member.path, "etc/passwd");
  expect_refused(tar_file("ok", "1") + tar_file("a/../../b", "x") + tar_end(),
                 Code::kInvalidArgument,
                 "member 'a/../../b' at offset 1024: name 'a/../../b' has a '..'");
  expect_refused(tar_special('x', pax_record("path", "../up")) + tar_file("a", "") + tar_end(),
                 Code::kInvalidArgument, "'..'");
  expect_refused(tar_special('L', "/abs") + tar_file("a", "") + tar_end(), Code::kInvalidArgument,
                 "absolute");
}

TEST(Hostile, NamesThatNoFileSystemTakes) {
  const std::string nul("good\0/../evil", 13);
  expect_refused(tar_special('x', pax_record("path", nul)) + tar_file("a", "") + tar_end(),
                 Code::kBadFormat, "NUL");
  expect_refused(tar_special('L', nul) + tar_file("a", "") + tar_end(), Code::kBadFormat, "NUL");
  expect_refused(tar_special('L', std::string(256, 'n')) + tar_file("a", "") + tar_end(),
                 Code::kNameTooLong, "256 bytes, the limit is 255");
  expect_refused(tar_file("", "x") + tar_end(), Code::kBadFormat, "needs a name");
  expect_refused(tar_link("l", '2', "") + tar_end(), Code::kBadFormat, "no target");
  expect_refused(tar_special('K', std::string(5000, 't')) + tar_link("l", '2', "x") + tar_end(),
                 Code::kNameTooLong, "5000");
}

TEST(Hostile, Links) {
  expect_refused(tar_link("l", '2', "/etc") + tar_end(), Code::kInvalidArgument,
                 "symbolic link 'l' points out of the target directory: '/etc'");
  expect_refused(tar_link("l", '2', "dir") + tar_file("l/x", "") + tar_end(),
                 Code::kInvalidArgument, "'l/x' lies below 'l', which is a symbolic link");
  expect_refused(tar_link("h", '1', "missing") + tar_end(), Code::kInvalidArgument,
                 "hard link 'h' links to 'missing', which is no earlier member");
  expect_refused(tar_link("h", '1', "../outside") + tar_end(), Code::kInvalidArgument, "'..'");
  expect_refused(tar_link("h", '1', "/etc/shadow") + tar_end(), Code::kInvalidArgument, "absolute");
  Options loose;
  loose.allow_external_symlinks = true;
  EXPECT_TRUE(read_archive(tar_link("l", '2', "/etc") + tar_end(), loose).status.is_ok());
}

TEST(Hostile, TwoOfOneNameAndLinksToItself) {
  const ReadArchive read = read_archive(tar_file("a", "old") + tar_file("a", "new") +
                                        tar_link("a", '1', "a") + tar_file("b", "") + tar_end());
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  ASSERT_EQ(read.members.size(), 3u);
  EXPECT_FALSE(read.members[0].member.replaces_earlier);
  EXPECT_TRUE(read.members[1].member.replaces_earlier);
  EXPECT_EQ(read.members[1].data, "new");
  EXPECT_EQ(read.members[2].member.path, "b");
}

TEST(Hostile, EveryPrefixOfAnArchiveIsTruncated) {
  const std::string members = tar_special('x', pax_record("path", "long")) + tar_file("a", "data") +
                              tar_special('L', "name") + tar_file("b", noise(700, 1)) +
                              tar_header({.name = "d", .type = '5'});
  for (size_t n = 1; n < members.size() + 512; ++n) {
    const ReadArchive read = read_archive((members + tar_end()).substr(0, n));
    ASSERT_FALSE(read.status.is_ok()) << n;
    ASSERT_TRUE(read.status.is(Code::kBadFormat)) << n << read.status.to_string();
  }
  const ReadArchive cut = read_archive((members + tar_end()).substr(0, members.size() - 900));
  EXPECT_THAT(cut.status.to_string(), HasSubstr("member 'name'"));
  EXPECT_THAT(cut.status.to_string(), HasSubstr("truncated"));
  // One zero block is taken for the end, as tar does; none only when told.
  EXPECT_TRUE(read_archive(members + std::string(512, '\0')).status.is_ok());
  expect_refused(members, Code::kBadFormat, "without the two zero blocks");
  Options loose;
  loose.allow_missing_end = true;
  EXPECT_TRUE(read_archive(members, loose).status.is_ok());
}

TEST(Hostile, EveryDamagedHeaderByteIsSeen) {
  const std::string good = tar_file("first", "1") + tar_file("second", "22") + tar_end();
  ASSERT_TRUE(read_archive(good).status.is_ok());
  for (size_t i = 0; i < 512; ++i) {
    if (i >= 148 && i < 156) continue;  // blanks of the checksum field may differ
    std::string damaged = good;
    damaged[1024 + i] = static_cast<char>(damaged[1024 + i] ^ 0x11);
    const ReadArchive read = read_archive(damaged);
    ASSERT_TRUE(read.status.is(Code::kBadFormat)) << i;
  }
  std::string damaged = good;
  damaged[1030] = 'X';
  expect_refused(damaged, Code::kBadFormat,
                 "header at offset 1024 has a wrong checksum (after member 'first')");
}

TEST(Hostile, SizesThatLie) {
  expect_refused(
      tar_header({.name = "big", .size = 1 << 30}) + tar_end(), Code::kBadFormat,
      "member 'big' at offset 0: the archive is truncated: it ends at offset 1536, but the "
      "member's 1073741824 bytes begin at 512");
  expect_refused(tar_header({.name = "n", .size_field = std::string(12, '\xff')}) + tar_end(),
                 Code::kBadFormat, "size is negative (-1)");
  expect_refused(
      tar_header({.name = "n", .size_field = "\x80" + std::string(11, '\xff')}) + tar_end(),
      Code::kBadFormat, "beyond 63 bits");
  expect_refused(tar_header({.name = "n", .size_field = "12x4"}) + tar_end(), Code::kBadFormat,
                 "not octal");
  for (const char* size : {"-1", "99999999999999999999", "1x", "9223372036854775807"})
    expect_refused(tar_special('x', pax_record("size", size)) + tar_file("a", "") + tar_end(),
                   Code::kBadFormat, "member 'a' at offset 0");
}

TEST(Hostile, TrailingBytes) {
  const std::string good = tar_file("a", "1") + tar_end();
  EXPECT_TRUE(read_archive(good + std::string(9000, '\0')).status.is_ok());
  expect_refused(good + "rubbish", Code::kBadFormat, "goes on after its end marker at offset 1024");
  expect_refused(tar_file("a", "1") + std::string(512, '\0') + tar_file("b", "2"), Code::kBadFormat,
                 "goes on after its end marker");
  Options loose;
  loose.ignore_trailing_data = true;
  EXPECT_TRUE(read_archive(good + "rubbish", loose).status.is_ok());
  Options small;
  small.limits.padding_bytes_max = 4096;
  expect_refused(good + std::string(9000, '\0'), Code::kFileTooLarge, "padding", small);
}

TEST(Hostile, ChainsOfSpecialHeaders) {
  std::string chain;
  for (int i = 0; i < 100; ++i) chain += tar_special('x', pax_record("comment", "again"));
  expect_refused(chain + tar_file("a", "") + tar_end(), Code::kBadFormat,
                 "more than 64 special headers");
  expect_refused(tar_header({.name = "x", .type = 'x', .size = uint64_t{1} << 33}) + tar_end(),
                 Code::kFileTooLarge, "exceed 4194304 bytes");
  Options small;
  small.limits.header_bytes_max = 1000;
  expect_refused(tar_special('x', pax_record("comment", std::string(600, 'c'))) +
                     tar_special('x', pax_record("comment", std::string(600, 'c'))) +
                     tar_file("a", "") + tar_end(),
                 Code::kFileTooLarge, "exceed 1000 bytes", small);
  std::string globals;
  for (int i = 0; i < 10; ++i)
    globals += tar_special('g', pax_record("comment", std::string(200, 'c'))) +
               tar_file(fmt::format("f{}", i), "");
  expect_refused(globals + tar_end(), Code::kFileTooLarge, "global", small);
  expect_refused(tar_special('g', pax_record("path", "same")) + tar_file("a", "") + tar_end(),
                 Code::kBadFormat, "global pax header may not");
}

TEST(Hostile, MalformedPaxRecords) {
  for (const char* body : {"no length", "5 a=b", "999 a=b\n", "6 abc\n", "5 =b\n", "0 a=b\n",
                           "99999999999999999999 a=b\n", "7 a=b\n\n\n", "-6 a=b\n"})
    expect_refused(tar_special('x', body) + tar_file("a", "") + tar_end(), Code::kBadFormat,
                   "member 'a' at offset 0");
  for (const auto& [key, value] : {std::pair{"mtime", "soon"},
                                   {"uid", "root"},
                                   {"uid", "99999999999"},
                                   {"LIBARCHIVE.xattr.user.a", "!!"},
                                   {"SCHILY.acl.access", "user:"},
                                   {"GNU.sparse.map", "1"},
                                   {"GNU.sparse.map", "a,b"},
                                   {"GNU.sparse.numbytes", "3"}})
    expect_refused(tar_special('x', pax_record(key, value)) + tar_file("a", "") + tar_end(),
                   Code::kBadFormat, "member 'a' at offset 0");
  expect_refused(tar_special('x', pax_record("SCHILY.xattr.user.a", std::string(70'000, 'v'))) +
                     tar_file("a", "") + tar_end(),
                 Code::kBadFormat, "70000 bytes");
}

TEST(Hostile, SparseMapsThatLie) {
  const auto sparse = [](const std::string& map, const std::string& size, const std::string& data) {
    return tar_special('x',
                       pax_record("GNU.sparse.size", size) + pax_record("GNU.sparse.map", map)) +
           tar_file("s", data) + tar_end();
  };
  const ReadArchive good = read_archive(sparse("0,2,10,3", "20", "abcde"));
  ASSERT_TRUE(good.status.is_ok()) << good.status.to_string();
  EXPECT_EQ(good.members.at(0).data, std::string("ab\0\0\0\0\0\0\0\0cde\0\0\0\0\0\0\0", 20));
  expect_refused(sparse("0,2,10,3", "20", "abcd"), Code::kBadFormat, "covers 5 bytes, but 4");
  expect_refused(sparse("0,2", "20", "abcde"), Code::kBadFormat, "covers 2 bytes, but 5");
  expect_refused(sparse("0,4,2,1", "20", "abcde"), Code::kBadFormat, "overlaps");
  expect_refused(sparse("10,3,0,2", "20", "abcde"), Code::kBadFormat, "overlaps");
  expect_refused(sparse("0,2,18,3", "20", "abcde"), Code::kBadFormat, "beyond the file's size 20");
  expect_refused(sparse("9223372036854775807,5", "9223372036854775807", "abcde"), Code::kBadFormat,
                 "beyond");
  const auto one_zero = [](const std::string& data) {
    return tar_special('x', pax_record("GNU.sparse.major", "1") +
                                pax_record("GNU.sparse.minor", "0") +
                                pax_record("GNU.sparse.realsize", "100")) +
           tar_file("s", data) + tar_end();
  };
  EXPECT_TRUE(read_archive(one_zero(padded("1\n50\n3\n") + "abc")).status.is_ok());
  expect_refused(one_zero("1\n50"), Code::kBadFormat, "beyond the member's data");
  expect_refused(one_zero(padded("9000000000\n50\n3\n") + "abc"), Code::kBadFormat, "member 's'");
  expect_refused(one_zero(padded("x\n") + "abc"), Code::kBadFormat, "not a number");
  expect_refused(one_zero(std::string(5 << 20, '1')), Code::kFileTooLarge, "exceed 4194304");
  expect_refused(
      tar_special('x', pax_record("GNU.sparse.major", "2")) + tar_file("s", "") + tar_end(),
      Code::kNotSupported, "sparse format 2.0");
}

TEST(Hostile, LimitsOfTheCaller) {
  const std::string bytes = tar_file("a", "12345") + tar_file("b", "12345") + tar_end();
  Options few;
  few.limits.members_max = 1;
  expect_refused(bytes, Code::kFileTooLarge, "more than 1 ", few);
  Options little;
  little.limits.stored_bytes_max = 9;
  expect_refused(bytes, Code::kFileTooLarge, "limit of 9 bytes", little);
  Options small;
  small.limits.file_bytes_max = 4;
  expect_refused(bytes, Code::kFileTooLarge, "member 'a' at offset 0: size 5", small);
}

TEST(Hostile, TypesThatAreNotGuessedAt) {
  for (const char type : {'M', 'N', 'Z', '9', '\x01'})
    expect_refused(tar_header({.name = "a", .type = type}) + tar_end(), Code::kNotSupported,
                   "not supported");
  expect_refused(tar_header({.name = "a", .type = 'S'}) + tar_end(), Code::kNotSupported, "star");
}

TEST(Hostile, ErrorsStay) {
  MemorySource source(tar_file("/abs", "x") + tar_file("ok", "") + tar_end());
  auto reader = Reader::open(source, {});
  ASSERT_TRUE(reader.is_ok());
  EXPECT_EQ((*reader)->next().code(), Code::kInvalidArgument);
  EXPECT_EQ((*reader)->next().code(), Code::kInvalidArgument);
  EXPECT_EQ((*reader)->read_data([](uint64_t, auto) { return Status(); }).code(),
            Code::kInvalidArgument);
}

TEST(Hostile, RandomChangesNeverCrash) {
  // Whole headers with random bytes in them and right checksums, so that the parser goes deep.
  const std::string base =
      tar_special('x', pax_record("path", "p") + pax_record("size", "4") +
                           pax_record("GNU.sparse.map", "0,4") +
                           pax_record("GNU.sparse.size", "9")) +
      tar_file("a", "data") + tar_special('L', "long") + tar_file("b", "more") +
      tar_link("h", '1', "p") +
      tar_header({.name = "s", .type = 'S', .magic = std::string("ustar  \0", 8)}) + tar_end();
  uint64_t x = 88172645463325252;
  const auto random = [&x] { return x ^= x << 13, x ^= x >> 7, x ^= x << 17; };
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = base;
    for (int changes = 1 + static_cast<int>(random() % 4); changes > 0; --changes)
      bytes[random() % bytes.size()] =
          static_cast<char>(random() % 2 ? '0' + random() % 10 : random());
    for (size_t i = 0; i + 512 <= bytes.size() - 1024; i += 512)
      if (bytes.compare(i + 257, 5, "ustar") == 0)
        bytes.replace(i, 512, with_checksum(bytes.substr(i, 512)));
    const ReadArchive read = read_archive(bytes);
    for (const ReadMember& m : read.members) {
      ASSERT_FALSE(m.member.path.starts_with('/'));
      ASSERT_LE(m.member.data_offset + m.member.stored_bytes, bytes.size());
    }
    accepted += read.status.is_ok() ? 1 : 0;
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 19'000);
}

}  // namespace
}  // namespace tarn::archive
