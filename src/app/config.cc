#include "app/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "base/file.h"
#include "base/limits.h"

extern "C" char** environ;

namespace tarn::app {
namespace {

// A configuration file is a page of text; a megabyte of it is a mistake.
constexpr size_t kConfigBytesMax = 1 << 20;

Status invalid(std::string message) {
  return {Code::kInvalidArgument, std::move(message)};
}

std::string choice_list(std::string_view choices) {
  std::string list(choices);
  for (size_t at = 0; (at = list.find('|', at)) != std::string::npos; at += 2)
    list.replace(at, 1, ", ");
  return list;
}

bool is_choice(std::string_view choices, std::string_view value) {
  while (true) {
    const size_t bar = choices.find('|');
    if (choices.substr(0, bar) == value) return true;
    if (bar == std::string_view::npos) return false;
    choices.remove_prefix(bar + 1);
  }
}

Status assign_text(const Setting& setting, std::string_view value, Settings& settings) {
  const auto field = std::get<std::string Settings::*>(setting.field);
  if (!setting.choices.empty() && !is_choice(setting.choices, value))
    return invalid(fmt::format("'{}' is not one of {}", value, choice_list(setting.choices)));
  settings.*field = std::string(value);
  return {};
}

Status assign_bool(const Setting& setting, bool value, Settings& settings) {
  settings.*std::get<bool Settings::*>(setting.field) = value;
  return {};
}

Status assign_number(const Setting& setting, uint64_t value, Settings& settings) {
  if (value < setting.min || value > setting.max)
    return invalid(fmt::format("{} is outside {} to {}", value, setting.min, setting.max));
  settings.*std::get<uint64_t Settings::*>(setting.field) = value;
  return {};
}

/// A value as it stands in a flag or a variable.
Status assign_typed(const Setting& setting, std::string_view value, Settings& settings) {
  if (std::holds_alternative<std::string Settings::*>(setting.field))
    return assign_text(setting, value, settings);
  if (std::holds_alternative<bool Settings::*>(setting.field)) {
    if (value == "true" || value == "1" || value == "yes" || value == "on")
      return assign_bool(setting, true, settings);
    if (value == "false" || value == "0" || value == "no" || value == "off")
      return assign_bool(setting, false, settings);
    return invalid(fmt::format("'{}' is neither true nor false", value));
  }
  if (setting.is_bytes) {
    TARN_ASSIGN(const uint64_t bytes, parse_bytes(value));
    return assign_number(setting, bytes, settings);
  }
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size())
    return invalid(fmt::format("'{}' is not a whole number", value));
  return assign_number(setting, number, settings);
}

Status assign_node(const Setting& setting, const toml::node& node, Settings& settings) {
  if (std::holds_alternative<bool Settings::*>(setting.field)) {
    if (const auto* value = node.as_boolean()) return assign_bool(setting, value->get(), settings);
    return invalid("wants true or false");
  }
  if (const auto* value = node.as_string()) {
    if (std::holds_alternative<std::string Settings::*>(setting.field) || setting.is_bytes)
      return assign_typed(setting, value->get(), settings);
    return invalid("wants a whole number");
  }
  if (const auto* value = node.as_integer();
      value != nullptr && std::holds_alternative<uint64_t Settings::*>(setting.field)) {
    if (value->get() < 0) return invalid(fmt::format("{} is below 0", value->get()));
    return assign_number(setting, static_cast<uint64_t>(value->get()), settings);
  }
  return invalid(std::holds_alternative<std::string Settings::*>(setting.field)
                     ? "wants a text in quotes"
                     : "wants a whole number");
}

const Setting* find_setting(std::string_view key) {
  for (const Setting& setting : setting_table())
    if (setting.key == key) return &setting;
  return nullptr;
}

bool is_section(std::string_view name) {
  return std::ranges::any_of(setting_table(), [&](const Setting& setting) {
    return setting.key.starts_with(name) && setting.key.substr(name.size()).starts_with('.');
  });
}

Status assign_section(const toml::table& table, std::string_view section,
                      std::string_view file_name, LoadedSettings& loaded) {
  for (const auto& [name, node] : table) {
    const auto line = node.source().begin.line;
    const std::string key = fmt::format("{}.{}", section, name.str());
    const Setting* setting = find_setting(key);
    if (setting == nullptr)
      return invalid(fmt::format("{}:{}: unknown key '{}' (tarn config show lists all keys)",
                                 file_name, line, key));
    const Status assigned = assign_node(*setting, node, loaded.values);
    if (!assigned.is_ok())
      return invalid(fmt::format("{}:{}: {}: {}", file_name, line, key, assigned.message()));
    loaded.sources[key] = Source::kFile;
  }
  return {};
}

Status apply_file(std::string_view text, std::string_view file_name, LoadedSettings& loaded) {
  toml::table document;
  try {
    document = toml::parse(text, file_name);
  } catch (const toml::parse_error& error) {
    return invalid(
        fmt::format("{}:{}: {}", file_name, error.source().begin.line, error.description()));
  }
  for (const auto& [name, node] : document) {
    const auto* section = node.as_table();
    if (section == nullptr || !is_section(name.str()))
      return invalid(fmt::format("{}:{}: unknown {} '{}' (tarn config show lists all keys)",
                                 file_name, node.source().begin.line,
                                 section != nullptr ? "section" : "key", name.str()));
    TARN_TRY(assign_section(*section, name.str(), file_name, loaded));
  }
  return {};
}

Status apply_environment(const std::vector<std::string>& environment, LoadedSettings& loaded) {
  // These belong to other parts of the program than the settings.
  constexpr std::array<std::string_view, 2> kOthers = {"TARN_ROOT", "TARN_KILL_POINT"};
  for (const std::string& entry : environment) {
    const size_t equals = entry.find('=');
    if (!entry.starts_with("TARN_") || equals == std::string::npos) continue;
    const std::string_view name = std::string_view(entry).substr(0, equals);
    const std::string_view value = std::string_view(entry).substr(equals + 1);
    if (std::ranges::find(kOthers, name) != kOthers.end()) continue;
    const auto table = setting_table();
    const auto found = std::ranges::find_if(
        table, [&](const Setting& setting) { return setting_variable(setting) == name; });
    if (found == table.end()) {
      loaded.warnings.push_back(fmt::format("variable {} is not a setting of Tarn", name));
      continue;
    }
    const Status assigned = assign_typed(*found, value, loaded.values);
    if (!assigned.is_ok()) return assigned.with_context(fmt::format("variable {}", name));
    loaded.sources[std::string(found->key)] = Source::kEnvironment;
  }
  return {};
}

Status apply_flags(const SettingOverrides& overrides, LoadedSettings& loaded) {
  for (const auto& [key, value] : overrides.flags) {
    const Setting* setting = find_setting(key);
    if (setting == nullptr) return invalid(fmt::format("there is no setting '{}'", key));
    const Status assigned = assign_typed(*setting, value, loaded.values);
    if (!assigned.is_ok()) return assigned.with_context(fmt::format("option for {}", key));
    loaded.sources[key] = Source::kFlag;
  }
  return {};
}

/// Rules that join several settings.
Status check_together(const Settings& settings) {
  if (settings.meta_url != "rocksdb:")
    return invalid(
        fmt::format("storage.meta '{}' is not served by this version: only 'rocksdb:' "
                    "(RocksDB in ROOT/meta) is",
                    settings.meta_url));
  if (settings.data_url != "local:")
    return invalid(
        fmt::format("storage.data '{}' is not served by this version: only 'local:' "
                    "(ROOT/blobs on the local disk) is",
                    settings.data_url));
  if (!settings.listen.empty()) TARN_TRY(parse_host_port(settings.listen));
  if (!settings.tls.empty()) TARN_TRY(parse_host_port(settings.tls));
  return {};
}

}  // namespace

