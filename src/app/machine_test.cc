#include "app/machine.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/health.h"
#include "app/manifest.h"
#include "base/file.h"

namespace tarn::app {
namespace {

using ::testing::HasSubstr;

TEST(Machine, TheHolderOfAPortIsNamed) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  socklen_t length = sizeof address;
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const HostPort where{"127.0.0.1", ntohs(address.sin_port)};
  EXPECT_FALSE(port_holder(where).has_value()) << "bound, but nobody listens yet";
  ASSERT_EQ(listen(listener.get(), 1), 0);
  const auto holder = port_holder(where);
  ASSERT_TRUE(holder.has_value());
  EXPECT_EQ(holder->pid, getpid());
  EXPECT_THAT(holder->title, HasSubstr("app_test"));
  EXPECT_THAT(port_in_use_message(where), HasSubstr(std::to_string(getpid())));
  EXPECT_FALSE(port_holder({"127.0.0.2", where.port}).has_value());
}

TEST(Machine, ProcessesAreMeasured) {
  const auto bytes = resident_bytes(getpid());
  ASSERT_TRUE(bytes.has_value());
  EXPECT_GT(*bytes, 1u << 20);
  EXPECT_FALSE(resident_bytes(1 << 29).has_value());
  EXPECT_GT(raise_open_file_limit(0).value(), 0u);
  EXPECT_GE(kernel_version().first, 4);
}

TEST(Machine, AmountsAreReadable) {
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(human_seconds(59), "59s");
  EXPECT_EQ(human_seconds(90061), "1d 1h 1m 1s");
}

TEST(Manifest, LinesOfMd5sumAndItsRelatives) {
  const std::string md5 = "d41d8cd98f00b204e9800998ecf8427e";
  const auto lines =
      parse_manifest(md5 + "  a b\n" + md5 + " *bin\r\n\n# note\n\\" + md5 +
                     "  new\\nline\\\\\nMD5 (x (1)) = " + md5 + "\nAE8B14860A799888  crc\n");
  ASSERT_TRUE(lines.is_ok()) << lines.status().to_string();
  ASSERT_EQ(lines->size(), 5u);
  EXPECT_EQ((*lines)[0], (ManifestLine{md5, "a b"}));
  EXPECT_EQ((*lines)[1].path, "bin");
  EXPECT_EQ((*lines)[2].path, "new\nline\\");
  EXPECT_EQ((*lines)[3].path, "x (1)");
  EXPECT_EQ((*lines)[4].hex, "ae8b14860a799888");
  EXPECT_EQ(format_manifest_line(md5, "new\nline\\"), "\\" + md5 + "  new\\nline\\\\\n");
  EXPECT_EQ(format_manifest_line(md5, "a b"), md5 + "  a b\n");
  EXPECT_THAT(std::string(parse_manifest(md5 + "  a\nzz  b\n").status().message()),
              HasSubstr("line 2"));
  EXPECT_FALSE(parse_manifest("d41d  short\n").is_ok());
}

TEST(Health, DamageIsRememberedUntilTheGenerationIsReadSound) {
  char folder[] = "/tmp/tarn-health-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const KnownDamage damage{.ino = Ino(7),
                           .generation = Generation(2),
                           .blob = BlobId(3),
                           .offset = 4096,
                           .length = 10,
                           .what = "crc differs",
                           .found = 1};
  {
    Health health(folder);
    EXPECT_FALSE(health.last_scrub().has_value());
    ASSERT_TRUE(health.record_scrub(1'000, {damage}).is_ok());
  }
  Health health(folder);
  EXPECT_EQ(health.last_scrub(), 1'000);
  EXPECT_EQ(health.damage(), std::vector{damage});
  EXPECT_TRUE(health.is_damaged(Ino(7), Generation(2)));
  EXPECT_FALSE(health.is_damaged(Ino(7), Generation(3)));
  ASSERT_TRUE(health.record_reread(Ino(7), Generation(2), {}).is_ok());
  EXPECT_FALSE(health.is_damaged(Ino(7), Generation(2)));
  ASSERT_TRUE(health.record_reread(Ino(8), Generation(1), {damage}).is_ok());
  EXPECT_EQ(health.damage().size(), 1u);
  unlink((std::string(folder) + "/health.json").c_str());
  rmdir(folder);
}

}  // namespace
}  // namespace tarn::app
