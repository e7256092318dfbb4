#include "app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tarn::app {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view text, SettingOverrides overrides = {}) {
  const auto loaded = parse_settings(text, "tarn.toml", overrides);
  return loaded.is_ok() ? "" : std::string(loaded.status().message());
}

TEST(Config, FlagGoesBeforeEnvironmentBeforeFile) {
  const std::string file = "[log]\nlevel = \"debug\"\n[mount]\nthreads = 3\npassthrough = false\n";
  SettingOverrides overrides;
  overrides.environment = {"TARN_LOG_LEVEL=warn", "TARN_MOUNT_THREADS=4", "HOME=/root"};
  overrides.flags["log.level"] = "error";
  const auto loaded = parse_settings(file, "tarn.toml", overrides);
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->values.log_level, "error");
  EXPECT_EQ(loaded->values.mount_threads, 4u);
  EXPECT_FALSE(loaded->values.passthrough);
  EXPECT_TRUE(loaded->values.log_to_file);
  EXPECT_EQ(loaded->sources.at("log.level"), Source::kFlag);
  EXPECT_EQ(loaded->sources.at("mount.threads"), Source::kEnvironment);
  EXPECT_EQ(loaded->sources.at("mount.passthrough"), Source::kFile);
  EXPECT_FALSE(loaded->sources.contains("log.file"));
}

TEST(Config, UnknownKeysAreNamedWithTheirLine) {
  EXPECT_THAT(error_of("[log]\nlevel = \"info\"\nlevle = 1\n"),
              HasSubstr("tarn.toml:3: unknown key 'log.levle'"));
  EXPECT_THAT(error_of("\n[lgo]\nlevel = \"info\"\n"), HasSubstr("tarn.toml:2: unknown section"));
  EXPECT_THAT(error_of("level = \"info\"\n"), HasSubstr("tarn.toml:1: unknown key 'level'"));
}

TEST(Config, WrongValuesAreNamedWithTheirLine) {
  EXPECT_THAT(error_of("[log]\nlevel = \"loud\"\n"),
              HasSubstr("tarn.toml:2: log.level: 'loud' is not one of debug, info, warn, error"));
  EXPECT_THAT(error_of("[mount]\nthreads = \"4\"\n"), HasSubstr("wants a whole number"));
  EXPECT_THAT(error_of("[mount]\nthreads = 65\n"), HasSubstr("65 is outside 0 to 64"));
  EXPECT_THAT(error_of("[mount]\nthreads = -1\n"), HasSubstr("below 0"));
  EXPECT_THAT(error_of("[mount]\npassthrough = 1\n"), HasSubstr("true or false"));
  EXPECT_THAT(error_of("[log\n"), HasSubstr("tarn.toml:1:"));
  EXPECT_THAT(error_of("", {.flags = {}, .environment = {"TARN_MOUNT_THREADS=many"}}),
              HasSubstr("TARN_MOUNT_THREADS: 'many' is not a whole number"));
}

TEST(Config, OtherStoresThanThisVersionHasAreRefused) {
  EXPECT_THAT(error_of("[storage]\nmeta = \"postgresql://db\"\n"), HasSubstr("only 'rocksdb:'"));
  EXPECT_THAT(error_of("[storage]\ndata = \"s3://bucket\"\n"), HasSubstr("only 'local:'"));
  EXPECT_EQ(error_of("[storage]\nmeta = \"rocksdb:\"\ndata = \"local:\"\n"), "");
}

TEST(Config, UnknownVariablesAreWarnedOf) {
  const auto loaded = parse_settings(
      "", "tarn.toml",
      {.flags = {}, .environment = {"TARN_ROOT=/r", "TARN_KILL_POINT=x", "TARN_LOG_LEVLE=x"}});
  ASSERT_TRUE(loaded.is_ok());
  ASSERT_EQ(loaded->warnings.size(), 1u);
  EXPECT_THAT(loaded->warnings[0], HasSubstr("TARN_LOG_LEVLE"));
}

TEST(Config, TheFileThatInitWritesIsReadBack) {
  Settings settings;
  settings.mount_directory = "/mnt/a \"quoted\" \\ name";
  settings.metadata_cache_bytes = uint64_t{128} << 20;
  const std::string text = default_config_text(settings);
  const auto loaded = parse_settings(text, "tarn.toml", {});
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->values.mount_directory, settings.mount_directory);
  EXPECT_EQ(loaded->values.metadata_cache_bytes, uint64_t{128} << 20);
  EXPECT_EQ(loaded->sources.size(), 2u) << "settings with built-in values stay comments";
  EXPECT_THAT(text, HasSubstr("#level = \"info\""));
}

TEST(Config, Sizes) {
  EXPECT_EQ(parse_bytes("512").value(), 512u);
  EXPECT_EQ(parse_bytes("64MiB").value(), uint64_t{64} << 20);
  EXPECT_EQ(parse_bytes("2GB").value(), 2'000'000'000u);
  EXPECT_EQ(parse_bytes("1k").value(), 1024u);
  EXPECT_EQ(parse_bytes("1T").value(), uint64_t{1} << 40);
  for (const char* wrong : {"", "MiB", "1.5G", "1X", "-1", "1GiBs", "99999999T"})
    EXPECT_FALSE(parse_bytes(wrong).is_ok()) << wrong;
}

TEST(Config, Addresses) {
  EXPECT_EQ(parse_host_port("127.0.0.1:9000")->port, 9000);
  EXPECT_EQ(parse_host_port("[::1]:80")->host, "::1");
  for (const char* wrong : {"", "9000", ":9000", "host:", "host:65536", "::1:80", "host:80x"})
    EXPECT_FALSE(parse_host_port(wrong).is_ok()) << wrong;
}

}  // namespace
}  // namespace tarn::app