std::span<const Setting> setting_table() {
  static const std::array<Setting, 15> table = {{
      {.key = "storage.meta",
       .help = "where metadata is: rocksdb: (ROOT/meta)",
       .field = &Settings::meta_url},
      {.key = "storage.data",
       .help = "where bytes are: local: (ROOT/blobs, ROOT/packs)",
       .field = &Settings::data_url},
      {.key = "mount.directory",
       .help = "directory that `tarn serve` mounts on; empty: no mount",
       .field = &Settings::mount_directory},
      {.key = "mount.passthrough",
       .help = "let the kernel read and write local files itself (needs root)",
       .field = &Settings::passthrough},
      {.key = "mount.allow_other",
       .help = "let other users reach the mount (permissions are checked by the kernel)",
       .field = &Settings::allow_other},
      {.key = "mount.threads",
       .help = "threads that answer the kernel; 0: one a core, at least 2",
       .field = &Settings::mount_threads,
       .max = 64},
      {.key = "http.listen",
       .help = "HOST:PORT of the plain HTTP endpoint; empty: none",
       .field = &Settings::listen},
      {.key = "http.tls",
       .help = "HOST:PORT of the TLS endpoint; empty: none",
       .field = &Settings::tls},
      {.key = "http.insecure",
       .help = "allow plain HTTP on an address other than this machine's own",
       .field = &Settings::insecure},
      {.key = "jobs.stop_grace_s",
       .help = "seconds between SIGTERM and SIGKILL of a training job that is stopped",
       .field = &Settings::job_stop_grace_s,
       .max = 3600},
      {.key = "memory.metadata_cache",
       .help = "cache of metadata blocks",
       .field = &Settings::metadata_cache_bytes,
       .is_bytes = true,
       .min = limits::kMiB,
       .max = uint64_t{1} << 40},
      {.key = "memory.memtable",
       .help = "metadata changes kept in memory before they are sorted to disk",
       .field = &Settings::memtable_bytes,
       .is_bytes = true,
       .min = limits::kMiB,
       .max = uint64_t{1} << 36},
      {.key = "memory.open_files",
       .help = "limit on open descriptors; 0: what the system allows",
       .field = &Settings::open_files,
       .max = uint64_t{1} << 30},
      {.key = "log.level",
       .help = "debug, info, warn or error",
       .field = &Settings::log_level,
       .choices = "debug|info|warn|error"},
      {.key = "log.file",
       .help = "write ROOT/log/tarn.log besides standard error",
       .field = &Settings::log_to_file},
  }};
  return table;
}

