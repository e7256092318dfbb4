// Test support: a file system on a temporary root with a memory store, and a direct path that only
// counts.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "fs/fs.h"
#include "kv/kv.h"
#include "meta/meta.h"

namespace tarn::fs::testing {

/// Stands for the kernel's direct path: hands out ids; the test reads and writes backing files
/// itself.
class CountingAttacher final : public content::Attacher {
 public:
  Result<int32_t> attach(int) override { return ++last_; }
  void detach(int32_t) override { ++detached_; }
  std::atomic<int32_t> last_{0}, detached_{0};
};

class FsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tarn-fs-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    root_path_ = directory_ + "/root";
    content::RootOptions options;
    options.ballast_bytes = 1 << 20;
    ASSERT_TRUE(content::Root::create(root_path_, options).is_ok());
    store_ = kv::open_memory(meta::merge_function());
    open();
  }
  void TearDown() override {
    if (fs_) {
      EXPECT_TRUE(fs_->close().is_ok());
    }
    fs_.reset();
    root_.reset();
    std::filesystem::remove_all(directory_);
  }
  void open(bool is_take_over = false) {
    auto root = content::Root::open(root_path_);
    ASSERT_TRUE(root.is_ok()) << root.status().to_string();
    root_ = std::move(*root);
    FsOptions options;
    options.attacher = is_direct_ ? &attacher_ : nullptr;
    options.handle_table_fd = table_fd_;
    options.is_take_over = is_take_over;
    options.connection = 7;
    options.has_background = has_background_;
    auto made = FileSystem::open(*root_, *store_, options);
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    fs_ = std::move(*made);
  }
  void reopen() {
    ASSERT_TRUE(fs_->close().is_ok());
    fs_.reset();
    root_.reset();
    open();
  }

  Caller kernel() const {
    Caller c;
    c.is_checked_by_kernel = true;
    c.umask = 0;
    return c;
  }
  Caller user(uint32_t uid, uint32_t gid) const {
    Caller c;
    c.uid = uid;
    c.gid = gid;
    return c;
  }
  Created create(const std::string& name, int flags = O_RDWR, Ino parent = kRootIno) {
    auto made = fs_->create(kernel(), parent, name, 0644, flags);
    EXPECT_TRUE(made.is_ok()) << made.status().to_string();
    return *made;
  }
  Ino mkdir(const std::string& name, Ino parent = kRootIno) {
    auto made = fs_->mkdir(kernel(), parent, name, 0755);
    EXPECT_TRUE(made.is_ok()) << made.status().to_string();
    return made->ino;
  }
  void put(const std::string& name, std::string_view text, Ino parent = kRootIno) {
    Created made = create(name, O_RDWR, parent);
    write(made.opened.fh, 0, text);
    EXPECT_TRUE(fs_->release(made.opened.fh).is_ok());
  }
  void write(Fh fh, uint64_t offset, std::string_view text) {
    auto n = fs_->write(kernel(), fh, offset, as_bytes(text));
    ASSERT_TRUE(n.is_ok()) << n.status().to_string();
    EXPECT_EQ(*n, text.size());
  }
  std::string read(Fh fh, uint64_t offset, size_t length) {
    std::string text(length, '\0');
    auto n = fs_->read(fh, offset, {reinterpret_cast<std::byte*>(text.data()), length});
    EXPECT_TRUE(n.is_ok()) << n.status().to_string();
    text.resize(n.is_ok() ? *n : 0);
    return text;
  }
  Attributes stat(const std::string& name, Ino parent = kRootIno) {
    auto a = fs_->lookup(kernel(), parent, name);
    EXPECT_TRUE(a.is_ok()) << name << ": " << a.status().to_string();
    return a.is_ok() ? *a : Attributes{};
  }
  std::string cat(const std::string& name, Ino parent = kRootIno) {
    Attributes a = stat(name, parent);
    auto opened = fs_->open(kernel(), a.ino, O_RDONLY);
    EXPECT_TRUE(opened.is_ok()) << opened.status().to_string();
    if (!opened.is_ok()) return {};
    std::string text = read(opened->fh, 0, a.size + 10);
    EXPECT_TRUE(fs_->release(opened->fh).is_ok());
    return text;
  }
  std::vector<std::string> list(Ino directory = kRootIno) {
    auto fh = fs_->open_directory(kernel(), directory);
    EXPECT_TRUE(fh.is_ok());
    std::vector<std::string> names;
    EXPECT_TRUE(fs_->read_directory(kernel(), *fh, 0, false,
                                    [&](const DirectoryItem& item) {
                                      if (item.name != "." && item.name != "..")
                                        names.push_back(item.name);
                                      return true;
                                    })
                    .is_ok());
    EXPECT_TRUE(fs_->release_directory(*fh).is_ok());
    return names;
  }

  std::string directory_, root_path_;
  bool is_direct_ = false;
  bool has_background_ = true;
  int table_fd_ = -1;
  CountingAttacher attacher_;
  std::unique_ptr<content::Root> root_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<FileSystem> fs_;
};

}  // namespace tarn::fs::testing
