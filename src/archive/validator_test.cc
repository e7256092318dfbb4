// The rules about names and links, without an archive around them.
#include "archive/validator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "archive/path.h"

namespace tarn::archive {
namespace {

using testing::HasSubstr;
using Verdict = Validator::Verdict;

Member member(MemberType type, std::string path, std::string target = {}) {
  Member m;
  m.type = type;
  m.path = std::move(path);
  m.link_target = std::move(target);
  return m;
}
Member file(std::string path) {
  return member(MemberType::kFile, std::move(path));
}
Member directory(std::string path) {
  return member(MemberType::kDirectory, std::move(path));
}
Member symlink(std::string path, std::string target) {
  return member(MemberType::kSymlink, std::move(path), std::move(target));
}
Member hardlink(std::string path, std::string target) {
  return member(MemberType::kHardlink, std::move(path), std::move(target));
}

TEST(Validator, LastOfOneNameWins) {
  Validator v({});
  EXPECT_EQ(v.add(file("a/b")).value(), Verdict::kNew);
  EXPECT_EQ(v.add(file("a/b")).value(), Verdict::kReplaces);
  EXPECT_EQ(v.add(symlink("a/b", "c")).value(), Verdict::kReplaces);
  EXPECT_EQ(v.add(directory("a/b")).value(), Verdict::kReplaces);
  EXPECT_EQ(v.add(directory("a/b")).value(), Verdict::kReplaces);
  EXPECT_EQ(v.add(file("a/b")).value(), Verdict::kReplaces);  // it was empty
  EXPECT_EQ(v.add(directory("a")).value(), Verdict::kReplaces);
  EXPECT_EQ(v.add(directory("")).value(), Verdict::kReplaces);
  EXPECT_EQ(v.names(), 2u);
  EXPECT_EQ(v.add(file("a")).code(), Code::kInvalidArgument);  // has members
  EXPECT_EQ(v.add(symlink("a", "b")).code(), Code::kInvalidArgument);
}

TEST(Validator, NothingBelowWhatIsNoDirectory) {
  Validator v({});
  ASSERT_TRUE(v.add(symlink("link", "real")).is_ok());
  ASSERT_TRUE(v.add(file("file")).is_ok());
  const auto below = v.add(file("link/x"));
  EXPECT_EQ(below.code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(below.status().message()), HasSubstr("symbolic link"));
  EXPECT_EQ(v.add(file("link/x/y/z")).code(), Code::kInvalidArgument);
  EXPECT_EQ(v.add(directory("file/x")).code(), Code::kInvalidArgument);
  // Replaced by a directory, the name may have members again.
  ASSERT_TRUE(v.add(directory("link")).is_ok());
  EXPECT_TRUE(v.add(file("link/x")).is_ok());
  // Nor when the rule about targets is off.
  Options loose;
  loose.allow_external_symlinks = true;
  Validator w(loose);
  ASSERT_TRUE(w.add(symlink("etc", "/etc")).is_ok());
  EXPECT_EQ(w.add(file("etc/passwd")).code(), Code::kInvalidArgument);
}

TEST(Validator, SymlinksStayInside) {
  struct {
    const char *path, *target;
    bool is_inside;
  } const cases[] = {{"l", "a", true},
                     {"l", "./a/b/", true},
                     {"l", ".", true},
                     {"d/l", "..", true},
                     {"d/l", "../x", true},
                     {"d/e/l", "../../x/y", true},
                     {"d/l", "../d/../x", true},
                     {"l", "a/../b", true},
                     {"l", "/etc/passwd", false},
                     {"l", "/", false},
                     {"l", "..", false},
                     {"l", "../x", false},
                     {"d/l", "../../x", false},
                     {"l", "a/../../b", false},
                     {"d/l", "../../d/x", false},
                     {"l", "a/b/../../..", false}};
  for (const auto& c : cases) {
    Validator v({});
    const auto verdict = v.add(symlink(c.path, c.target));
    EXPECT_EQ(verdict.is_ok(), c.is_inside) << c.path << " -> " << c.target;
    Options loose;
    loose.allow_external_symlinks = true;
    Validator w(loose);
    EXPECT_TRUE(w.add(symlink(c.path, c.target)).is_ok());
  }
}

TEST(Validator, TargetsDoNotClimbUpFromBelowALink) {
  // a/b/c/up is the top itself, so up/.. is outside, however deep it looks.
  Validator v({});
  ASSERT_TRUE(v.add(symlink("a/b/c/up", "../../..")).is_ok());
  EXPECT_EQ(v.add(symlink("out", "a/b/c/up/../x")).code(), Code::kInvalidArgument);
  EXPECT_TRUE(v.add(symlink("in", "a/b/c/up/x")).is_ok());
  // The same in the other order.
  Validator w({});
  ASSERT_TRUE(w.add(symlink("out", "a/b/c/up/../x")).is_ok());
  EXPECT_EQ(w.add(symlink("a/b/c/up", "../../..")).code(), Code::kInvalidArgument);
  EXPECT_EQ(w.add(symlink("a/b", "x")).code(), Code::kInvalidArgument);
  EXPECT_TRUE(w.add(directory("a/b/c/up")).is_ok());
  // Nor through itself.
  Validator u({});
  EXPECT_EQ(u.add(symlink("l", "l/../x")).code(), Code::kInvalidArgument);
}

TEST(Validator, HardLinksNeedAnEarlierMember) {
  Validator v({});
  EXPECT_EQ(v.add(hardlink("h", "a")).code(), Code::kInvalidArgument);
  ASSERT_TRUE(v.add(file("d/a")).is_ok());
  EXPECT_EQ(v.add(hardlink("h", "d/a")).value(), Verdict::kNew);
  EXPECT_EQ(v.add(hardlink("h2", "h")).value(), Verdict::kNew);
  EXPECT_EQ(v.add(hardlink("d/a", "d/a")).value(), Verdict::kSame);
  EXPECT_EQ(v.add(hardlink("x", "d")).code(), Code::kInvalidArgument);
  EXPECT_EQ(v.add(hardlink("x", "gone/a")).code(), Code::kInvalidArgument);
  // A link to a symlink is that symlink, and elsewhere its target is another place.
  ASSERT_TRUE(v.add(symlink("d/s", "../x")).is_ok());
  EXPECT_EQ(v.add(hardlink("s", "d/s")).code(), Code::kInvalidArgument);
  ASSERT_TRUE(v.add(hardlink("d/s2", "d/s")).is_ok());
  EXPECT_EQ(v.add(file("d/s2/x")).code(), Code::kInvalidArgument);
  EXPECT_EQ(v.add(symlink("t", "d/s2/../../y")).code(), Code::kInvalidArgument);
}

TEST(Validator, MemoryAndNamesAreBounded) {
  Options options;
  options.limits.members_max = 200'000;
  Validator v(options);
  for (int i = 0; i < 199'990; ++i)
    ASSERT_TRUE(v.add(file(fmt::format("dir{}/some-longer-file-name-{}", i % 9, i))).is_ok());
  EXPECT_EQ(v.names(), 199'999u);
  EXPECT_LE(v.memory_bytes(), 46 * v.names());
  // Every name is still known.
  for (int i = 0; i < 199'990; i += 997)
    EXPECT_EQ(v.add(file(fmt::format("dir{}/some-longer-file-name-{}", i % 9, i))).value(),
              Verdict::kReplaces);
  EXPECT_EQ(v.add(file("a/b/c")).code(), Code::kFileTooLarge);
}

TEST(Path, NormalisesOrRefuses) {
  const auto refuse = LeadingSlash::kRefuse, strip = LeadingSlash::kStrip;
  EXPECT_EQ(normalise_path("a//b/./c/", refuse).value(), "a/b/c");
  EXPECT_EQ(normalise_path(".", refuse).value(), "");
  EXPECT_EQ(normalise_path("...", refuse).value(), "...");
  EXPECT_EQ(normalise_path("//a", strip).value(), "a");
  EXPECT_EQ(normalise_path("/a", refuse).code(), Code::kInvalidArgument);
  EXPECT_EQ(normalise_path("a/../b", refuse).code(), Code::kInvalidArgument);
  EXPECT_EQ(normalise_path("/../b", strip).code(), Code::kInvalidArgument);
  EXPECT_EQ(normalise_path(std::string_view("a\0b", 3), refuse).code(), Code::kInvalidArgument);
  EXPECT_TRUE(normalise_path(std::string(255, 'n'), refuse).is_ok());
  EXPECT_EQ(normalise_path(std::string(256, 'n'), refuse).code(), Code::kNameTooLong);
  std::string deep;
  while (deep.size() < kPathBytesMax) deep += "d/";
  EXPECT_TRUE(normalise_path(deep, refuse).is_ok());
  EXPECT_EQ(normalise_path(deep + "x", refuse).code(), Code::kNameTooLong);
  EXPECT_EQ(printable("a\nb\\"), "a\\x0ab\\x5c");
}

}  // namespace
}  // namespace tarn::archive
