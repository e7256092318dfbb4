// Helpers of this room's tests: tar bytes made by hand, by the real tar, and members read back.
//
// Not part of the library. Failures of the machinery itself end the test program.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "archive/archive.h"
#include "base/check.h"

namespace tarn::archive {

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/tarn-archive-XXXXXX";
    CHECK(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return fmt::format("{}/{}", path_, name); }

 private:
  std::string path_;
};

/// Runs `command` in a shell inside `dir`.
inline void run(const TempDir& dir, const std::string& command) {
  const std::string all = fmt::format("cd {} && {}", dir.path(), command);
  CHECK(std::system(all.c_str()) == 0, all);
}

inline void write_text(const std::string& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  CHECK(out.good(), path);
}
inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  CHECK(in.good(), path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Bytes that do not compress, the same on every run.
inline std::string noise(size_t bytes, uint64_t seed) {
  std::string text(bytes, '\0');
  uint64_t x = seed * 2 + 1;
  for (char& c : text) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    c = static_cast<char>(x);
  }
  return text;
}

struct HeaderSpec {
  std::string name = {};
  char type = '0';
  uint64_t size = 0;
  std::string link = {};
  std::string magic = std::string("ustar\00000", 8);
  std::string size_field = {};  // instead of `size`, when given
  std::string prefix = {};
};

/// Sets the checksum of a 512-byte header.
inline std::string with_checksum(std::string block) {
  block.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  block.replace(148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return block;
}

inline std::string tar_header(const HeaderSpec& spec) {
  std::string block(512, '\0');
  const auto put = [&](size_t offset, std::string_view text) {
    block.replace(offset, text.size(), text);
  };
  put(0, std::string_view(spec.name).substr(0, 100));
  put(100, "0000644");
  put(108, "0001750");
  put(116, "0001750");
  put(124, spec.size_field.empty() ? fmt::format("{:011o}", spec.size) : spec.size_field);
  put(136, "14371643000");
  block[156] = spec.type;
  put(157, std::string_view(spec.link).substr(0, 100));
  put(257, spec.magic);
  put(345, spec.prefix);
  return with_checksum(block);
}

inline std::string padded(std::string data) {
  data.resize((data.size() + 511) / 512 * 512, '\0');
  return data;
}
inline std::string tar_file(const std::string& name, const std::string& data) {
  return tar_header({.name = name, .size = data.size()}) + padded(data);
}
inline std::string tar_link(const std::string& name, char type, const std::string& target) {
  return tar_header({.name = name, .type = type, .link = target});
}
inline std::string tar_end() {
  return std::string(1024, '\0');
}

inline std::string pax_record(std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length)
    length = std::to_string(length).size() + rest;
  return fmt::format("{} {}={}\n", length, key, value);
}
/// An extended header ('x', 'g', 'L', 'K') with this body.
inline std::string tar_special(char type, const std::string& body) {
  return tar_header({.name = "././@Special", .type = type, .size = body.size()}) + padded(body);
}

struct ReadMember {
  Member member;
  std::string data;  // with holes filled
};
struct ReadArchive {
  std::vector<ReadMember> members;
  Status status;  // of the first failure
  std::vector<std::string> warnings;

  const ReadMember* find(std::string_view path) const {
    for (const ReadMember& m : members)
      if (m.member.path == path) return &m;
    return nullptr;
  }
};

inline ReadArchive read_archive(Source& source, Options options = {}) {
  ReadArchive result;
  auto reader = Reader::open(source, std::move(options));
  result.status = reader.status();
  while (result.status.is_ok()) {
    auto member = (*reader)->next();
    result.status = member.status();
    if (!result.status.is_ok() || !*member) break;
    ReadMember read{**member, {}};
    result.status = (*reader)->read_data([&](uint64_t offset, std::span<const std::byte> bytes) {
      read.data.resize(offset, '\0');
      read.data.append(as_text(bytes));
      return Status();
    });
    if (read.member.size < (uint64_t{1} << 30)) read.data.resize(read.member.size, '\0');
    result.members.push_back(std::move(read));
  }
  if (reader) result.warnings = (*reader)->warnings();
  return result;
}
inline ReadArchive read_archive(std::string bytes, Options options = {}) {
  MemorySource source(std::move(bytes));
  return read_archive(source, std::move(options));
}

/// Counts what is read.
class CountingSource : public Source {
 public:
  explicit CountingSource(Source& source) : source_(source) {}
  std::optional<uint64_t> size() const override { return source_.size(); }
  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) override {
    auto n = source_.read_at(offset, out);
    if (n) bytes_ += *n;
    return n;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  Source& source_;
  uint64_t bytes_ = 0;
};

}  // namespace tarn::archive
