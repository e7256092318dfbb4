#include "app/credentials.h"

#include <grp.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/file.h"

namespace tarn::app {
namespace {

constexpr size_t kCredentialsBytesMax = 1 << 20;
// As AWS has them: 20 characters of id, 40 of secret. 16 x 5 and 40 x 5.95 bits are random.
constexpr size_t kIdCharacters = 16, kSecretCharacters = 40;

Result<std::string> random_text(std::string_view alphabet, size_t length) {
  std::string text;
  // Bytes at or above the largest multiple of the alphabet would make some characters likelier.
  const size_t usable = 256 - 256 % alphabet.size();
  while (text.size() < length) {
    unsigned char bytes[64];
    const ssize_t got = getrandom(bytes, sizeof bytes, 0);
    if (got < 0) return last_errno("getrandom");
    for (ssize_t i = 0; i < got && text.size() < length; ++i)
      if (bytes[i] < usable) text += alphabet[bytes[i] % alphabet.size()];
  }
  return text;
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

bool parse_number(std::string_view text, int base, uint32_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool assign(AccessKey& key, std::string_view name, std::string_view value) {
  if (name == "aws_access_key_id") {
    key.id = std::string(value);
    return !value.empty();
  }
  if (name == "aws_secret_access_key") {
    key.secret = std::string(value);
    return !value.empty();
  }
  if (name == "tarn_uid") return parse_number(value, 10, key.uid);
  if (name == "tarn_gid") return parse_number(value, 10, key.gid);
  if (name == "tarn_umask") return parse_number(value, 8, key.umask) && key.umask <= 0777;
  if (name == "tarn_groups") {
    while (!value.empty()) {
      const size_t comma = value.find(',');
      uint32_t group = 0;
      if (!parse_number(trim(value.substr(0, comma)), 10, group)) return false;
      key.groups.push_back(group);
      value = comma == std::string_view::npos ? "" : value.substr(comma + 1);
    }
    return true;
  }
  return false;
}

}  // namespace

Result<AccessKey> make_access_key(std::string name, uint32_t umask) {
  AccessKey key;
  key.name = std::move(name);
  TARN_ASSIGN(const std::string id, random_text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", kIdCharacters));
  key.id = "TARN" + id;
  TARN_ASSIGN(key.secret,
              random_text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                          kSecretCharacters));
  key.uid = getuid();
  key.gid = getgid();
  key.umask = umask & 0777;
  const int count = getgroups(0, nullptr);
  if (count < 0) return last_errno("getgroups");
  key.groups.resize(static_cast<size_t>(count));
  if (count > 0 && getgroups(count, key.groups.data()) < 0) return last_errno("getgroups");
  return key;
}

std::string format_credentials(const std::vector<AccessKey>& keys) {
  std::string text =
      "# Access keys of this Tarn. Whoever holds one acts as its tarn_uid: treat it as a login.\n";
  for (const AccessKey& key : keys) {
    text += fmt::format(
        "[{}]\naws_access_key_id = {}\naws_secret_access_key = {}\ntarn_uid = {}\n"
        "tarn_gid = {}\ntarn_groups = {}\ntarn_umask = {:04o}\n",
        key.name, key.id, key.secret, key.uid, key.gid, fmt::join(key.groups, ","), key.umask);
  }
  return text;
}

Result<std::vector<AccessKey>> parse_credentials(std::string_view text) {
  std::vector<AccessKey> keys;
  for (int number = 1; !text.empty(); ++number) {
    const size_t newline = text.find('\n');
    const std::string_view line = trim(text.substr(0, newline));
    text = newline == std::string_view::npos ? "" : text.substr(newline + 1);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line.front() == '[' && line.back() == ']' && line.size() > 2) {
      keys.emplace_back().name = std::string(line.substr(1, line.size() - 2));
      continue;
    }
    const size_t equals = line.find('=');
    if (keys.empty() || equals == std::string_view::npos ||
        !assign(keys.back(), trim(line.substr(0, equals)), trim(line.substr(equals + 1))))
      // The line itself may hold a secret: only its number is told.
      return Status(Code::kBadFormat, fmt::format("credentials:{}: not understood", number));
  }
  for (const AccessKey& key : keys)
    if (key.id.empty() || key.secret.empty())
      return Status(Code::kBadFormat,
                    fmt::format("credentials: [{}] lacks its key id or its secret", key.name));
  return keys;
}

Status write_credentials(const std::string& root, const std::vector<AccessKey>& keys) {
  return replace_file(root + "/credentials", format_credentials(keys), 0600);
}

Result<std::vector<AccessKey>> read_credentials(const std::string& root) {
  const std::string path = root + "/credentials";
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return last_errno(path);
  if ((info.st_mode & 077) != 0)
    return Status(Code::kAccessDenied,
                  fmt::format("'{}' has mode {:04o}: others may read the keys (chmod 600 mends it)",
                              path, info.st_mode & 07777));
  TARN_ASSIGN(const std::string text, read_file(path, kCredentialsBytesMax));
  return parse_credentials(text);
}

}  // namespace tarn::app