std::string setting_variable(const Setting& setting) {
  std::string name = "TARN_";
  for (const char c : setting.key)
    name += c == '.' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return name;
}

std::string setting_value(const Setting& setting, const Settings& settings) {
  if (const auto* text = std::get_if<std::string Settings::*>(&setting.field))
    return settings.**text;
  if (const auto* flag = std::get_if<bool Settings::*>(&setting.field))
    return settings.**flag ? "true" : "false";
  const uint64_t number = settings.*std::get<uint64_t Settings::*>(setting.field);
  return setting.is_bytes && number > 0 && number % limits::kMiB == 0
             ? fmt::format("{}MiB", number / limits::kMiB)
             : fmt::format("{}", number);
}

std::string setting_text(const Setting& setting, const Settings& settings) {
  const std::string value = setting_value(setting, settings);
  const bool is_text = std::holds_alternative<std::string Settings::*>(setting.field);
  if (!is_text && !value.ends_with("MiB")) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string_view source_name(Source source) {
  switch (source) {
    case Source::kDefault:
      return "built in";
    case Source::kFile:
      return "tarn.toml";
    case Source::kEnvironment:
      return "environment";
    case Source::kFlag:
      return "option";
  }
  return "built in";
}

std::vector<std::string> process_environment() {
  std::vector<std::string> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    entries.emplace_back(*entry);
  return entries;
}

Result<LoadedSettings> parse_settings(std::string_view text, std::string_view file_name,
                                      const SettingOverrides& overrides) {
  LoadedSettings loaded;
  TARN_TRY(apply_file(text, file_name, loaded));
  TARN_TRY(apply_environment(overrides.environment, loaded));
  TARN_TRY(apply_flags(overrides, loaded));
  TARN_TRY(check_together(loaded.values));
  return loaded;
}

Result<LoadedSettings> load_settings(const std::string& root, const SettingOverrides& overrides) {
  if (root.empty()) return parse_settings("", "tarn.toml", overrides);
  const std::string path = root + "/tarn.toml";
  auto text = read_file(path, kConfigBytesMax);
  if (text.is(Code::kNotFound)) return parse_settings("", path, overrides);
  if (!text.is_ok()) return text.status();
  return parse_settings(text.value(), path, overrides);
}

std::string default_config_text(const Settings& settings) {
  std::string text =
      "# Settings of this Tarn. An option on the command line goes before a variable of the\n"
      "# environment, and that before this file. Commented lines show the built-in value.\n"
      "# `tarn config check` reads this file; `tarn config show` prints what holds and why.\n";
  const Settings built_in;
  std::string_view section;
  for (const Setting& setting : setting_table()) {
    const size_t dot = setting.key.find('.');
    if (setting.key.substr(0, dot) != section) {
      section = setting.key.substr(0, dot);
      text += fmt::format("\n[{}]\n", section);
    }
    const std::string value = setting_text(setting, settings);
    const bool is_built_in = value == setting_text(setting, built_in);
    text += fmt::format("# {} ({})\n{}{} = {}\n", setting.help, setting_variable(setting),
                        is_built_in ? "#" : "", setting.key.substr(dot + 1), value);
  }
  return text;
}

Result<uint64_t> parse_bytes(std::string_view text) {
  const auto wrong = [&] {
    return invalid(fmt::format("'{}' is not a size such as 512, 64MiB or 2GB", text));
  };
  uint64_t number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (error != std::errc()) return wrong();
  std::string suffix(end, last);
  if (suffix.empty() || suffix == "B") return number;
  constexpr std::string_view kPrefixes = "KMGT";
  const char first = suffix[0] == 'k' ? 'K' : suffix[0];
  const size_t power = kPrefixes.find(first);
  if (power == std::string_view::npos) return wrong();
  suffix.erase(0, 1);
  if (!suffix.empty() && suffix != "iB" && suffix != "B") return wrong();
  const uint64_t base = suffix == "B" ? 1000 : 1024;
  for (size_t step = 0; step <= power; ++step)
    if (__builtin_mul_overflow(number, base, &number))
      return invalid(fmt::format("'{}' is more than 2^64 bytes", text));
  return number;
}

Result<HostPort> parse_host_port(std::string_view text) {
  const size_t colon = text.rfind(':');
  const auto wrong = [&] {
    return invalid(
        fmt::format("'{}' is not HOST:PORT, such as 127.0.0.1:9000 or [::1]:9000", text));
  };
  if (colon == std::string_view::npos || colon == 0) return wrong();
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return wrong();
  }
  HostPort parsed{std::string(host), 0};
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), parsed.port);
  if (host.empty() || digits.empty() || error != std::errc() ||
      end != digits.data() + digits.size())
    return wrong();
  return parsed;
}

}  // namespace tarn::app
