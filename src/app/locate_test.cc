#include "app/locate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/machine.h"
#include "app/mount_point.h"
#include "base/file.h"

namespace tarn::app {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kTable =
    "27 1 253:0 / / rw,relatime - ext4 /dev/vda rw\n"
    "40 27 0:50 / /mnt/data rw,nosuid shared:3 - fuse.tarn /srv/my\\040tarn rw,allow_other\n"
    "41 40 0:51 / /mnt/data/other rw - tmpfs tmpfs rw\n"
    "42 27 0:50 /train/set /bound rw - fuse.tarn /srv/my\\040tarn rw\n"
    "43 27 0:60 / /mnt/covered rw - fuse.tarn /srv/first rw\n"
    "44 43 0:61 / /mnt/covered rw - fuse.tarn /srv/second rw\n"
    "short line\n";

Surroundings surroundings(std::string directory = "/") {
  Surroundings found;
  found.current_directory = std::move(directory);
  found.mounts = parse_mount_table(kTable);
  return found;
}

TEST(MountTable, LinesAreReadWithTheirEscapes) {
  const auto table = parse_mount_table(kTable);
  ASSERT_EQ(table.size(), 6u);
  EXPECT_EQ(table[1].source, "/srv/my tarn");
  EXPECT_EQ(table[1].point, "/mnt/data");
  EXPECT_TRUE(table[1].is_tarn());
  EXPECT_EQ(table[3].subtree, "/train/set");
  EXPECT_EQ(mount_of(table, "/mnt/data/x")->point, "/mnt/data");
  EXPECT_EQ(mount_of(table, "/mnt/database")->point, "/");
  EXPECT_EQ(mount_of(table, "/mnt/data/other/x")->type, "tmpfs");
  EXPECT_EQ(mount_of(table, "/mnt/covered/x")->source, "/srv/second");
  EXPECT_EQ(mount_at(table, "/mnt"), nullptr);
}

TEST(Locate, PathsUnderAMountLeadToItsRoot) {
  const auto at = surroundings();
  EXPECT_EQ(locate(at, "/mnt/data/a/../b//c").value(), (Target{"/srv/my tarn", "/b/c"}));
  EXPECT_EQ(locate(at, "/mnt/data").value(), (Target{"/srv/my tarn", "/"}));
  EXPECT_EQ(locate(at, "/bound/img").value(), (Target{"/srv/my tarn", "/train/set/img"}));
  EXPECT_EQ(locate(surroundings("/mnt/data/d"), "x").value(), (Target{"/srv/my tarn", "/d/x"}));
  EXPECT_TRUE(locate(at, "/mnt/data/other/x").is(Code::kInvalidArgument));
  EXPECT_TRUE(locate(at, "/etc/passwd").is(Code::kInvalidArgument));
  EXPECT_TRUE(locate(at, "").is(Code::kInvalidArgument));
  EXPECT_TRUE(is_inside_tarn(at, "/mnt/data/x"));
  EXPECT_TRUE(is_inside_tarn(at, "s3://b/k"));
  EXPECT_FALSE(is_inside_tarn(at, "/tmp/x"));
}

TEST(Locate, SchemesUseTheNamedRoot) {
  auto at = surroundings();
  EXPECT_TRUE(locate(at, "tarn:/a").is(Code::kUnavailable));
  at.root_variable = "/from/variable";
  EXPECT_EQ(locate(at, "tarn:/a/./b").value(), (Target{"/from/variable", "/a/b"}));
  at.root_argument = "/from/argument";
  EXPECT_EQ(locate(at, "s3://bucket/key/x").value(), (Target{"/from/argument", "/bucket/key/x"}));
  EXPECT_EQ(locate(at, "s3://bucket").value(), (Target{"/from/argument", "/bucket"}));
  EXPECT_TRUE(locate(at, "s3://").is(Code::kInvalidArgument));
  EXPECT_TRUE(locate(at, "tarn:a").is(Code::kInvalidArgument));
  EXPECT_EQ(find_root(at).value(), "/from/argument");
  EXPECT_EQ(find_root(surroundings("/mnt/data/x")).value(), "/srv/my tarn");
  EXPECT_TRUE(find_root(surroundings()).is(Code::kUnavailable));
}

TEST(Locate, OneCommandTalksToOneTarn) {
  const auto at = surroundings();
  EXPECT_EQ(locate_all(at, {"/mnt/data/a", "/bound/b"})->size(), 2u);
  EXPECT_TRUE(locate_all(at, {"/mnt/data/a", "/mnt/covered/b"}).is(Code::kInvalidArgument));
}

TEST(Locate, PathsAreNormalised) {
  EXPECT_EQ(normalise("/a//b/./c/"), "/a/b/c");
  EXPECT_EQ(normalise("/a/../../b"), "/b");
  EXPECT_EQ(normalise("/.."), "/");
  EXPECT_EQ(normalise(""), "/");
}

TEST(MountPoint, EachObstacleHasItsWord) {
  const auto table = parse_mount_table(kTable);
  EXPECT_TRUE(check_mount_point(table, "/mnt/free", "/srv/new").is_ok());
  const auto word = [&](const std::string& directory, const std::string& root) {
    return std::string(check_mount_point(table, directory, root).message());
  };
  EXPECT_THAT(word("/mnt/data", "/srv/new"), HasSubstr("the Tarn at '/srv/my tarn'"));
  EXPECT_THAT(word("/mnt/data/other", "/srv/new"), HasSubstr("tmpfs"));
  EXPECT_THAT(word("/srv/new/mnt", "/srv/new"), HasSubstr("lies in the root"));
  EXPECT_THAT(word("/srv", "/srv/new"), HasSubstr("would hide the root"));
}

TEST(MountPoint, OnlyAnEmptyDirectoryIsTaken) {
  char folder[] = "/tmp/tarn-point-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string base = folder;
  ASSERT_EQ(mkdir((base + "/root").c_str(), 0700), 0);
  const auto made = prepare_mount_point(base + "/new/dir/", base + "/root");
  ASSERT_TRUE(made.is_ok()) << made.status().to_string();
  EXPECT_EQ(made.value(), base + "/new/dir");
  EXPECT_TRUE(prepare_mount_point(base + "/new", base + "/root").is(Code::kNotEmpty));
  const UniqueFd file(creat((base + "/file").c_str(), 0600));
  EXPECT_TRUE(prepare_mount_point(base + "/file", base + "/root").is(Code::kNotDirectory));
  EXPECT_TRUE(prepare_mount_point(base, base + "/root").is(Code::kInvalidArgument));
  unlink((base + "/file").c_str());
  for (const char* name : {"/new/dir", "/new", "/root", ""}) rmdir((base + name).c_str());
}

}  // namespace
}  // namespace tarn::app
