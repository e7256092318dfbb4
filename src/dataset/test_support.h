// What the tests of room dataset share: bytes, folders, pickles made by a real Python.
//
// Python runs as a program of its own; tests that need it or numpy skip where it is missing.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/file.h"

namespace tarn::dataset {

/// A folder of the test's own, gone with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dataset_test.XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Bytes with zeros in them, from a literal.
template <size_t n>
std::string literal(const char (&text)[n]) {
  return std::string(text, n - 1);
}

inline constexpr const char* kPython = "/usr/bin/python3";

inline bool has_python(const std::string& module) {
  const std::string command = std::string(kPython) + " -c 'import " + module + "' 2>/dev/null";
  return std::system(command.c_str()) == 0;
}

/// What a Python program writes to its standard output.
inline std::string run_python(const std::string& program) {
  const TemporaryFolder folder;
  EXPECT_TRUE(replace_file(folder / "program.py", program).is_ok());
  const std::string command = std::string(kPython) + " " + (folder / "program.py");
  FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  std::array<char, 65536> block;
  while (const size_t got = fread(block.data(), 1, block.size(), pipe)) {
    out.append(block.data(), got);
  }
  EXPECT_EQ(pclose(pipe), 0) << program;
  return out;
}

}  // namespace tarn::dataset
