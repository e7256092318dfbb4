// Compressed tars and stored zips: the same members, whole or refused; the hook on raw bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/archive.h"
#include "archive/tar_builder.h"
#include "base/coding.h"
#include "base/limits.h"

namespace tarn::archive {
namespace {

using testing::HasSubstr;

struct Codec {
  const char* command;  // a filter
  const char* format;
};
void PrintTo(const Codec& codec, std::ostream* out) {
  *out << codec.command;
}
class Codecs : public testing::TestWithParam<Codec> {
 protected:
  /// `plain` through the codec's own program.
  std::string packed(const std::string& plain) {
    TempDir dir;
    write_text(dir / "plain", plain);
    run(dir, fmt::format("{} < plain > packed", GetParam().command));
    return read_text(dir / "packed");
  }
};

std::string some_tar() {
  std::string bytes;
  for (int i = 0; i < 40; ++i)
    bytes += tar_file(fmt::format("dir/file{}", i),
                      noise(static_cast<size_t>(i) * 901, 5) + std::string(9'000, 'z'));
  return bytes + tar_file("big", noise(500'000, 6)) + tar_link("link", '2', "dir/file3") +
         tar_end() + std::string(9 * 1024, '\0');
}

TEST_P(Codecs, GivesTheSameMembersAndShowsEachRawByteOnce) {
  const std::string plain = some_tar();
  const std::string bytes = packed(plain);
  const ReadArchive expected = read_archive(plain);
  ASSERT_TRUE(expected.status.is_ok()) << expected.status.to_string();
  std::string raw;
  Options options;
  options.on_raw = [&](std::span<const std::byte> b) { raw.append(as_text(b)); };
  MemorySource source(bytes);
  EXPECT_EQ(format_name(*detect(source)), GetParam().format);
  const ReadArchive read = read_archive(source, options);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_TRUE(raw == bytes);
  ASSERT_EQ(read.members.size(), expected.members.size());
  for (size_t i = 0; i < read.members.size(); ++i) {
    EXPECT_EQ(read.members[i].member.path, expected.members[i].member.path);
    EXPECT_EQ(read.members[i].member.data_offset, expected.members[i].member.data_offset);
    EXPECT_TRUE(read.members[i].data == expected.members[i].data);
  }
}

TEST_P(Codecs, StreamsAfterEachOtherAreOne) {
  const std::string plain = some_tar();
  const ReadArchive read =
      read_archive(packed(plain.substr(0, 300'001)) + packed(plain.substr(300'001)));
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_EQ(read.members.size(), 42u);
  EXPECT_TRUE(read.members[40].data == noise(500'000, 6));
}

TEST_P(Codecs, MembersMayBePassedOver) {
  MemorySource source(packed(some_tar()));
  uint64_t raw = 0;
  Options options;
  options.on_raw = [&](std::span<const std::byte> b) { raw += b.size(); };
  auto reader = Reader::open(source, options);
  ASSERT_TRUE(reader.is_ok());
  int members = 0;
  for (;; ++members) {
    auto member = (*reader)->next();
    ASSERT_TRUE(member.is_ok()) << member.status().to_string();
    if (!*member) break;
  }
  EXPECT_EQ(members, 42);
  EXPECT_EQ(raw, source.bytes().size());
  EXPECT_EQ((*reader)->raw_bytes(), source.bytes().size());
  // And left in the middle: the thread must let go.
  auto second = Reader::open(source, {});
  ASSERT_TRUE(second.is_ok());
  EXPECT_TRUE((*second)->next().is_ok());
  second->reset();
  EXPECT_FALSE(Reader::open(*std::make_unique<MemorySource>(""), {}).is_ok());
}

TEST_P(Codecs, TruncationIsSeenWhereverItIs) {
  const std::string bytes = packed(some_tar());
  for (size_t cut = 1; cut < bytes.size(); cut += bytes.size() / 11 + 1) {
    const ReadArchive read = read_archive(bytes.substr(0, bytes.size() - cut));
    EXPECT_TRUE(read.status.is(Code::kBadFormat)) << cut << " " << read.status.to_string();
  }
  for (size_t cut = 1; cut <= 24; cut += 3)
    EXPECT_FALSE(read_archive(bytes.substr(0, bytes.size() - cut)).status.is_ok()) << cut;
}

TEST_P(Codecs, AChangedByteIsSeen) {
  const std::string bytes = packed(some_tar());
  // The first bytes of a gzip header (time, flags, system) mean nothing to the data.
  for (size_t at = 30; at < bytes.size() - 8; at += bytes.size() / 17 + 1) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    const ReadArchive read = read_archive(damaged);
    EXPECT_TRUE(read.status.is(Code::kBadFormat)) << at << " " << read.status.to_string();
  }
}

TEST_P(Codecs, TrailingBytes) {
  const std::string bytes = packed(some_tar());
  const ReadArchive strict = read_archive(bytes + "this is no part of it");
  EXPECT_TRUE(strict.status.is(Code::kBadFormat)) << strict.status.to_string();
  if (std::string_view(GetParam().format) == "tar+xz") return;  // liblzma's word is final
  EXPECT_THAT(strict.status.to_string(), HasSubstr("not part of it"));
  std::string raw;
  Options loose;
  loose.ignore_trailing_data = true;
  loose.on_raw = [&](std::span<const std::byte> b) { raw.append(as_text(b)); };
  const ReadArchive read = read_archive(bytes + "this is no part of it", loose);
  EXPECT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_TRUE(raw == bytes + "this is no part of it");
  EXPECT_TRUE(read_archive(bytes + std::string(100'000, '\0')).status.is_ok());
}

TEST_P(Codecs, WhatIsInsideMustBeATar) {
  const ReadArchive read = read_archive(packed(std::string(5000, 'x')));
  EXPECT_TRUE(read.status.is(Code::kBadFormat));
  EXPECT_THAT(read.status.to_string(), HasSubstr("not a tar"));
  EXPECT_FALSE(read_archive(packed("")).status.is_ok());
}

TEST_P(Codecs, ASinksErrorEndsIt) {
  MemorySource source(packed(some_tar()));
  auto reader = Reader::open(source, {});
  ASSERT_TRUE(reader.is_ok());
  ASSERT_TRUE((*reader)->next().is_ok());
  const auto full = [](uint64_t, std::span<const std::byte>) {
    return Status(Code::kNoSpace, "disk is full");
  };
  EXPECT_TRUE((*reader)->read_data(full).is(Code::kNoSpace));
  EXPECT_EQ((*reader)->next().code(), Code::kNoSpace);
}

INSTANTIATE_TEST_SUITE_P(All, Codecs,
                         testing::Values(Codec{"gzip -6", "tar+gzip"}, Codec{"gzip -1", "tar+gzip"},
                                         Codec{"zstd -q -3", "tar+zstd"}, Codec{"xz -1", "tar+xz"},
                                         Codec{"bzip2 -1", "tar+bzip2"}));

std::string gzipped(const std::string& plain) {
  TempDir dir;
  write_text(dir / "plain", plain);
  run(dir, "gzip -c plain > packed");
  return read_text(dir / "packed");
}

TEST(Gzip, TrailerIsChecked) {
  const std::string bytes = gzipped(some_tar());
  for (size_t back = 1; back <= 8; ++back) {  // CRC-32 and length
    std::string damaged = bytes;
    damaged[bytes.size() - back] = static_cast<char>(damaged[bytes.size() - back] + 1);
    const ReadArchive read = read_archive(damaged);
    EXPECT_TRUE(read.status.is(Code::kBadFormat)) << back;
    EXPECT_THAT(read.status.to_string(), HasSubstr("wrong checksum or length"));
  }
}

TEST(Gzip, ErrorsNameTheMember) {
  const std::string bytes = gzipped(some_tar());
  const ReadArchive read = read_archive(bytes.substr(0, bytes.size() - 50'000));
  EXPECT_THAT(read.status.to_string(), HasSubstr("member 'big'"));
  EXPECT_THAT(read.status.to_string(), HasSubstr("gzip stream is truncated"));
}

TEST(Gzip, BombsMeetTheLimits) {
  const std::string bytes = gzipped(tar_file("zeros", std::string(80 << 20, '\0')) + tar_end());
  EXPECT_LT(bytes.size(), 100'000u);
  EXPECT_TRUE(read_archive(bytes).status.is_ok());
  Options ratio;
  ratio.limits.ratio_max = 200;
  const ReadArchive stopped = read_archive(bytes, ratio);
  EXPECT_TRUE(stopped.status.is(Code::kFileTooLarge)) << stopped.status.to_string();
  EXPECT_THAT(stopped.status.to_string(), HasSubstr("bomb"));
  Options total;
  total.limits.stored_bytes_max = 1 << 20;
  EXPECT_TRUE(read_archive(bytes, total).status.is(Code::kFileTooLarge));
}

TEST(Zstd, WindowIsLimited) {
  // A frame header that asks for a window of 2 GiB.
  const std::string frame("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", 9);
  const ReadArchive read = read_archive(frame);
  EXPECT_TRUE(read.status.is(Code::kNotSupported)) << read.status.to_string();
  EXPECT_THAT(read.status.to_string(), HasSubstr("2^27"));
}

TEST(Zstd, SkippableFramesArePassedOver) {
  TempDir dir;
  write_text(dir / "plain", some_tar());
  run(dir, "zstd -q -c plain > packed");
  const std::string skippable("\x50\x2a\x4d\x18\x04\x00\x00\x00tarn", 12);
  const ReadArchive read = read_archive(skippable + read_text(dir / "packed") + skippable);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  EXPECT_EQ(read.members.size(), 42u);
}

/// A zip with stored members, made by hand.
class ZipBuilder {
 public:
  void add(const std::string& name, const std::string& data, uint32_t mode = 0100644,
           uint16_t method = 0, uint16_t flags = 0) {
    const uint64_t offset = local_.size();
    const auto common = [&](Writer& w) {
      w.u16(flags);
      w.u16(method);
      w.u16(0x6000);  // 12:00:00
      w.u16(0x5821);  // 2024-01-01
      w.u32(0);
      w.u32(static_cast<uint32_t>(data.size()));
      w.u32(static_cast<uint32_t>(data.size()));
      w.u16(static_cast<uint16_t>(name.size()));
    };
    local_.raw("PK\x03\x04");
    local_.u16(20);
    common(local_);
    local_.u16(4);
    local_.raw(name);
    local_.raw(std::string("\x99\x99\0\0", 4));  // an extra field of its own
    local_.raw(data);
    central_.raw("PK\x01\x02");
    central_.u16(3 << 8 | 20);
    central_.u16(20);
    common(central_);
    central_.u16(9);
    central_.u16(0);
    central_.u16(0);
    central_.u16(0);
    central_.u32(mode << 16);
    central_.u32(static_cast<uint32_t>(offset));
    central_.raw(name);
    central_.u16(0x5455);
    central_.u16(5);
    central_.u8(1);
    central_.u32(1'700'000'000);
    ++entries_;
  }
  std::string finish() {
    Writer end;
    end.raw("PK\x05\x06");
    end.u32(0);
    end.u16(entries_);
    end.u16(entries_);
    end.u32(static_cast<uint32_t>(central_.size()));
    end.u32(static_cast<uint32_t>(local_.size()));
    end.u16(0);
    return local_.str() + central_.str() + end.str();
  }

 private:
  Writer local_, central_;
  uint16_t entries_ = 0;
};

TEST(Zip, StoredMembersAreRanges) {
  ZipBuilder zip;
  zip.add("d/", "", 040755);
  zip.add("d/a", "hello", 0100600);
  zip.add("l", "d/a", 0120777);
  zip.add("caf\xe9", noise(2 << 20, 9));
  const std::string bytes = zip.finish();
  const ReadArchive read = read_archive(bytes);
  ASSERT_TRUE(read.status.is_ok()) << read.status.to_string();
  ASSERT_EQ(read.members.size(), 4u);
  EXPECT_EQ(read.members[0].member.type, MemberType::kDirectory);
  EXPECT_EQ(read.members[1].data, "hello");
  EXPECT_EQ(bytes.substr(read.members[1].member.data_offset, 5), "hello");
  EXPECT_EQ(read.members[1].member.mode, 0600u);
  EXPECT_EQ(read.members[1].member.mtime, 1'700'000'000 * kSecondNs);
  EXPECT_EQ(read.members[2].member.type, MemberType::kSymlink);
  EXPECT_EQ(read.members[2].member.link_target, "d/a");
  EXPECT_EQ(read.members[3].member.path, "caf\xe9");
  EXPECT_TRUE(read.members[3].data == noise(2 << 20, 9));
}

TEST(Zip, IsRefusedWhereItIsNotStoredWholeOrSafe) {
  const auto status_of = [](ZipBuilder& zip) { return read_archive(zip.finish()).status; };
  ZipBuilder deflated, encrypted, outside, link, below;
  deflated.add("a", "x", 0100644, 8);
  EXPECT_TRUE(status_of(deflated).is(Code::kNotSupported));
  EXPECT_THAT(status_of(deflated).to_string(),
              HasSubstr("member 'a' at offset 0: it is compressed"));
  encrypted.add("a", "x", 0100644, 0, 1);
  EXPECT_TRUE(status_of(encrypted).is(Code::kNotSupported));
  outside.add("../a", "x");
  EXPECT_TRUE(status_of(outside).is(Code::kInvalidArgument));
  link.add("l", "/etc", 0120777);
  EXPECT_TRUE(status_of(link).is(Code::kInvalidArgument));
  below.add("l", "d", 0120777);
  below.add("l/x", "y");
  EXPECT_TRUE(status_of(below).is(Code::kInvalidArgument));

  ZipBuilder good;
  good.add("a", "12345");
  good.add("b", "67890");
  const std::string bytes = good.finish();
  ASSERT_TRUE(read_archive(bytes).status.is_ok());
  for (size_t n = 4; n < bytes.size(); ++n)
    ASSERT_FALSE(read_archive(bytes.substr(0, n)).status.is_ok()) << n;
  std::string renamed = bytes;
  renamed[30] = 'z';
  EXPECT_THAT(read_archive(renamed).status.to_string(), HasSubstr("differ in the name"));
  std::string overlapping = bytes;
  const size_t central = bytes.find("PK\x01\x02");
  overlapping[central + 20] = overlapping[central + 24] = 50;
  EXPECT_THAT(read_archive(overlapping).status.to_string(), HasSubstr("something else begins"));
}

}  // namespace
}  // namespace tarn::archive
