// Hidden files, twins, and the origin of directories: what S3 and POSIX see of the same names.
#include <gmock/gmock.h>

#include "meta/test_support.h"

namespace tarn::meta {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

template <class Engine>
class NamesTest : public MetaTest<Engine> {
 protected:
  Result<std::vector<Removed>> remove_up(
      Ino dir, std::string_view removed,
      const std::function<bool(Ino)>& is_in_use = [](Ino) { return false; }) {
    Context context = this->s3();
    return this->commit([&](auto& txn) -> Result<std::vector<Removed>> {
      if (!removed.empty()) {
        TARN_TRY(unlink(txn, context, dir, removed));
      }
      return remove_implied(txn, context, dir, removed, is_in_use);
    });
  }
  Result<InodeRow> s3_file(Ino parent, std::string_view name) {
    return this->s3_make(parent, name, S_IFREG | 0644);
  }
  Result<InodeRow> s3_directory(Ino parent, std::string_view name) {
    return this->s3_make(parent, name, S_IFDIR | 0755);
  }
};
TYPED_TEST_SUITE(NamesTest, Engines);

TYPED_TEST(NamesTest, DirectoryHidesAFileOfS3) {
  Ino file = this->s3_file(kRootIno, "a").value().ino;
  Ino dir = this->s3_directory(kRootIno, "a").value().ino;
  EXPECT_EQ(this->look(kRootIno, "a").value().ino, dir);
  auto hidden = this->look(kRootIno, "a", true).value();
  EXPECT_EQ(hidden.ino, file);
  EXPECT_TRUE(hidden.is_hidden);
  EXPECT_THAT(this->names(kRootIno), ElementsAre("a/"));
  EXPECT_THAT(this->names(kRootIno, true), ElementsAre("a", "a/"));
  EXPECT_EQ(this->findings(), "");
  // For POSIX it does not exist, and its name is the directory's.
  EXPECT_EQ(this->remove_file(kRootIno, "a").code(), Code::kIsDirectory);
  EXPECT_EQ(this->file(kRootIno, "a").code(), Code::kExists);
  EXPECT_EQ(this->hard_link(file, kRootIno, "a").code(), Code::kExists);
  Ino other = this->file(kRootIno, "b").value().ino;
  EXPECT_EQ(this->move(kRootIno, "b", kRootIno, "a").code(), Code::kIsDirectory);
  EXPECT_EQ(this->hard_link(other, kRootIno, "a").code(), Code::kExists);
  // It comes to light in the transaction that removes the directory.
  auto removed = this->remove_dir(kRootIno, "a").value();
  EXPECT_EQ(removed.uncovered->ino, file);
  EXPECT_FALSE(this->look(kRootIno, "a").value().is_hidden);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(NamesTest, HidingIsRefused) {
  this->file(kRootIno, "posix").value();
  EXPECT_EQ(this->s3_directory(kRootIno, "posix").code(), Code::kExists);
  this->s3_file(kRootIno, "a").value();
  EXPECT_EQ(this->directory(kRootIno, "a").code(), Code::kExists);
  EXPECT_EQ(this->s3_make(kRootIno, "a", S_IFDIR | 0755, Origin::kImplied, Twin::kRefuse).code(),
            Code::kExists);
  // What POSIX wrote last is no more S3's.
  Ino file = this->s3_file(kRootIno, "b").value().ino;
  ContentChange change;
  change.is_s3_written = false;
  this->commit([&](auto& txn) { return set_content(txn, this->tick(), file, change); }).value();
  EXPECT_EQ(this->s3_directory(kRootIno, "b").code(), Code::kExists);
  // mkdir on an implied directory is EEXIST.
  this->s3_directory(kRootIno, "implied").value();
  EXPECT_EQ(this->directory(kRootIno, "implied").code(), Code::kExists);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(NamesTest, FileBesideADirectoryIsHidden) {
  this->directory(kRootIno, "a").value();
  Ino file = this->s3_file(kRootIno, "a").value().ino;
  EXPECT_TRUE(this->look(kRootIno, "a", true).value().is_hidden);
  EXPECT_EQ(this->findings(), "");
  // S3 replaces and deletes it where it is.
  NewInode fresh = new_inode(this->new_ino(), S_IFREG | 0600);
  fresh.is_s3_written = true;
  Context context = this->s3();
  auto placed = this->commit([&](auto& txn) -> Result<Renamed> {
    TARN_TRY(create_unnamed(txn, context, fresh));
    return place(txn, context, fresh.ino, kRootIno, "a", true, Twin::kHide);
  });
  EXPECT_EQ(placed.value().replaced->ino, file);
  EXPECT_TRUE(placed.value().moved.is_hidden);
  EXPECT_EQ(this->findings(), "");
  context = this->s3();
  auto gone = this->commit([&](auto& txn) { return unlink(txn, context, kRootIno, "a"); });
  EXPECT_EQ(gone.value().inode.ino, fresh.ino);
  EXPECT_THAT(this->names(kRootIno, true), ElementsAre("a/"));
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(NamesTest, HiddenFilesMoveWithNoRename) {
  Ino file = this->s3_file(kRootIno, "a").value().ino;
  this->s3_directory(kRootIno, "a").value();
  auto renamed = this->move(kRootIno, "a", kRootIno, "b").value();
  EXPECT_EQ(renamed.uncovered->ino, file);
  EXPECT_EQ(this->look(kRootIno, "a").value().ino, file);
  EXPECT_THAT(this->names(kRootIno, true), ElementsAre("a", "b/"));
  EXPECT_EQ(this->findings(), "");
  // Under a directory that replaces the one above it, it stays hidden.
  this->s3_file(kRootIno, "b").value();
  this->directory(kRootIno, "c").value();
  EXPECT_FALSE(this->move(kRootIno, "c", kRootIno, "b").value().uncovered);
  EXPECT_TRUE(this->look(kRootIno, "b", true).value().is_hidden);
  EXPECT_EQ(this->findings(), "");
  RenameOptions exchange{.exchange = true};
  EXPECT_EQ(this->move(kRootIno, "a", kRootIno, "b", exchange).code(), Code::kExists);
  this->directory(kRootIno, "d").value();
  EXPECT_TRUE(this->move(kRootIno, "b", kRootIno, "d", exchange));
  EXPECT_TRUE(this->look(kRootIno, "b", true).value().is_hidden);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(NamesTest, OneNameOfALinkedFileCanBeHidden) {
  Ino file = this->s3_file(kRootIno, "a").value().ino;
  this->hard_link(file, kRootIno, "b").value();
  this->s3_directory(kRootIno, "a").value();
  EXPECT_TRUE(this->look(kRootIno, "a", true).value().is_hidden);
  EXPECT_FALSE(this->look(kRootIno, "b").value().is_hidden);
  EXPECT_EQ(this->findings(), "");
  this->remove_dir(kRootIno, "a").value();
  EXPECT_EQ(this->look(kRootIno, "a").value().ino, file);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(NamesTest, AHiddenFileCanBecomeALinkedOne) {
  Ino file = this->s3_file(kRootIno, "a").value().ino;
  this->s3_directory(kRootIno, "a").value();
  this->hard_link(file, kRootIno, "b").value();
  EXPECT_THAT(this->names(kRootIno), ElementsAre("a/", "b"));
  EXPECT_EQ(this->findings(), "");
  this->remove_dir(kRootIno, "a").value();
  EXPECT_THAT(this->names(kRootIno), ElementsAre("a", "b"));
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(NamesTest, PosixPromotesAnImpliedDirectory) {
  auto origin = [&](Ino ino) { return this->inode(ino).value().origin; };
  int made = 0;
  auto fresh = [&] { return this->s3_directory(kRootIno, std::to_string(made++)).value().ino; };
  Ino dir = fresh();
  this->s3_file(dir, "f").value();
  EXPECT_EQ(origin(dir), Origin::kImplied);
  this->move(dir, "f", dir, "g").value();
  EXPECT_EQ(origin(dir), Origin::kPosix);
  dir = fresh();
  this->file(dir, "f").value();
  EXPECT_EQ(origin(dir), Origin::kPosix);
  dir = fresh();
  this->s3_file(dir, "f").value();
  this->remove_file(dir, "f").value();
  EXPECT_EQ(origin(dir), Origin::kPosix);
  dir = fresh();
  AttributeChange change;
  change.mode = 0700;
  auto changed =
      this->commit([&](auto& txn) { return set_attributes(txn, this->tick(), dir, change); });
  EXPECT_EQ(changed.value().origin, Origin::kPosix);
  EXPECT_EQ(origin(dir), Origin::kPosix);
  dir = fresh();
  EXPECT_TRUE(this->commit([&](auto& txn) {
    return set_xattr(txn, this->tick(), dir, "user.a", "1", XattrMode::kEither);
  }));
  EXPECT_EQ(origin(dir), Origin::kPosix);
  // S3's own changes leave it implied; an explicit one stays explicit.
  dir = fresh();
  Context context = this->s3();
  this->commit([&](auto& txn) { return set_attributes(txn, context, dir, change); }).value();
  EXPECT_EQ(origin(dir), Origin::kImplied);
  Ino known = this->s3_make(kRootIno, "known", S_IFDIR | 0755, Origin::kExplicit).value().ino;
  this->file(known, "f").value();
  EXPECT_EQ(origin(known), Origin::kExplicit);
}

TYPED_TEST(NamesTest, ImpliedDirectoriesGoUpwards) {
  Ino a = this->s3_directory(kRootIno, "a").value().ino;
  Ino b = this->s3_directory(a, "b").value().ino;
  Ino c = this->s3_directory(b, "c").value().ino;
  this->s3_file(c, "x").value();
  this->s3_file(c, "y").value();
  EXPECT_THAT(this->remove_up(c, "x").value(), IsEmpty());
  this->s3_file(a, "b").value();  // hidden beside b/
  auto removed = this->remove_up(c, "y").value();
  ASSERT_EQ(removed.size(), 2u);
  EXPECT_EQ(removed[0].inode.ino, c);
  EXPECT_EQ(removed[1].inode.ino, b);
  EXPECT_TRUE(removed[1].uncovered);
  EXPECT_THAT(this->names(a), ElementsAre("b"));
  EXPECT_EQ(this->findings(), "");
  EXPECT_EQ(this->remove_up(a, "b").value().size(), 1u);
  EXPECT_THAT(this->names(kRootIno), IsEmpty());
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(NamesTest, ImpliedDirectoriesThatStay) {
  Ino used = this->s3_directory(kRootIno, "used").value().ino;
  this->s3_file(used, "x").value();
  EXPECT_THAT(this->remove_up(used, "x", [](Ino) { return true; }).value(), IsEmpty());
  Ino posix = this->directory(kRootIno, "posix").value().ino;
  this->s3_file(posix, "x").value();
  EXPECT_THAT(this->remove_up(posix, "x").value(), IsEmpty());
  Ino known = this->s3_make(kRootIno, "known", S_IFDIR | 0755, Origin::kExplicit).value().ino;
  EXPECT_THAT(this->remove_up(known, "").value(), IsEmpty());
  EXPECT_THAT(this->remove_up(kRootIno, "").value(), IsEmpty());
  Ino full = this->s3_directory(kRootIno, "full").value().ino;
  for (int i = 0; i < 300; ++i) this->s3_file(full, std::to_string(i)).value();
  EXPECT_THAT(this->remove_up(full, "7").value(), IsEmpty());
  EXPECT_THAT(this->names(kRootIno), ElementsAre("full/", "known/", "posix/", "used/"));
  EXPECT_EQ(this->findings(), "");
}

}  // namespace
}  // namespace tarn::meta
