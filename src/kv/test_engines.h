// The engines that the typed suite runs on, and the merge function of its rows.
//
// Each engine is a type with `open()`: a fresh, empty store that goes away with the engine object.
// For tests only. Not thread-safe itself; the stores are.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "kv/faults.h"
#include "kv/kv.h"

namespace tarn::kv::test {

/// Keys that start with "sum" hold a decimal number that operands are added to; all others hold
/// text that operands are appended to. The operand "!" makes any row absent.
inline std::optional<std::string> merge_rows(std::string_view key,
                                             std::optional<std::string_view> existing,
                                             const std::vector<std::string_view>& operands) {
  std::optional<std::string> row;
  if (existing) row = std::string(*existing);
  for (std::string_view operand : operands) {
    if (operand == "!") {
      row.reset();
    } else if (key.starts_with("sum")) {
      row = std::to_string(std::stoll(row.value_or("0")) + std::stoll(std::string(operand)));
    } else {
      row = row.value_or("") + std::string(operand);
    }
  }
  return row;
}

/// A directory that is removed with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tarn_kv_XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr, pattern);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct MemoryEngine {
  std::unique_ptr<Store> open() { return open_memory(merge_rows); }
};

struct RocksEngine {
  TemporaryDirectory directory;
  std::unique_ptr<Store> open() {
    // A small memtable lets the tests that write much pass through flushes too.
    RocksOptions options{
        .path = directory.path(), .cache_bytes = 8 << 20, .memtable_bytes = 1 << 20};
    return open_rocks(std::move(options), merge_rows).value();
  }
};

struct FaultyMemoryEngine {
  std::unique_ptr<Store> open() { return FaultStore::wrap(open_memory(merge_rows)); }
};

using Engines = ::testing::Types<MemoryEngine, RocksEngine, FaultyMemoryEngine>;

struct EngineNames {
  template <class T>
  static std::string GetName(int) {
    if (std::is_same_v<T, MemoryEngine>) return "Memory";
    if (std::is_same_v<T, RocksEngine>) return "Rocks";
    return "FaultyMemory";
  }
};

template <class Engine>
class KvTest : public ::testing::Test {
 protected:
  using Row = std::optional<std::string>;

  std::unique_ptr<Transaction> begin() { return store_->begin(); }
  Row read(std::string_view key) { return begin()->get(key).value(); }
  Stamp write(std::string_view key, std::string_view value) {
    return transact(*store_,
                    [&](Transaction& t) {
                      t.put(key, value);
                      return Status();
                    })
        .value()
        .stamp;
  }
  std::vector<std::pair<std::string, std::string>> rows(Transaction& t, const Range& range) {
    std::vector<std::pair<std::string, std::string>> out;
    Status status = t.scan(range, [&](std::string_view key, std::string_view value) {
      out.emplace_back(key, value);
      return true;
    });
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    return out;
  }

  Engine engine_;
  std::unique_ptr<Store> store_ = engine_.open();
};

}  // namespace tarn::kv::test
