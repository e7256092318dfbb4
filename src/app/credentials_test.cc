#include "app/credentials.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tarn::app {
namespace {

using ::testing::HasSubstr;

TEST(Credentials, AKeyIsReadBackAsItWasWritten) {
  auto first = make_access_key("default", 027);
  auto second = make_access_key("other", 022);
  ASSERT_TRUE(first.is_ok() && second.is_ok());
  second->groups = {4, 27, 1000};
  EXPECT_TRUE(first->id.starts_with("TARN"));
  EXPECT_EQ(first->id.size(), 20u);
  EXPECT_EQ(first->secret.size(), 40u);
  EXPECT_NE(first->secret, second->secret);
  EXPECT_EQ(first->uid, getuid());
  EXPECT_EQ(first->umask, 027u);
  const std::string text = format_credentials({*first, *second});
  EXPECT_THAT(text, HasSubstr("[default]\naws_access_key_id = TARN"));
  const auto read = parse_credentials(text);
  ASSERT_TRUE(read.is_ok()) << read.status().to_string();
  EXPECT_EQ(read.value(), (std::vector<AccessKey>{*first, *second}));
}

TEST(Credentials, WrongLinesAreNumberedAndNotRepeated) {
  const auto read = parse_credentials("[default]\naws_access_key_id = A\nsecret stuff\n");
  ASSERT_TRUE(read.is(Code::kBadFormat));
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("credentials:3"));
  EXPECT_THAT(std::string(read.status().message()), Not(HasSubstr("stuff")));
  EXPECT_TRUE(parse_credentials("aws_access_key_id = A\n").is(Code::kBadFormat));
  EXPECT_TRUE(parse_credentials("[a]\naws_access_key_id = A\n").is(Code::kBadFormat));
  EXPECT_TRUE(parse_credentials("[a]\ntarn_umask = 9\n").is(Code::kBadFormat));
}

TEST(Credentials, AFileThatOthersMayReadIsRefused) {
  char folder[] = "/tmp/tarn-credentials-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/credentials";
  EXPECT_TRUE(read_credentials(folder).is(Code::kNotFound));
  ASSERT_TRUE(write_credentials(folder, {make_access_key("default", 022).value()}).is_ok());
  struct stat info{};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(read_credentials(folder)->size(), 1u);
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  EXPECT_TRUE(read_credentials(folder).is(Code::kAccessDenied));
  unlink(path.c_str());
  rmdir(folder);
}

}  // namespace
}  // namespace tarn::app
