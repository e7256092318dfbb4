#include "fs/extract.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "fs/fs_fixture.h"
#include "meta/meta.h"

namespace tarn::fs {
namespace {

class ExtractTest : public testing::FsTest {
 protected:
  void SetUp() override {
    FsTest::SetUp();
    source_ = directory_ + "/source";
    shell("mkdir -p " + source_ + "/d/sub && cd " + source_ +
          " && printf hello > d/a && head -c 300000 /dev/urandom > d/sub/big && ln -s a d/link && "
          "ln d/a "
          "d/hard && touch d/empty && chmod 640 d/a && touch -d '2020-01-02 03:04:05' d/a d");
  }
  void shell(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }
  /// Makes DIRECTORY/name with tar and brings it into the file system's root.
  void bring(const std::string& name, const std::string& tar_options,
             const std::string& members = "d") {
    shell("tar -C " + source_ + " " + tar_options + " -cf " + directory_ + "/" + name + " " +
          members);
    bring_file(name);
  }
  void bring_file(const std::string& name) {
    std::ifstream in(directory_ + "/" + name, std::ios::binary);
    put(name, std::string(std::istreambuf_iterator<char>(in), {}));
    ASSERT_TRUE(fs_->sync().is_ok());
  }
  Result<ExtractReport> extract_into(const std::string& archive, Ino target, bool merge = false,
                                     Caller caller = {}) {
    ExtractRequest request;
    request.archive = stat(archive).ino;
    request.archive_name = archive;
    request.target = target;
    request.merge = merge;
    return extract(*fs_, caller, request);
  }
  void expect_tree(Ino target) {
    Ino d = stat("d", target).ino;
    EXPECT_EQ(cat("a", d), "hello");
    EXPECT_EQ(stat("a", d).mode & 0777u, 0640u);
    EXPECT_EQ(stat("a", d).mtime, 1577934245 * kSecondNs);
    EXPECT_EQ(stat("d", target).mtime, 1577934245 * kSecondNs);
    EXPECT_EQ(stat("a", d).ino, stat("hard", d).ino);
    EXPECT_EQ(stat("a", d).nlink, 2u);
    EXPECT_EQ(*fs_->readlink(kernel(), stat("link", d).ino), "a");
    std::ifstream in(source_ + "/d/sub/big", std::ios::binary);
    EXPECT_EQ(cat("big", stat("sub", d).ino), std::string(std::istreambuf_iterator<char>(in), {}));
    EXPECT_EQ(cat("empty", d), "");
    EXPECT_EQ(*fs_->get_xattr(kernel(), stat("a", d).ino, "user.tarn.md5"),
              "5d41402abc4b2a76b9719d911017c592");
  }
  void expect_sound() {
    ASSERT_TRUE(fs_->sync().is_ok());
    auto findings = meta::check(*store_);
    ASSERT_TRUE(findings.is_ok());
    for (const meta::Finding& f : *findings) ADD_FAILURE() << f.ino.value << ": " << f.what;
  }
  std::string source_;
};

TEST_F(ExtractTest, PlainTarCopiesNoData) {
  bring("a.tar", "");
  Ino target = mkdir("t");
  auto report = extract_into("a.tar", target);
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  EXPECT_EQ(report->bytes_copied, 0u);
  EXPECT_EQ(report->bytes_decompressed, 0u);
  EXPECT_EQ(report->bytes_in_place, 300005u);
  expect_tree(target);
  expect_sound();
  reopen();
  expect_tree(stat("t").ino);
}

TEST_F(ExtractTest, ArchiveRemovedAndMembersStay) {
  bring("a.tar", "");
  Ino target = mkdir("t");
  ASSERT_TRUE(extract_into("a.tar", target).is_ok());
  ASSERT_TRUE(fs_->unlink(kernel(), kRootIno, "a.tar").is_ok());
  reopen();
  expect_tree(stat("t").ino);
  expect_sound();
}

TEST_F(ExtractTest, MemberWrittenAfterwardsLeavesTheArchiveAlone) {
  bring("a.tar", "");
  Ino target = mkdir("t");
  ASSERT_TRUE(extract_into("a.tar", target).is_ok());
  const std::string archive = cat("a.tar");
  auto opened = fs_->open(kernel(), stat("a", stat("d", target).ino).ino, O_RDWR);
  ASSERT_TRUE(opened.is_ok()) << opened.status().to_string();
  write(opened->fh, 0, "J");
  ASSERT_TRUE(fs_->release(opened->fh).is_ok());
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(cat("a", stat("d", target).ino), "Jello");
  EXPECT_TRUE(cat("a.tar") == archive);
}

TEST_F(ExtractTest, CompressedOnes) {
  const std::pair<const char*, const char*> kinds[] = {
      {"a.tar.gz", "-z"}, {"a.tar.zst", "--zstd"}, {"a.tar.xz", "-J"}, {"a.tar.bz2", "-j"}};
  for (auto [name, option] : kinds) {
    bring(name, option);
    Ino target = mkdir(std::string("t-") + name);
    auto report = extract_into(name, target);
    ASSERT_TRUE(report.is_ok()) << name << ": " << report.status().to_string();
    EXPECT_EQ(report->bytes_in_place, 0u);
    EXPECT_EQ(report->bytes_decompressed, 300005u);
    expect_tree(target);
  }
  expect_sound();
}

TEST_F(ExtractTest, DamagedArchivesLeaveNothing) {
  bring("a.tar.gz", "-z");
  shell("cd " + directory_ + " && head -c 100000 a.tar.gz > cut.tar.gz");
  bring_file("cut.tar.gz");
  Ino target = mkdir("t");
  EXPECT_FALSE(extract_into("cut.tar.gz", target).is_ok());
  EXPECT_TRUE(list(target).empty());
  put("text", "no archive at all, only a line of text\n");
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(extract_into("text", target).code(), Code::kBadFormat);
  shell("cd " + source_ + " && tar -P --transform 's,^d/a,../evil,' -cf " + directory_ +
        "/evil.tar d/a d/sub");
  bring_file("evil.tar");
  EXPECT_EQ(extract_into("evil.tar", target).code(), Code::kInvalidArgument);
  EXPECT_TRUE(list(target).empty());
  expect_sound();
}

TEST_F(ExtractTest, ExistingNamesAreRefusedOrMerged) {
  bring("a.tar", "");
  Ino target = mkdir("t");
  Ino d = mkdir("d", target);
  put("mine", "mine", d);
  put("a", "my a", d);
  auto refused = extract_into("a.tar", target);
  ASSERT_TRUE(refused.is(Code::kExists));
  EXPECT_NE(refused.status().message().find("'d'"), std::string::npos);
  EXPECT_EQ(cat("a", d), "my a");
  auto merged = extract_into("a.tar", target, true);
  ASSERT_TRUE(merged.is_ok()) << merged.status().to_string();
  EXPECT_EQ(cat("mine", d), "mine");
  expect_tree(target);
  expect_sound();
  Ino other = mkdir("o");
  put("d", "a file where the archive has a directory", other);
  EXPECT_EQ(extract_into("a.tar", other, true).code(), Code::kExists);
  expect_sound();
}

TEST_F(ExtractTest, ArchiveWithAWriterIsBusy) {
  bring("a.tar", "");
  auto writer = fs_->open(kernel(), stat("a.tar").ino, O_RDWR);
  ASSERT_TRUE(writer.is_ok());
  write(writer->fh, 0, "x");
  EXPECT_EQ(extract_into("a.tar", mkdir("t")).code(), Code::kBusy);
  ASSERT_TRUE(fs_->release(writer->fh).is_ok());
}

TEST_F(ExtractTest, DeviceNodesNeedRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "making a device node needs root";
  shell("mknod " + source_ + "/null c 1 3");
  bring("dev.tar", "", "null");
  Ino target = mkdir("t");
  SetAttributes open_mode;
  open_mode.mode = 0777;
  ASSERT_TRUE(fs_->set_attributes(kernel(), target, open_mode, std::nullopt).is_ok());
  EXPECT_EQ(extract_into("dev.tar", target, false, user(1000, 1000)).code(), Code::kNotPermitted);
  EXPECT_TRUE(list(target).empty());
  ASSERT_TRUE(extract_into("dev.tar", target).is_ok());
  EXPECT_TRUE(S_ISCHR(stat("null", target).mode));
}

TEST_F(ExtractTest, FromOutsideCountsCopiedBytes) {
  shell("tar -C " + source_ + " -cf " + directory_ + "/out.tar d");
  UniqueFd fd(::open((directory_ + "/out.tar").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(static_cast<bool>(fd));
  ExtractRequest request;
  request.archive_fd = fd.get();
  request.archive_name = "out.tar";
  request.target = mkdir("t");
  auto report = extract(*fs_, Caller{}, request);
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  EXPECT_EQ(report->bytes_copied, std::filesystem::file_size(directory_ + "/out.tar"));
  expect_tree(request.target);
  reopen();
  expect_tree(stat("t").ino);
  expect_sound();
}

TEST_F(ExtractTest, SparseMembersAndTwoOfOneName) {
  shell("cd " + source_ +
        " && truncate -s 5000000 d/sparse && printf end | dd of=d/sparse bs=1 seek=4000000 "
        "conv=notrunc status=none");
  bring("s.tar", "--sparse");
  Ino target = mkdir("t");
  auto report = extract_into("s.tar", target);
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  std::string sparse = cat("sparse", stat("d", target).ino);
  ASSERT_EQ(sparse.size(), 5'000'000u);
  EXPECT_EQ(sparse.substr(4'000'000, 3), "end");
  EXPECT_EQ(sparse[100], '\0');
  shell("cd " + source_ + " && tar -cf " + directory_ +
        "/two.tar d/a && printf later > d/a && tar -rf " + directory_ + "/two.tar d/a");
  bring_file("two.tar");
  Ino second = mkdir("u");
  ASSERT_TRUE(extract_into("two.tar", second).is_ok());
  EXPECT_EQ(cat("a", stat("d", second).ino), "later");
  expect_sound();
}

}  // namespace
}  // namespace tarn::fs
