// What content's tests share: a root in a temporary directory, a store over it, files as fs makes
// them.
//
// TestSystem plays room fs: it creates rows `open`, writes, closes, submits. Not thread-safe.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>

#include "content/content.h"
#include "content/descriptor.h"

namespace tarn::content {

#define ASSERT_TARN_OK(expr)                                                 \
  do {                                                                       \
    auto tarn_test_status_ = ::tarn::detail::as_status(expr);                \
    ASSERT_TRUE(tarn_test_status_.is_ok()) << tarn_test_status_.to_string(); \
  } while (false)
#define EXPECT_TARN_OK(expr)                                                 \
  do {                                                                       \
    auto tarn_test_status_ = ::tarn::detail::as_status(expr);                \
    EXPECT_TRUE(tarn_test_status_.is_ok()) << tarn_test_status_.to_string(); \
  } while (false)

/// A directory that goes away with it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    const char* base = std::getenv("TEST_TMPDIR");
    std::string pattern = std::string(base != nullptr ? base : "/tmp") + "/tarn-content-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string random_bytes(std::mt19937_64& random, size_t length) {
  std::string bytes(length, '\0');
  for (size_t i = 0; i < length; i += 8) {
    const uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, std::min<size_t>(8, length - i));
  }
  return bytes;
}

inline std::string read_all(File& file) {
  std::string bytes;
  std::string buffer(1 << 20, '\0');
  while (true) {
    auto n = file.read(bytes.size(), std::as_writable_bytes(std::span(buffer)));
    if (!n.is_ok()) return "error: " + n.status().to_string();
    if (*n == 0) return bytes;
    bytes.append(buffer, 0, *n);
  }
}

enum class Engine { kMemory, kRocks };

class TestSystem {
 public:
  explicit TestSystem(std::string path, Engine engine = Engine::kMemory)
      : path_(std::move(path)), engine_(engine) {}

  /// Makes the root if there is none; opens root, store and content.
  Status open(ContentOptions options = quiet(), bool is_take_over = false) {
    if (!std::filesystem::exists(path_ + "/superblock")) {
      TARN_TRY(Root::create(path_, RootOptions{.ballast_bytes = 1 << 20}));
    }
    TARN_ASSIGN(root_, Root::open(path_));
    if (!store_ && engine_ == Engine::kRocks) {
      TARN_ASSIGN(store_, kv::open_rocks({.path = path_ + "/meta"}, meta::merge_function()));
    } else if (!store_) {
      store_ = kv::open_memory(meta::merge_function());
    }
    TARN_TRY(meta::format(*store_, 0, 0, Clock::system().now()));
    inodes_ = std::make_unique<meta::IdAllocator>(*store_, meta::IdAllocator::Kind::kInode);
    TARN_ASSIGN(content_, Content::open(*root_, *store_, options, is_take_over));
    return {};
  }
  /// As a process that dies: nothing is settled or marked. The memory store stays for the next
  /// open.
  void abandon() {
    leaked_.push_back(content_.release());
    root_.reset();
  }
  Status close() {
    TARN_TRY(content_->close());
    content_.reset();
    TARN_TRY(root_->mark_clean());
    inodes_.reset();
    if (engine_ == Engine::kRocks) store_.reset();
    root_.reset();
    return {};
  }
  static ContentOptions quiet() {
    ContentOptions options;
    options.pool_files = 0;  // no thread: `abandon` leaves the object as it is
    options.has_background = false;
    return options;
  }

  Content& content() { return *content_; }
  kv::Store& store() { return *store_; }
  Root& root() { return *root_; }

