// Keys of metadata rows: a prefix byte from key_prefix.def, then what that catalogue says.
//
// Every key of the store is made here or, for the other rooms' prefixes, with `prefixed` and
// `ino_key`. Numbers in keys are big-endian, so that byte order is number order. Plain functions,
// no sharing.
#pragma once

#include <string>
#include <string_view>

#include "base/coding.h"
#include "base/ids.h"

namespace tarn::meta {

enum class Prefix : char {
#define X(name, byte, room, rest) k##name = byte,
#include "meta/key_prefix.def"
#undef X
};

inline std::string prefixed(Prefix prefix, std::string_view rest = {}) {
  std::string key(1, static_cast<char>(prefix));
  key.append(rest);
  return key;
}

/// `prefix`, then the number in 8 bytes.
inline std::string ino_key(Prefix prefix, Ino ino) {
  std::string key(1, static_cast<char>(prefix));
  key.reserve(9);
  append_be64(key, ino.value);
  return key;
}

/// The number after the prefix byte; 0 when the key is too short.
inline Ino ino_of_key(std::string_view key) {
  return key.size() < 9 ? Ino{} : Ino{read_be64(key.substr(1, 8))};
}

/// An entry's row. `key_name` is the name, with '/' after it for a directory.
inline std::string entry_key(Ino parent, std::string_view key_name) {
  std::string key = ino_key(Prefix::kEntry, parent);
  key.append(key_name);
  return key;
}
inline std::string xattr_key(Ino ino, std::string_view name) {
  std::string key = ino_key(Prefix::kXattr, ino);
  key.append(name);
  return key;
}

inline std::string key_name_of(std::string_view name, bool is_directory) {
  std::string key_name(name);
  if (is_directory) key_name.push_back('/');
  return key_name;
}

}  // namespace tarn::meta
