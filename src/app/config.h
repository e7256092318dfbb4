// Settings of the program: flag over environment over ROOT/tarn.toml over the built-in value.
//
// One table (`setting_table`) describes every setting: its key in tarn.toml ("log.level"), its
// variable (TARN_LOG_LEVEL), type, bounds and help line; the loader, `tarn config show`, `tarn
// config check` and the commented file that `tarn init` writes all read that table. A key that is
// not in it is an error that names the key and its line. Plain values; thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace tarn::app {

struct Settings {
  std::string meta_url = "rocksdb:";
  std::string data_url = "local:";

  std::string mount_directory;  // empty: no mount
  bool passthrough = true;
  bool allow_other = true;
  uint64_t mount_threads = 0;  // 0: one a core, at least 2

  std::string listen;  // HOST:PORT, empty: no listener
  std::string tls;
  bool insecure = false;

  uint64_t job_stop_grace_s = 120;

  uint64_t metadata_cache_bytes = uint64_t{64} << 20;
  uint64_t memtable_bytes = uint64_t{16} << 20;
  uint64_t open_files = 0;  // 0: the hard limit

  std::string log_level = "info";
  bool log_to_file = true;
};

using SettingField = std::variant<std::string Settings::*, bool Settings::*, uint64_t Settings::*>;

struct Setting {
  std::string_view key;   // "section.name"
  std::string_view help;  // one line
  SettingField field;
  bool is_bytes = false;  // an integer that may be written "64MiB"
  uint64_t min = 0, max = UINT64_MAX;
  std::string_view choices = {};  // words separated by '|'; empty: any text
};

/// Every setting, in the order of tarn.toml.
std::span<const Setting> setting_table();
/// "log.level" -> "TARN_LOG_LEVEL".
std::string setting_variable(const Setting& setting);
/// The setting's value as a flag or variable takes it.
std::string setting_value(const Setting& setting, const Settings& settings);
/// The same as it is written in tarn.toml: texts and sizes in quotes.
std::string setting_text(const Setting& setting, const Settings& settings);

enum class Source : uint8_t { kDefault, kFile, kEnvironment, kFlag };
std::string_view source_name(Source source);

struct LoadedSettings {
  Settings values;
  std::map<std::string, Source, std::less<>> sources;  // by key; absent: kDefault
  std::vector<std::string> warnings;  // variables TARN_... that no setting answers to
};

/// Where the layers above the file come from.
struct SettingOverrides {
  std::map<std::string, std::string, std::less<>> flags;  // by key, values as typed
  /// The environment as "NAME=value" strings.
  std::vector<std::string> environment;
};
/// This process's environment.
std::vector<std::string> process_environment();

/// Reads `root`/tarn.toml (missing: no file layer; `root` empty: none either), then the
/// environment, then the flags. kInvalidArgument names what is wrong and where: "tarn.toml:12:
/// ...".
Result<LoadedSettings> load_settings(const std::string& root, const SettingOverrides& overrides);
/// The same with the file's text given; `file_name` is used in messages.
Result<LoadedSettings> parse_settings(std::string_view text, std::string_view file_name,
                                      const SettingOverrides& overrides);

/// The commented tarn.toml that `tarn init` writes; settings that differ from the built-in values
/// stand in it uncommented.
std::string default_config_text(const Settings& settings);

/// "64MiB", "1GB", "512" -> bytes. Suffixes K, M, G, T with an optional iB (powers of 1024) or B
/// (powers of 1000); a bare K, M, G, T is a power of 1024. kInvalidArgument otherwise.
Result<uint64_t> parse_bytes(std::string_view text);

struct HostPort {
  std::string host;
  uint16_t port = 0;
};
/// "127.0.0.1:9000", "[::1]:9000", "localhost:0". kInvalidArgument otherwise.
Result<HostPort> parse_host_port(std::string_view text);

}  // namespace tarn::app
