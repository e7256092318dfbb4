#include "fs/fs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "fs/acl.h"
#include "fs/fs_fixture.h"

namespace tarn::fs {
namespace {

using ::testing::ElementsAre;
using testing::FsTest;

TEST_F(FsTest, WrittenBytesAreThereWhileOpenClosedAndSettled) {
  Created made = create("a");
  write(made.opened.fh, 0, "hello");
  EXPECT_EQ(stat("a").size, 5u) << "size is live while the writer is open";
  EXPECT_EQ(read(made.opened.fh, 1, 3), "ell");
  ASSERT_TRUE(fs_->release(made.opened.fh).is_ok());
  EXPECT_EQ(stat("a").size, 5u);
  EXPECT_EQ(cat("a"), "hello");
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_TRUE(stat("a").is_settled);
  EXPECT_EQ(cat("a"), "hello");
  reopen();
  EXPECT_EQ(cat("a"), "hello");
}

TEST_F(FsTest, LargeFileSurvivesReopen) {
  std::string big(3 * 1024 * 1024 + 17, 'x');
  for (size_t i = 0; i < big.size(); i += 4096) big[i] = static_cast<char>(i / 4096);
  put("big", big);
  EXPECT_TRUE(cat("big") == big);
  reopen();
  EXPECT_TRUE(cat("big") == big);
  EXPECT_EQ(stat("big").size, big.size());
}

TEST_F(FsTest, Md5IsComputedOnDemand) {
  put("a", "hello");
  auto md5 = fs_->get_xattr(kernel(), stat("a").ino, "user.tarn.md5");
  ASSERT_TRUE(md5.is_ok()) << md5.status().to_string();
  EXPECT_EQ(*md5, "5d41402abc4b2a76b9719d911017c592");
  Created again = create("b");
  EXPECT_EQ(fs_->get_xattr(kernel(), again.attributes.ino, "user.tarn.md5").code(), Code::kBusy);
  ASSERT_TRUE(fs_->release(again.opened.fh).is_ok());
  EXPECT_EQ(*fs_->get_xattr(kernel(), again.attributes.ino, "user.tarn.md5"),
            "d41d8cd98f00b204e9800998ecf8427e");
}

TEST_F(FsTest, TruncatingOpenKeepsTheOldBytesUntilTheNewOnesSettle) {
  put("a", "old bytes");
  ASSERT_TRUE(fs_->sync().is_ok());
  const Ino ino = stat("a").ino;
  auto opened = fs_->open(kernel(), ino, O_WRONLY | O_TRUNC);
  ASSERT_TRUE(opened.is_ok()) << opened.status().to_string();
  EXPECT_EQ(stat("a").size, 0u);
  write(opened->fh, 0, "new");
  EXPECT_EQ(stat("a").size, 3u);
  ASSERT_TRUE(fs_->release(opened->fh).is_ok());
  EXPECT_EQ(cat("a"), "new");
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(cat("a"), "new");
  EXPECT_EQ(stat("a").ino, ino);
  EXPECT_EQ(stat("a").generation.value, 2u);
}

TEST_F(FsTest, UpdateInPlaceOfASettledSmallFile) {
  put("a", "0123456789");
  ASSERT_TRUE(fs_->sync().is_ok());
  auto opened = fs_->open(kernel(), stat("a").ino, O_RDWR);
  ASSERT_TRUE(opened.is_ok());
  write(opened->fh, 3, "XYZ");
  EXPECT_EQ(read(opened->fh, 0, 10), "012XYZ6789");
  ASSERT_TRUE(fs_->fsync(opened->fh, false).is_ok());
  ASSERT_TRUE(fs_->release(opened->fh).is_ok());
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(cat("a"), "012XYZ6789");
}

TEST_F(FsTest, OpenForWritingWithoutAWriteKeepsGenerationAndDigests) {
  put("a", "same");
  ASSERT_TRUE(fs_->sync().is_ok());
  Attributes before = stat("a");
  auto opened = fs_->open(kernel(), before.ino, O_RDWR);
  ASSERT_TRUE(opened.is_ok());
  ASSERT_TRUE(fs_->release(opened->fh).is_ok());
  ASSERT_TRUE(fs_->sync().is_ok());
  Attributes after = stat("a");
  EXPECT_EQ(after.generation, before.generation);
  EXPECT_TRUE(after.is_settled);
  EXPECT_EQ(after.mtime, before.mtime);
}

TEST_F(FsTest, UnlinkedFileLivesUntilItsLastHandleAndForget) {
  Created made = create("a");
  write(made.opened.fh, 0, "still here");
  ASSERT_TRUE(fs_->unlink(kernel(), kRootIno, "a").is_ok());
  EXPECT_EQ(fs_->lookup(kernel(), kRootIno, "a").code(), Code::kNotFound);
  EXPECT_EQ(read(made.opened.fh, 0, 20), "still here");
  EXPECT_EQ(fs_->get_attributes(kernel(), made.attributes.ino)->nlink, 0u);
  ASSERT_TRUE(fs_->release(made.opened.fh).is_ok());
  fs_->forget(made.attributes.ino);
  reopen();
  EXPECT_EQ(fs_->get_attributes(kernel(), made.attributes.ino).code(), Code::kStale);
}

TEST_F(FsTest, RenameOverReplacesAndOldHandleKeepsOldBytes) {
  put("old", "old");
  put("new", "new");
  auto reader = fs_->open(kernel(), stat("old").ino, O_RDONLY);
  ASSERT_TRUE(reader.is_ok());
  ASSERT_TRUE(fs_->rename(kernel(), kRootIno, "new", kRootIno, "old", {}).is_ok());
  EXPECT_EQ(cat("old"), "new");
  EXPECT_EQ(read(reader->fh, 0, 3), "old");
  ASSERT_TRUE(fs_->release(reader->fh).is_ok());
  RenameFlags no_replace;
  no_replace.no_replace = true;
  put("x", "x");
  EXPECT_EQ(fs_->rename(kernel(), kRootIno, "x", kRootIno, "old", no_replace).code(),
            Code::kExists);
}

TEST_F(FsTest, DirectoryCookiesSurviveDeletesWhileReading) {
  Ino d = mkdir("d");
  for (int i = 0; i < 100; ++i) put("f" + std::to_string(100 + i), "", d);
  auto fh = fs_->open_directory(kernel(), d);
  ASSERT_TRUE(fh.is_ok());
  uint64_t cookie = 0;
  int seen = 0;
  while (true) {
    std::vector<DirectoryItem> batch;
    ASSERT_TRUE(fs_->read_directory(kernel(), *fh, cookie, true,
                                    [&](const DirectoryItem& item) {
                                      if (batch.size() == 7) return false;
                                      batch.push_back(item);
                                      return true;
                                    })
                    .is_ok());
    if (batch.empty()) break;
    cookie = batch.back().next;
    for (const DirectoryItem& item : batch) {
      if (item.name[0] != 'f') continue;
      ASSERT_TRUE(item.attributes);
      ++seen;
      ASSERT_TRUE(fs_->unlink(kernel(), d, item.name).is_ok());
    }
  }
  EXPECT_EQ(seen, 100);
  EXPECT_TRUE(list(d).empty());
}

TEST_F(FsTest, PermissionsOfACallerThatTheKernelDidNotCheck) {
  Ino d = mkdir("d");
  SetAttributes private_mode;
  private_mode.mode = 0700;
  ASSERT_TRUE(fs_->set_attributes(kernel(), d, private_mode, std::nullopt).is_ok());
  EXPECT_EQ(fs_->create(user(1000, 1000), d, "x", 0644, O_RDWR).code(), Code::kAccessDenied);
  EXPECT_EQ(fs_->lookup(user(1000, 1000), d, "x").code(), Code::kAccessDenied);
  SetAttributes sticky;
  sticky.mode = 01777;
  ASSERT_TRUE(fs_->set_attributes(kernel(), d, sticky, std::nullopt).is_ok());
  auto made = fs_->create(user(1000, 1000), d, "x", 0666, O_RDWR);
  ASSERT_TRUE(made.is_ok()) << made.status().to_string();
  EXPECT_EQ(made->attributes.mode & 0777u, 0644u) << "umask of the caller";
  EXPECT_EQ(made->attributes.uid, 1000u);
  ASSERT_TRUE(fs_->release(made->opened.fh).is_ok());
  EXPECT_EQ(fs_->unlink(user(1001, 1001), d, "x").code(), Code::kNotPermitted);
  SetAttributes mode;
  mode.mode = 0600;
  EXPECT_EQ(fs_->set_attributes(user(1001, 1001), made->attributes.ino, mode, std::nullopt).code(),
            Code::kNotPermitted);
  ASSERT_TRUE(
      fs_->set_attributes(user(1000, 1000), made->attributes.ino, mode, std::nullopt).is_ok());
  EXPECT_EQ(fs_->open(user(1001, 1001), made->attributes.ino, O_RDONLY).code(),
            Code::kAccessDenied);
  EXPECT_TRUE(fs_->unlink(user(1000, 1000), d, "x").is_ok());
}

TEST_F(FsTest, AclChangesModeAndChmodChangesAcl) {
  put("a", "");
  const Ino ino = stat("a").ino;
  Acl acl = {{AclEntry::kUserObj, 6, ~0u},
             {AclEntry::kUser, 7, 77},
             {AclEntry::kGroupObj, 4, ~0u},
             {AclEntry::kMask, 5, ~0u},
             {AclEntry::kOther, 0, ~0u}};
  ASSERT_TRUE(fs_->set_xattr(kernel(), ino, kAclAccess, encode_acl(acl), 0).is_ok());
  EXPECT_EQ(stat("a").mode & 0777u, 0650u);
  SetAttributes mode;
  mode.mode = 0640;
  ASSERT_TRUE(fs_->set_attributes(kernel(), ino, mode, std::nullopt).is_ok());
  auto now = decode_acl(*fs_->get_xattr(kernel(), ino, kAclAccess));
  ASSERT_TRUE(now.is_ok());
  EXPECT_EQ(acl_mode(*now), 0640u);
}

TEST_F(FsTest, TimesSetWhileAWriterIsOpenStay) {
  Created made = create("a");
  write(made.opened.fh, 0, "data");
  SetAttributes times;
  times.mtime = 1'000'000'000'123'456'789;
  times.atime = 5 * kSecondNs;
  auto set = fs_->set_attributes(kernel(), made.attributes.ino, times, std::nullopt);
  ASSERT_TRUE(set.is_ok()) << set.status().to_string();
  EXPECT_EQ(set->mtime, *times.mtime);
  ASSERT_TRUE(fs_->release(made.opened.fh).is_ok());
  EXPECT_EQ(stat("a").mtime, *times.mtime);
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(stat("a").mtime, *times.mtime);
  EXPECT_EQ(stat("a").atime, *times.atime);
}

TEST_F(FsTest, TruncateByPathGrowsAndShrinks) {
  put("a", "0123456789");
  ASSERT_TRUE(fs_->sync().is_ok());
  SetAttributes change;
  change.size = 4;
  ASSERT_TRUE(fs_->set_attributes(kernel(), stat("a").ino, change, std::nullopt).is_ok());
  EXPECT_EQ(cat("a"), "0123");
  change.size = 6;
  ASSERT_TRUE(fs_->set_attributes(kernel(), stat("a").ino, change, std::nullopt).is_ok());
  EXPECT_EQ(cat("a"), std::string("0123\0\0", 6));
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(cat("a"), std::string("0123\0\0", 6));
}

TEST_F(FsTest, XattrNamespacesAndComputedNames) {
  put("a", "");
  const Ino ino = stat("a").ino;
  EXPECT_TRUE(fs_->set_xattr(kernel(), ino, "user.k", "v", 0).is_ok());
  EXPECT_EQ(*fs_->get_xattr(kernel(), ino, "user.k"), "v");
  EXPECT_EQ(fs_->set_xattr(kernel(), ino, "other.k", "v", 0).code(), Code::kNotSupported);
  EXPECT_EQ(fs_->set_xattr(kernel(), ino, "user.tarn.md5", "v", 0).code(), Code::kNotPermitted);
  EXPECT_THAT(*fs_->list_xattrs(kernel(), ino), ElementsAre("user.k"));
  EXPECT_EQ(fs_->get_xattr(kernel(), ino, "user.none").code(), Code::kNoAttribute);
}

class DirectFsTest : public FsTest {
 protected:
  DirectFsTest() {
    is_direct_ = true;
    table_fd_ = ::memfd_create("handles", 0);
  }
  ~DirectFsTest() override { ::close(table_fd_); }
};

TEST_F(DirectFsTest, DirectWritesAreSeenByEveryObserver) {
  Created made = create("a");
  ASSERT_EQ(made.opened.path, Path::kDirect);
  ASSERT_NE(made.opened.backing, nullptr);
  std::string data(200'000, 'd');
  ASSERT_EQ(::pwrite(made.opened.backing->fd(), data.data(), data.size(), 0),
            static_cast<ssize_t>(data.size()));
  EXPECT_EQ(stat("a").size, data.size());
  EXPECT_GE(stat("a").mtime, made.attributes.mtime);
  ASSERT_TRUE(fs_->release(made.opened.fh).is_ok());
  EXPECT_EQ(stat("a").size, data.size());
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(stat("a").size, data.size());
  EXPECT_TRUE(stat("a").is_settled);
  auto again = fs_->open(kernel(), made.attributes.ino, O_RDONLY);
  ASSERT_TRUE(again.is_ok());
  EXPECT_EQ(again->path, Path::kDirect);
  auto writer = fs_->open(kernel(), made.attributes.ino, O_WRONLY);
  ASSERT_TRUE(writer.is_ok());
  EXPECT_EQ(writer->path, Path::kDirect);
  EXPECT_EQ(writer->backing->attachment(), again->backing->attachment()) << "one id an inode";
  ASSERT_TRUE(fs_->release(again->fh).is_ok());
  ASSERT_TRUE(fs_->release(writer->fh).is_ok());
}

TEST_F(DirectFsTest, SmallFileIsServedFromAPackOnceSettled) {
  Created made = create("a");
  ASSERT_EQ(::pwrite(made.opened.backing->fd(), "tiny", 4, 0), 4);
  ASSERT_TRUE(fs_->release(made.opened.fh).is_ok());
  ASSERT_TRUE(fs_->sync().is_ok());
  auto again = fs_->open(kernel(), made.attributes.ino, O_RDONLY);
  ASSERT_TRUE(again.is_ok());
  EXPECT_EQ(again->path, Path::kServed);
  EXPECT_EQ(read(again->fh, 0, 10), "tiny");
  ASSERT_TRUE(fs_->release(again->fh).is_ok());
  auto third = fs_->open(kernel(), made.attributes.ino, O_RDONLY);
  ASSERT_TRUE(third.is_ok());
  EXPECT_TRUE(third->may_keep_cache);
  ASSERT_TRUE(fs_->release(third->fh).is_ok());
}

TEST_F(DirectFsTest, EmptyFileAndManyCreates) {
  for (int i = 0; i < 600; ++i) {
    Created made = create("f" + std::to_string(i));
    std::string text = "content " + std::to_string(i);
    if (i % 10 != 0) {
      ASSERT_EQ(::pwrite(made.opened.backing->fd(), text.data(), text.size(), 0),
                static_cast<ssize_t>(text.size()));
    }
    ASSERT_TRUE(fs_->release(made.opened.fh).is_ok());
  }
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(fs_->open_counts().pending, 0u);
  for (int i = 0; i < 600; ++i) {
    std::string text = i % 10 != 0 ? "content " + std::to_string(i) : "";
    ASSERT_EQ(cat("f" + std::to_string(i)), text);
  }
}

class TakeOverTest : public DirectFsTest {
 protected:
  TakeOverTest() { has_background_ = false; }
  /// The worker dies: nothing is closed. Its memory is left alone, as a dead process's is gone; the
  /// table, the store and what the kernel holds stay. The root's lock is this process's, so the
  /// successor uses it too.
  void die_and_take_over() {
    (void)fs_.release();
    FsOptions options;
    options.attacher = &attacher_;
    options.handle_table_fd = table_fd_;
    options.is_take_over = true;
    options.connection = 7;
    options.has_background = false;
    auto successor = FileSystem::open(*root_, *store_, options);
    ASSERT_TRUE(successor.is_ok()) << successor.status().to_string();
    fs_ = std::move(*successor);
  }
  void TearDown() override {
    ASSERT_TRUE(fs_->close().is_ok());
    fs_.reset();
    // The dead one still points at these.
    (void)root_.release();
    (void)store_.release();
    std::filesystem::remove_all(directory_);
  }
};

TEST_F(TakeOverTest, ResentCreateIsAnsweredFromItsRecord) {
  Caller caller = kernel();
  caller.request.unique = 42;
  caller.request.connection = 7;
  auto made = fs_->create(caller, kRootIno, "a", 0644, O_RDWR);
  ASSERT_TRUE(made.is_ok());
  ASSERT_EQ(::pwrite(made->opened.backing->fd(), "abc", 3, 0), 3);
  die_and_take_over();
  caller.request.is_resent = true;
  auto again = fs_->create(caller, kRootIno, "a", 0644, O_RDWR);
  ASSERT_TRUE(again.is_ok()) << again.status().to_string();
  EXPECT_EQ(again->attributes.ino, made->attributes.ino);
  EXPECT_EQ(again->opened.fh, made->opened.fh);
  EXPECT_EQ(stat("a").size, 3u);
  ASSERT_TRUE(fs_->release(again->opened.fh).is_ok());
  EXPECT_EQ(cat("a"), "abc");
}

TEST_F(TakeOverTest, ResentRemovalsAndRenamesSucceedOnce) {
  put("a", "a");
  put("b", "b");
  mkdir("d");
  Caller unlinking = kernel(), renaming = kernel(), removing = kernel();
  unlinking.request = {7, 100, false};
  renaming.request = {7, 101, false};
  removing.request = {7, 102, false};
  ASSERT_TRUE(fs_->unlink(unlinking, kRootIno, "a").is_ok());
  ASSERT_TRUE(fs_->rename(renaming, kRootIno, "b", kRootIno, "c", {}).is_ok());
  ASSERT_TRUE(fs_->rmdir(removing, kRootIno, "d").is_ok());
  die_and_take_over();
  unlinking.request.is_resent = renaming.request.is_resent = removing.request.is_resent = true;
  EXPECT_TRUE(fs_->unlink(unlinking, kRootIno, "a").is_ok());
  EXPECT_TRUE(fs_->rename(renaming, kRootIno, "b", kRootIno, "c", {}).is_ok());
  EXPECT_TRUE(fs_->rmdir(removing, kRootIno, "d").is_ok());
  EXPECT_EQ(cat("c"), "b");
  EXPECT_EQ(fs_->unlink(kernel(), kRootIno, "a").code(), Code::kNotFound);
}

TEST_F(TakeOverTest, OpenForWritingWithoutAWriteKeepsTimesAndDigests) {
  put("a", std::string(7000, 'a'));
  ASSERT_TRUE(fs_->sync().is_ok());
  SetAttributes change;
  change.mtime = 1'050'338'007'134'384'753;
  ASSERT_TRUE(fs_->set_attributes(kernel(), stat("a").ino, change, {}).is_ok());
  ASSERT_TRUE(fs_->sync().is_ok());
  auto opened = fs_->open(kernel(), stat("a").ino, O_RDWR);
  ASSERT_TRUE(opened.is_ok());
  EXPECT_EQ(stat("a").mtime, *change.mtime);
  // The row names the private copy from here on.
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(stat("a").mtime, *change.mtime);
  die_and_take_over();
  EXPECT_EQ(stat("a").mtime, *change.mtime);
  ASSERT_TRUE(fs_->release(opened->fh).is_ok());
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(stat("a").mtime, *change.mtime);
  EXPECT_EQ(cat("a"), std::string(7000, 'a'));
}

TEST_F(TakeOverTest, AWriteBeforeUtimesIsKnownToLaterHandles) {
  put("a", std::string(7000, 'a'));
  ASSERT_TRUE(fs_->sync().is_ok());
  const Ino ino = stat("a").ino;
  auto first = fs_->open(kernel(), ino, O_RDWR);
  ASSERT_TRUE(first.is_ok());
  ASSERT_EQ(::pwrite(first->backing->fd(), "new", 3, 0), 3);
  SetAttributes change;
  change.mtime = 1'050'338'007'134'384'753;
  ASSERT_TRUE(fs_->set_attributes(kernel(), ino, change, {}).is_ok());
  auto second = fs_->open(kernel(), ino, O_RDWR);
  ASSERT_TRUE(second.is_ok());
  ASSERT_TRUE(fs_->release(first->fh).is_ok());
  die_and_take_over();
  EXPECT_EQ(cat("a"), "new" + std::string(6997, 'a'));
  ASSERT_TRUE(fs_->release(second->fh).is_ok());
  EXPECT_EQ(cat("a"), "new" + std::string(6997, 'a'));
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(cat("a"), "new" + std::string(6997, 'a'));
  EXPECT_EQ(stat("a").mtime, *change.mtime);
}

TEST_F(TakeOverTest, ClosedAndUnsettledFilesAndTruncatedOnesKeepTheirBytes) {
  put("old", std::string(200'000, 'o'));
  ASSERT_TRUE(fs_->sync().is_ok());
  Created small = create("small");
  content::LocalFileRef kernels = small.opened.backing;
  ASSERT_EQ(::pwrite(kernels->fd(), "small", 5, 0), 5);
  ASSERT_TRUE(fs_->release(small.opened.fh).is_ok());
  auto writer = fs_->open(kernel(), stat("old").ino, O_WRONLY | O_TRUNC);
  ASSERT_TRUE(writer.is_ok());
  ASSERT_EQ(writer->path, Path::kDirect);
  ASSERT_EQ(::pwrite(writer->backing->fd(), "fresh", 5, 0), 5);
  die_and_take_over();
  EXPECT_EQ(cat("small"), "small");
  EXPECT_EQ(stat("old").size, 5u);
  ASSERT_TRUE(fs_->release(writer->fh).is_ok());
  EXPECT_EQ(cat("old"), "fresh");
  ASSERT_TRUE(fs_->sync().is_ok());
  EXPECT_EQ(cat("small"), "small");
  EXPECT_EQ(cat("old"), "fresh");
}

TEST_F(TakeOverTest, RewriteThatWasClosedIsNotLostToAReader) {
  put("old", std::string(200'000, 'o'));
  ASSERT_TRUE(fs_->sync().is_ok());
  for (const std::string& bytes : {std::string("fresh"), std::string(300'000, 'f')}) {
    auto writer = fs_->open(kernel(), stat("old").ino, O_WRONLY | O_TRUNC);
    ASSERT_TRUE(writer.is_ok());
    ASSERT_EQ(::pwrite(writer->backing->fd(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    ASSERT_TRUE(fs_->release(writer->fh).is_ok());
    auto reader = fs_->open(kernel(), stat("old").ino, O_RDONLY);
    ASSERT_TRUE(reader.is_ok());
    die_and_take_over();
    EXPECT_EQ(stat("old").size, bytes.size());
    ASSERT_TRUE(fs_->release(reader->fh).is_ok());
    ASSERT_TRUE(fs_->sync().is_ok());
    EXPECT_EQ(cat("old"), bytes);
  }
}

TEST_F(TakeOverTest, ReaderOfAFileThatSettledElsewhereGoesOn) {
  for (const std::string& bytes : {std::string(), std::string("in a pack")}) {
    Created made = create("a");
    ASSERT_EQ(::pwrite(made.opened.backing->fd(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    ASSERT_TRUE(fs_->fsync(made.opened.fh, false).is_ok());  // so that it has a name
    ASSERT_TRUE(fs_->release(made.opened.fh).is_ok());
    auto reader = fs_->open(kernel(), made.attributes.ino, O_RDONLY);
    ASSERT_TRUE(reader.is_ok());
    ASSERT_TRUE(fs_->sync().is_ok());
    die_and_take_over();
    EXPECT_TRUE(fs_->sync().is_ok());
    std::string read(20, '\0');
    auto count = fs_->read(reader->fh, 0, std::as_writable_bytes(std::span(read)));
    ASSERT_TRUE(count.is_ok()) << count.status().to_string();
    EXPECT_EQ(read.substr(0, *count), bytes);
    auto writer = fs_->open(kernel(), made.attributes.ino, O_WRONLY);
    EXPECT_TRUE(writer.is_ok()) << writer.status().to_string();
    if (writer.is_ok()) static_cast<void>(fs_->release(writer->fh));
    ASSERT_TRUE(fs_->release(reader->fh).is_ok());
    ASSERT_TRUE(fs_->unlink(kernel(), kRootIno, "a").is_ok());
  }
}

}  // namespace
}  // namespace tarn::fs
