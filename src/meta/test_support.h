// For tests of metadata: a store of each engine in a temporary folder, and operations run one a
// transaction.
//
// TYPED_TEST_SUITE(Suite, Engines) runs a suite on every engine. A fixture's functions are the
// operations of meta.h, each in a transaction of its own, with a clock that moves by one at each.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <utility>

#include <gtest/gtest.h>

#include "meta/meta.h"

namespace tarn::meta {

struct MemoryEngine {
  std::unique_ptr<kv::Store> store = kv::open_memory(merge_function());
};

struct RocksEngine {
  RocksEngine() {
    std::string name = testing::TempDir() + "tarn_meta_XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path = name;
    kv::RocksOptions options;
    options.path = path + "/db";
    store = std::move(kv::open_rocks(options, merge_function())).value();
  }
  ~RocksEngine() {
    store.reset();
    std::filesystem::remove_all(path);
  }
  std::string path;
  std::unique_ptr<kv::Store> store;
};

using Engines = testing::Types<MemoryEngine, RocksEngine>;

inline Status status_of(const Status& status) {
  return status;
}
template <class T>
Status status_of(const Result<T>& result) {
  return result.status();
}

/// `body` in a transaction that is committed when it succeeds.
template <class Body>
auto run(kv::Store& store, Body body) {
  using Answer = decltype(body(std::declval<kv::Transaction&>()));
  std::optional<Answer> answer;
  auto committed = kv::transact(store, [&](kv::Transaction& txn) {
    answer.emplace(body(txn));
    return status_of(*answer);
  });
  if (!committed && status_of(*answer).is_ok()) return Answer(committed.status());
  return std::move(*answer);
}

inline NewInode new_inode(Ino ino, uint32_t mode) {
  NewInode inode;
  inode.ino = ino;
  inode.mode = mode;
  return inode;
}

template <class Engine>
class MetaTest : public testing::Test {
 protected:
  MetaTest() { EXPECT_TRUE(format(store(), 0, 0, context_.now)); }

  kv::Store& store() { return *engine_.store; }
  Ino new_ino() { return Ino{ids_.next().value()}; }
  const Context& tick() {
    ++context_.now;
    return context_;
  }
  Context s3() {
    Context context = tick();
    context.is_posix = false;
    return context;
  }

  template <class Body>
  auto commit(Body body) {
    return run(store(), std::move(body));
  }
  Result<InodeRow> make(Ino parent, std::string_view name, uint32_t mode) {
    NewInode inode = new_inode(new_ino(), mode);
    return commit([&](auto& txn) { return create(txn, tick(), parent, name, inode); });
  }
  Result<InodeRow> file(Ino parent, std::string_view name) {
    return make(parent, name, S_IFREG | 0644);
  }
  Result<InodeRow> directory(Ino parent, std::string_view name) {
    return make(parent, name, S_IFDIR | 0755);
  }
  /// A file or directory as S3 makes it.
  Result<InodeRow> s3_make(Ino parent, std::string_view name, uint32_t mode,
                           Origin origin = Origin::kImplied, Twin twin = Twin::kHide) {
    NewInode inode = new_inode(new_ino(), mode);
    inode.origin = origin;
    inode.twin = twin;
    inode.is_s3_written = true;
    Context context = s3();
    return commit([&](auto& txn) { return create(txn, context, parent, name, inode); });
  }
  Result<InodeRow> look(Ino parent, std::string_view name, bool see_hidden = false) {
    return commit([&](auto& txn) { return lookup(txn, parent, name, see_hidden); });
  }
  Result<InodeRow> inode(Ino ino) {
    return commit([&](auto& txn) { return get_inode(txn, ino); });
  }
  Result<Removed> remove_file(Ino parent, std::string_view name) {
    return commit([&](auto& txn) { return unlink(txn, tick(), parent, name); });
  }
  Result<Removed> remove_dir(Ino parent, std::string_view name) {
    return commit([&](auto& txn) { return rmdir(txn, tick(), parent, name); });
  }
  Result<InodeRow> hard_link(Ino ino, Ino parent, std::string_view name) {
    return commit([&](auto& txn) { return link(txn, tick(), ino, parent, name); });
  }
  Result<Renamed> move(Ino source, std::string_view from, Ino target, std::string_view to,
                       RenameOptions options = {}) {
    return commit(
        [&](auto& txn) { return rename(txn, tick(), source, from, target, to, options); });
  }
  Result<InodeRow> end(Ino ino) {
    return commit([&](auto& txn) { return forget(txn, tick(), ino); });
  }
  std::vector<std::string> names(Ino dir, bool see_hidden = false) {
    std::vector<std::string> out;
    EXPECT_TRUE(commit([&](auto& txn) {
      return read_directory(txn, dir, {}, false, see_hidden, [&](const DirectoryEntry& entry) {
        out.push_back(key_name(entry));
        return true;
      });
    }));
    return out;
  }
  /// What check() finds, one a line.
  std::string findings() {
    std::string out;
    auto found = check(store());
    if (!found) return found.status().to_string();
    for (const Finding& finding : *found) {
      out += std::to_string(finding.ino.value) + " " + finding.what + "\n";
    }
    return out;
  }
  std::vector<ChangeRecord> changes() {
    std::vector<ChangeRecord> out;
    EXPECT_TRUE(store().read_log(Stamp{}, [&](const kv::LogEntry& entry) {
      out.push_back(decode_change(entry).value());
      return true;
    }));
    return out;
  }
  struct Cost {
    uint64_t reads = 0, rows = 0, conflicts = 0;
  };
  template <class Body>
  Cost cost(Body body) {
    kv::Statistics before = store().statistics();
    body();
    kv::Statistics after = store().statistics();
    return {after.reads - before.reads, after.rows_written - before.rows_written,
            after.conflicts - before.conflicts};
  }

  Engine engine_;
  IdAllocator ids_{*engine_.store, IdAllocator::Kind::kInode};
  Context context_{.now = 1'700'000'000 * kSecondNs, .request = {}, .node_id = 0};
};

}  // namespace tarn::meta