  struct Open {
    Ino ino;
    FileRef file;
    bool is_new = false;
    std::optional<Generation> replaces;
  };
  Result<Open> create(const std::string& name) {
    TARN_ASSIGN(LocalFileRef local, content_->take_new());
    TARN_ASSIGN(FileStat stat, local->stat());
    TARN_ASSIGN(uint64_t number, inodes_->next());
    meta::NewInode inode;
    inode.ino = Ino(number);
    inode.mode = S_IFREG | 0644;
    inode.state = meta::ContentState::kOpen;
    inode.content = encode(WholeBlob{local->blob()});
    inode.grant = stat.stamp();
    TARN_TRY(kv::transact(*store_, [&](kv::Transaction& txn) -> Status {
      return meta::create(txn, context(), kRootIno, name, inode).status();
    }));
    return Open{inode.ino, content_->open_new(local), true, {}};
  }
  TicketRef submit(const Open& open, bool keep_blob = false) {
    ClosedFile closed;
    closed.ino = open.ino;
    closed.file = open.file;
    closed.is_new = open.is_new;
    closed.replaces = open.replaces;
    closed.keep_blob = keep_blob;
    closed.done = [this](const Result<meta::InodeRow>& row) {
      ++done_calls;
      last_done = row.status();
    };
    return content_->submit_closed(std::move(closed));
  }
  /// Creates, writes, closes; settled after the next barrier.
  Result<Ino> put(const std::string& name, std::string_view bytes) {
    TARN_ASSIGN(Open open, create(name));
    TARN_TRY(open.file->write(0, as_bytes(bytes)));
    submit(open);
    return open.ino;
  }
  /// Prepares a settled file for writing as fs does: in place commits `open`, else it is deferred.
  Result<Open> open_write(Ino ino, bool truncate) {
    TARN_ASSIGN(meta::InodeRow row, this->row(ino));
    TARN_ASSIGN(WritePlan plan, content_->prepare_write(row, truncate, {}));
    last_plan = plan.kind;
    if (plan.kind != WritePlan::Kind::kInPlace) return Open{ino, plan.file, false, row.generation};
    TARN_ASSIGN(FileStat stat, plan.file->stat());
    meta::ContentChange change;
    change.state = meta::ContentState::kOpen;
    change.grant = stat.stamp();
    TARN_TRY(set(ino, change));
    return Open{ino, plan.file, false, {}};
  }
  Status set(Ino ino, const meta::ContentChange& change) {
    return kv::transact(*store_,
                        [&](kv::Transaction& txn) -> Status {
                          return meta::set_content(txn, context(), ino, change).status();
                        })
        .status();
  }
  /// unlink, forget and release, as after the last close.
  Status remove(const std::string& name) {
    auto done = kv::transact(*store_, [&](kv::Transaction& txn) -> Status {
      TARN_ASSIGN(auto removed, meta::unlink(txn, context(), kRootIno, name));
      TARN_ASSIGN(auto row, meta::forget(txn, context(), removed.inode.ino));
      TARN_ASSIGN(Descriptor descriptor, decode(row.content));
      return content_->release(txn, row.ino, row.generation, descriptor);
    });
    TARN_TRY(done);
    content_->released(done->stamp);
    return {};
  }
  Result<meta::InodeRow> row(Ino ino) { return meta::get_inode(*store_->begin(), ino); }
  Result<meta::InodeRow> find(const std::string& name) {
    return meta::lookup(*store_->begin(), kRootIno, name);
  }
  /// The bytes of a settled file, or "error: ...".
  std::string read(Ino ino) {
    auto row = this->row(ino);
    if (!row.is_ok()) return "error: " + row.status().to_string();
    auto file = content_->open_read(*row);
    if (!file.is_ok()) return "error: " + file.status().to_string();
    return read_all(**file);
  }
  Descriptor descriptor(Ino ino) {
    auto row = this->row(ino);
    return row.is_ok() ? decode(row->content).value() : Descriptor(Empty{});
  }
  size_t files_under(const std::string& folder) {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_ + "/" + folder)) {
      if (entry.is_regular_file()) ++count;
    }
    return count;
  }
  static meta::Context context() {
    meta::Context context;
    context.now = Clock::system().now();
    return context;
  }

  int done_calls = 0;
  Status last_done;
  WritePlan::Kind last_plan = WritePlan::Kind::kInPlace;

 private:
  std::string path_;
  Engine engine_;
  std::unique_ptr<Root> root_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<meta::IdAllocator> inodes_;
  std::unique_ptr<Content> content_;
  static inline std::vector<Content*>
      leaked_;  // never destroyed: a dead process runs no destructors
};

}  // namespace tarn::content
