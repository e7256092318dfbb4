// Every operation of meta.h with its errors, alone, on every engine.
#include <set>
#include <thread>

#include <gmock/gmock.h>

#include "base/limits.h"
#include "meta/ops/support.h"
#include "meta/test_support.h"

namespace tarn::meta {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

template <class Engine>
class OperationsTest : public MetaTest<Engine> {};
TYPED_TEST_SUITE(OperationsTest, Engines);

TYPED_TEST(OperationsTest, FormatMakesARootOnce) {
  auto root = this->inode(kRootIno).value();
  EXPECT_TRUE(root.is_directory());
  EXPECT_EQ(root.mode & 07777, 0755u);
  EXPECT_EQ(root.nlink, 2u);
  ASSERT_TRUE(format(this->store(), 7, 7, 1));
  EXPECT_EQ(this->inode(kRootIno).value(), root);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, CreateFillsTheRowAndTheParent) {
  NewInode inode = new_inode(this->new_ino(), S_IFREG | 0640);
  inode.uid = 5;
  inode.gid = 6;
  inode.size = 100;
  inode.blocks = 8;
  inode.content = "bytes";
  inode.state = ContentState::kOpen;
  inode.grant = {100, 11, 12};
  inode.etag = "e";
  inode.mtime = 42;
  inode.xattrs = {{"user.a", "1"}, {"user.b", ""}};
  Context context = this->tick();
  auto made = this->commit([&](auto& txn) { return create(txn, context, kRootIno, "f", inode); });
  auto row = this->look(kRootIno, "f").value();
  EXPECT_EQ(row, made.value());
  EXPECT_EQ(row.nlink, 1u);
  EXPECT_EQ(row.parent, kRootIno);
  EXPECT_EQ(row.name, "f");
  EXPECT_EQ(row.mtime, 42);
  EXPECT_EQ(row.ctime, context.now);
  EXPECT_EQ(row.generation, Generation{1});
  EXPECT_EQ(row.grant, inode.grant);
  EXPECT_TRUE(row.has_xattrs);
  auto root = this->inode(kRootIno).value();
  EXPECT_EQ(root.size, 1u);
  EXPECT_EQ(root.nlink, 2u);
  EXPECT_EQ(root.mtime, context.now);
  EXPECT_EQ(root.ctime, context.now);
  this->directory(kRootIno, "d").value();
  EXPECT_EQ(this->inode(kRootIno).value().nlink, 3u);
  this->make(kRootIno, "fifo", S_IFIFO | 0600).value();
  this->make(kRootIno, "link", S_IFLNK | 0777).value();
  EXPECT_THAT(this->names(kRootIno), ElementsAre("d/", "f", "fifo", "link"));
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, CreateRefuses) {
  Ino file = this->file(kRootIno, "a").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  EXPECT_EQ(this->file(kRootIno, "a").code(), Code::kExists);
  EXPECT_EQ(this->directory(kRootIno, "a").code(), Code::kExists);
  EXPECT_EQ(this->file(kRootIno, "d").code(), Code::kExists);
  EXPECT_EQ(this->directory(kRootIno, "d").code(), Code::kExists);
  EXPECT_EQ(this->file(file, "x").code(), Code::kNotDirectory);
  EXPECT_EQ(this->file(Ino{999'999}, "x").code(), Code::kStale);
  EXPECT_EQ(this->make(kRootIno, "x", 0644).code(), Code::kInvalidArgument);
  this->remove_dir(kRootIno, "d").value();
  EXPECT_EQ(this->file(dir, "x").code(), Code::kNotFound);
  for (const char* name : {"", ".", "..", "a/b"}) {
    EXPECT_EQ(this->file(kRootIno, name).code(), Code::kInvalidArgument) << name;
  }
  EXPECT_EQ(this->file(kRootIno, std::string_view("a\0b", 3)).code(), Code::kInvalidArgument);
  EXPECT_EQ(this->file(kRootIno, std::string(256, 'n')).code(), Code::kNameTooLong);
  EXPECT_TRUE(this->file(kRootIno, std::string(255, 'n')));
  EXPECT_TRUE(this->directory(kRootIno, std::string(255, 'm')));
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, LookupAndItsBudget) {
  Ino file = this->file(kRootIno, "a").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  EXPECT_EQ(this->cost([&] { EXPECT_EQ(this->look(kRootIno, "a").value().ino, file); }).reads, 1u);
  EXPECT_EQ(this->cost([&] { EXPECT_EQ(this->look(kRootIno, "d").value().ino, dir); }).reads, 2u);
  EXPECT_EQ(
      this->cost([&] { EXPECT_EQ(this->look(kRootIno, "none").code(), Code::kNotFound); }).reads,
      2u);
  EXPECT_EQ(this->cost([&] { EXPECT_TRUE(this->inode(dir)); }).reads, 1u);
  EXPECT_EQ(this->look(file, "a").code(), Code::kNotFound);
  EXPECT_EQ(this->look(kRootIno, "..").code(), Code::kInvalidArgument);
  EXPECT_EQ(this->inode(Ino{999'999}).code(), Code::kStale);
  auto txn = this->store().begin();
  EXPECT_EQ(get_inode_tracked(*txn, file).value().ino, file);
}

TYPED_TEST(OperationsTest, BudgetsOfChanges) {
  Ino dir = this->directory(kRootIno, "d").value().ino;
  auto create = this->cost([&] { this->file(dir, "a").value(); });
  EXPECT_EQ(create.reads, 3u);  // alive, the name, its sibling
  EXPECT_EQ(create.rows, 6u);   // entry, inode, guard, parent's delta, counters, log record
  auto mkdir = this->cost([&] { this->directory(dir, "s").value(); });
  EXPECT_EQ(mkdir.reads, 3u);
  EXPECT_EQ(mkdir.rows, 7u);  // and alive
  auto rename = this->cost([&] { this->move(dir, "a", kRootIno, "b").value(); });
  EXPECT_EQ(rename.reads, 4u);  // source, alive, target and its sibling
  EXPECT_EQ(rename.rows, 7u);   // two entries, inode, guard, two deltas, log record
  auto unlink = this->cost([&] { this->remove_file(kRootIno, "b").value(); });
  EXPECT_EQ(unlink.reads, 1u);
  EXPECT_EQ(unlink.rows, 5u);  // entry, inode, unlinked, parent's delta, log record
  auto rmdir = this->cost([&] { this->remove_dir(dir, "s").value(); });
  EXPECT_EQ(rmdir.reads, 4u);  // entry, guard, scan, hidden sibling
}

TYPED_TEST(OperationsTest, ReadDirectoryOfAThousandIsOneRoundTrip) {
  Ino dir = this->directory(kRootIno, "d").value().ino;
  for (int i = 0; i < 1000; ++i) this->file(dir, "f" + std::to_string(i)).value();
  size_t seen = 0;
  auto cost = this->cost([&] {
    EXPECT_TRUE(this->commit([&](auto& txn) {
      return read_directory(txn, dir, {}, true, false, [&](const DirectoryEntry& entry) {
        EXPECT_EQ(entry.attributes->mode, S_IFREG | 0644u);
        ++seen;
        return true;
      });
    }));
  });
  EXPECT_EQ(seen, 1000u);
  EXPECT_EQ(cost.reads, 1u);
}

TYPED_TEST(OperationsTest, ReadDirectoryIsInTheOrderOfS3Keys) {
  for (const char* name : {"a.b", "b", "a-c", "a0"}) this->file(kRootIno, name).value();
  Ino sub = this->directory(kRootIno, "a").value().ino;
  this->file(sub, "x").value();
  EXPECT_THAT(this->names(kRootIno), ElementsAre("a-c", "a.b", "a/", "a0", "b"));
  std::vector<std::string> rest;
  auto list = [&](std::string_view after, size_t count) {
    rest.clear();
    return this->commit([&](auto& txn) {
      return read_directory(txn, kRootIno, after, true, false, [&](const DirectoryEntry& entry) {
        rest.push_back(key_name(entry));
        EXPECT_EQ(entry.attributes->ino, entry.ino);
        // The visitor may read: every engine must allow it.
        EXPECT_EQ(*entry.attributes, listed_attributes(get_inode(txn, entry.ino).value()));
        return rest.size() < count;
      });
    });
  };
  EXPECT_TRUE(list("a.b", 2));
  EXPECT_THAT(rest, ElementsAre("a/", "a0"));
  EXPECT_TRUE(list("b", 9));
  EXPECT_THAT(rest, IsEmpty());
  EXPECT_EQ(this->inode(sub).value().size, 1u);
  Ino file = this->look(kRootIno, "b").value().ino;
  auto read = [&](Ino ino) {
    return this->commit([&](auto& txn) {
      return read_directory(txn, ino, {}, true, false, [](const DirectoryEntry&) { return true; });
    });
  };
  EXPECT_EQ(read(file).code(), Code::kNotDirectory);
  EXPECT_EQ(read(Ino{999'999}).code(), Code::kStale);
  EXPECT_TRUE(read(this->directory(kRootIno, "empty").value().ino));
}

TYPED_TEST(OperationsTest, PathOf) {
  Ino a = this->directory(kRootIno, "a").value().ino;
  Ino b = this->directory(a, "b").value().ino;
  Ino file = this->file(b, "f").value().ino;
  auto path = [&](Ino ino) { return this->commit([&](auto& txn) { return path_of(txn, ino); }); };
  EXPECT_THAT(path(file).value(), ElementsAre("a", "b", "f"));
  EXPECT_THAT(path(kRootIno).value(), IsEmpty());
  this->move(a, "b", kRootIno, "c").value();
  EXPECT_THAT(path(file).value(), ElementsAre("c", "f"));
  this->hard_link(file, a, "g").value();
  EXPECT_EQ(path(file).code(), Code::kNotFound);
}

TYPED_TEST(OperationsTest, UnlinkKeepsTheInodeUntilForget) {
  Ino file = this->file(kRootIno, "a").value().ino;
  this->directory(kRootIno, "d").value();
  auto removed = this->remove_file(kRootIno, "a").value();
  EXPECT_EQ(removed.inode.ino, file);
  EXPECT_EQ(removed.inode.nlink, 0u);
  EXPECT_EQ(this->inode(file).value(), removed.inode);
  EXPECT_EQ(this->look(kRootIno, "a").code(), Code::kNotFound);
  EXPECT_EQ(this->remove_file(kRootIno, "a").code(), Code::kNotFound);
  EXPECT_EQ(this->remove_file(kRootIno, "d").code(), Code::kIsDirectory);
  auto unlinked = [&] {
    std::vector<Ino> out;
    EXPECT_TRUE(this->commit([&](auto& txn) {
      return read_unlinked(txn, [&](Ino ino) {
        out.push_back(ino);
        return true;
      });
    }));
    return out;
  };
  EXPECT_THAT(unlinked(), ElementsAre(file));
  EXPECT_EQ(this->findings(), "");
  EXPECT_EQ(this->end(file).value().ino, file);
  EXPECT_THAT(unlinked(), IsEmpty());
  EXPECT_EQ(this->inode(file).code(), Code::kStale);
  EXPECT_EQ(this->end(file).code(), Code::kNotFound);
  EXPECT_EQ(this->end(kRootIno).code(), Code::kNotFound);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, RmdirAndItsErrors) {
  Ino dir = this->directory(kRootIno, "d").value().ino;
  this->file(dir, "f").value();
  EXPECT_EQ(this->remove_dir(kRootIno, "d").code(), Code::kNotEmpty);
  EXPECT_EQ(this->remove_dir(kRootIno, "none").code(), Code::kNotFound);
  EXPECT_EQ(this->remove_dir(dir, "f").code(), Code::kNotDirectory);
  this->remove_file(dir, "f").value();
  auto removed = this->remove_dir(kRootIno, "d").value();
  EXPECT_EQ(removed.inode.nlink, 0u);
  EXPECT_EQ(this->inode(dir).value(), removed.inode);
  EXPECT_EQ(this->inode(kRootIno).value().nlink, 2u);
  EXPECT_EQ(this->findings(), "");
  this->end(dir).value();
  // A delta that arrives late finds nothing and makes nothing.
  auto txn = this->store().begin();
  txn->merge(ino_key(Prefix::kInode, dir), "\x01\x01\x02");
  EXPECT_TRUE(txn->commit());
  EXPECT_EQ(this->inode(dir).code(), Code::kStale);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, Link) {
  Ino file = this->file(kRootIno, "a").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  auto row = this->hard_link(file, dir, "b").value();
  EXPECT_EQ(row.nlink, 2u);
  EXPECT_TRUE(row.is_linked);
  EXPECT_EQ(this->look(kRootIno, "a").value(), row);
  EXPECT_EQ(this->look(dir, "b").value(), row);
  EXPECT_EQ(this->hard_link(file, dir, "b").code(), Code::kExists);
  EXPECT_EQ(this->hard_link(file, kRootIno, "d").code(), Code::kExists);
  EXPECT_EQ(this->hard_link(dir, kRootIno, "e").code(), Code::kNotPermitted);
  EXPECT_EQ(this->hard_link(file, file, "e").code(), Code::kNotDirectory);
  EXPECT_EQ(this->hard_link(Ino{999'999}, dir, "e").code(), Code::kStale);
  EXPECT_EQ(this->findings(), "");
  EXPECT_EQ(this->remove_file(kRootIno, "a").value().inode.nlink, 1u);
  AttributeChange change;
  change.mode = 0600;
  this->commit([&](auto& txn) { return set_attributes(txn, this->tick(), file, change); }).value();
  EXPECT_EQ(this->look(dir, "b").value().mode & 07777, 0600u);
  EXPECT_EQ(this->remove_file(dir, "b").value().inode.nlink, 0u);
  EXPECT_EQ(this->hard_link(file, dir, "b").code(), Code::kNotFound);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, LinksHaveALimit) {
  Ino file = this->file(kRootIno, "a").value().ino;
  this->hard_link(file, kRootIno, "b").value();
  EXPECT_TRUE(this->commit([&](auto& txn) -> Status {
    TARN_ASSIGN(InodeRow row, get_inode(txn, file));
    row.nlink = limits::kLinksMax;
    txn.put(ino_key(Prefix::kInode, row.ino), encode_inode(row));
    return {};
  }));
  EXPECT_EQ(this->hard_link(file, kRootIno, "c").code(), Code::kTooManyLinks);
}

TYPED_TEST(OperationsTest, RenameOfFiles) {
  Ino a = this->file(kRootIno, "a").value().ino;
  Ino b = this->file(kRootIno, "b").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  auto moved = this->move(kRootIno, "a", dir, "x").value();
  EXPECT_EQ(moved.moved.parent, dir);
  EXPECT_EQ(moved.moved.name, "x");
  EXPECT_FALSE(moved.replaced);
  EXPECT_EQ(this->look(dir, "x").value(), moved.moved);
  EXPECT_EQ(this->inode(dir).value().size, 1u);
  EXPECT_EQ(this->move(dir, "x", kRootIno, "b", {.no_replace = true}).code(), Code::kExists);
  EXPECT_EQ(this->move(dir, "x", kRootIno, "d", {.no_replace = true}).code(), Code::kExists);
  EXPECT_EQ(this->move(dir, "x", kRootIno, "d").code(), Code::kIsDirectory);
  EXPECT_EQ(this->move(dir, "none", kRootIno, "b").code(), Code::kNotFound);
  EXPECT_EQ(this->move(dir, "x", b, "y").code(), Code::kNotDirectory);
  moved = this->move(dir, "x", kRootIno, "b").value();
  EXPECT_EQ(moved.replaced->ino, b);
  EXPECT_EQ(moved.replaced->nlink, 0u);
  EXPECT_EQ(this->look(kRootIno, "b").value().ino, a);
  EXPECT_TRUE(this->move(kRootIno, "b", kRootIno, "b"));
  EXPECT_EQ(this->move(kRootIno, "b", kRootIno, "b", {.no_replace = true}).code(), Code::kExists);
  EXPECT_EQ(this->move(kRootIno, "b", kRootIno, "c", {true, true}).code(), Code::kInvalidArgument);
  EXPECT_EQ(this->findings(), "");
  // Two names of one file: nothing happens.
  this->hard_link(a, dir, "z").value();
  size_t records = this->changes().size();
  EXPECT_TRUE(this->move(kRootIno, "b", dir, "z"));
  EXPECT_EQ(this->changes().size(), records);
  EXPECT_THAT(this->names(kRootIno), ElementsAre("b", "d/"));
  EXPECT_THAT(this->names(dir), ElementsAre("z"));
  EXPECT_TRUE(this->move(dir, "z", dir, "y"));
  EXPECT_EQ(this->look(dir, "y").value().nlink, 2u);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, RenameOfDirectories) {
  Ino a = this->directory(kRootIno, "a").value().ino;
  Ino b = this->directory(a, "b").value().ino;
  Ino c = this->directory(kRootIno, "c").value().ino;
  this->file(c, "f").value();
  EXPECT_EQ(this->move(kRootIno, "a", a, "x").code(), Code::kInvalidArgument);
  EXPECT_EQ(this->move(kRootIno, "a", b, "x").code(), Code::kInvalidArgument);
  EXPECT_EQ(this->move(kRootIno, "a", kRootIno, "c").code(), Code::kNotEmpty);
  EXPECT_EQ(this->move(kRootIno, "a", c, "f").code(), Code::kNotDirectory);
  EXPECT_EQ(this->move(kRootIno, "c", a, "b").value().replaced->ino, b);
  EXPECT_EQ(this->inode(kRootIno).value().nlink, 3u);
  EXPECT_EQ(this->inode(a).value().nlink, 3u);
  EXPECT_EQ(this->inode(c).value().parent, a);
  EXPECT_EQ(this->file(b, "x").code(), Code::kNotFound);
  EXPECT_TRUE(this->file(c, "x"));
  EXPECT_TRUE(this->move(kRootIno, "a", kRootIno, "z"));
  EXPECT_EQ(this->move(kRootIno, "z", b, "x").code(), Code::kNotFound);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, Exchange) {
  RenameOptions exchange{.exchange = true};
  Ino file = this->file(kRootIno, "f").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  Ino inner = this->directory(dir, "i").value().ino;
  EXPECT_EQ(this->move(kRootIno, "f", kRootIno, "none", exchange).code(), Code::kNotFound);
  EXPECT_EQ(this->move(kRootIno, "d", dir, "i", exchange).code(), Code::kInvalidArgument);
  EXPECT_EQ(this->move(dir, "i", kRootIno, "d", exchange).code(), Code::kInvalidArgument);
  EXPECT_TRUE(this->move(kRootIno, "f", dir, "i", exchange));
  EXPECT_EQ(this->look(dir, "i").value().ino, file);
  EXPECT_EQ(this->look(kRootIno, "f").value().ino, inner);
  EXPECT_EQ(this->inode(kRootIno).value().nlink, 4u);
  EXPECT_EQ(this->inode(dir).value().nlink, 2u);
  EXPECT_TRUE(this->move(kRootIno, "f", kRootIno, "d", exchange));
  EXPECT_EQ(this->look(kRootIno, "d").value().ino, inner);
  EXPECT_EQ(this->findings(), "");
  Ino other = this->file(kRootIno, "o").value().ino;
  EXPECT_TRUE(this->move(kRootIno, "o", dir, "i", exchange));
  EXPECT_EQ(this->look(dir, "i").value().ino, other);
  EXPECT_TRUE(this->move(dir, "i", kRootIno, "d", exchange));
  EXPECT_EQ(this->look(kRootIno, "d").value().ino, other);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, PlaceReplacesInOneStep) {
  Ino old = this->file(kRootIno, "a").value().ino;
  this->directory(kRootIno, "d").value();
  NewInode fresh = new_inode(this->new_ino(), S_IFREG | 0600);
  fresh.size = 10;
  auto unnamed =
      this->commit([&](auto& txn) { return create_unnamed(txn, this->tick(), fresh); }).value();
  EXPECT_EQ(unnamed.nlink, 0u);
  EXPECT_EQ(this->findings(), "");
  auto put = [&](Ino ino, std::string_view name, bool may_replace) {
    return this->commit(
        [&](auto& txn) { return place(txn, this->tick(), ino, kRootIno, name, may_replace); });
  };
  EXPECT_EQ(put(fresh.ino, "a", false).code(), Code::kExists);
  EXPECT_EQ(put(fresh.ino, "d", true).code(), Code::kIsDirectory);
  EXPECT_EQ(put(fresh.ino, "d", false).code(), Code::kExists);
  auto placed = put(fresh.ino, "a", true).value();
  EXPECT_EQ(placed.replaced->ino, old);
  EXPECT_EQ(placed.moved.nlink, 1u);
  EXPECT_EQ(this->look(kRootIno, "a").value(), placed.moved);
  EXPECT_EQ(put(fresh.ino, "b", true).code(), Code::kNotFound);
  EXPECT_EQ(put(Ino{999'999}, "b", true).code(), Code::kStale);
  EXPECT_EQ(this->findings(), "");
  EXPECT_TRUE(put(old, "b", false));
  EXPECT_EQ(this->findings(), "");
  NewInode dir = new_inode(this->new_ino(), S_IFDIR | 0700);
  EXPECT_EQ(this->commit([&](auto& txn) { return create_unnamed(txn, this->tick(), dir); }).code(),
            Code::kIsDirectory);
}

TYPED_TEST(OperationsTest, SetAttributes) {
  Ino file = this->file(kRootIno, "f").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  auto set = [&](Ino ino, const AttributeChange& change) {
    return this->commit([&](auto& txn) { return set_attributes(txn, this->tick(), ino, change); });
  };
  AttributeChange change;
  change.mode = S_IFCHR | 04711;
  change.uid = 1;
  change.gid = 2;
  change.atime = 3;
  change.mtime = 4;
  change.is_sealed = true;
  for (Ino ino : {file, dir}) {
    auto row = set(ino, change).value();
    EXPECT_EQ(row, this->inode(ino).value());
    EXPECT_EQ(row.mode & 07777, 04711u);
    EXPECT_EQ(row.mode & S_IFMT, ino == file ? S_IFREG : S_IFDIR);
    EXPECT_EQ(row.uid, 1u);
    EXPECT_EQ(row.gid, 2u);
    EXPECT_EQ(row.atime, 3);
    EXPECT_EQ(row.mtime, 4);
    EXPECT_EQ(row.ctime, this->context_.now);
    EXPECT_TRUE(row.is_sealed);
  }
  AttributeChange size;
  size.size = 77;
  size.blocks = 8;
  EXPECT_EQ(set(file, size).value().size, 77u);
  EXPECT_EQ(set(dir, size).code(), Code::kIsDirectory);
  EXPECT_EQ(set(Ino{999'999}, size).code(), Code::kStale);
  AttributeChange origin;
  origin.origin = Origin::kExplicit;
  EXPECT_EQ(set(file, origin).code(), Code::kNotDirectory);
  EXPECT_EQ(set(dir, origin).value().origin, Origin::kExplicit);
  AttributeChange times;
  times.ctime = 9;
  EXPECT_EQ(set(file, times).value().ctime, 9);
  EXPECT_EQ(set(dir, times).value().ctime, 9);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, TimesOfADirectoryFollowCommits) {
  Ino dir = this->directory(kRootIno, "d").value().ino;
  AttributeChange future;
  future.mtime = this->context_.now + 1000 * kSecondNs;
  this->commit([&](auto& txn) { return set_attributes(txn, this->tick(), dir, future); }).value();
  EXPECT_EQ(this->inode(dir).value().mtime, *future.mtime);
  // As on a local file system a time set into the future ends with the next entry.
  this->file(dir, "a").value();
  EXPECT_EQ(this->inode(dir).value().mtime, this->context_.now);
  // A creator whose clock was read earlier does not turn it back.
  TimeNs newest = this->context_.now;
  NewInode late = new_inode(this->new_ino(), S_IFREG | 0600);
  Context context{.now = newest - 5, .request = {}, .node_id = 0};
  this->commit([&](auto& txn) { return create(txn, context, dir, "late", late); }).value();
  EXPECT_EQ(this->inode(dir).value().mtime, newest);
  EXPECT_EQ(this->inode(dir).value().ctime, newest);
}

TYPED_TEST(OperationsTest, SetContentAndTheUnsettledTable) {
  Ino file = this->file(kRootIno, "f").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  auto unsettled = [&] {
    std::vector<Ino> out;
    EXPECT_TRUE(this->commit([&](auto& txn) {
      return read_unsettled(txn, [&](Ino ino) {
        out.push_back(ino);
        return true;
      });
    }));
    return out;
  };
  auto set = [&](Ino ino, const ContentChange& change,
                 const std::function<bool(const InodeRow&)>& require = {}) {
    return this->commit(
        [&](auto& txn) { return set_content(txn, this->tick(), ino, change, require); });
  };
  EXPECT_THAT(unsettled(), IsEmpty());
  ContentChange open;
  open.state = ContentState::kOpen;
  open.generation = Generation{2};
  open.content = "where";
  open.grant = GrantStamp{1, 2, 3};
  EXPECT_TRUE(set(file, open));
  EXPECT_THAT(unsettled(), ElementsAre(file));
  EXPECT_EQ(this->findings(), "");
  ContentChange settle;
  settle.state = ContentState::kSettled;
  settle.size = 1000;
  settle.blocks = 2;
  settle.etag = "tag";
  settle.digests = Digests{std::string(16, 'm'), std::string(8, 'c'), {}};
  settle.grant = GrantStamp{};
  settle.mode = 0600;
  settle.mtime = 5;
  settle.ctime = 6;
  settle.atime = 7;
  settle.is_s3_written = true;
  auto is_second = [](const InodeRow& row) { return row.generation == Generation{2}; };
  auto is_first = [](const InodeRow& row) { return row.generation == Generation{1}; };
  EXPECT_EQ(set(file, settle, is_first).code(), Code::kPreconditionFailed);
  auto row = set(file, settle, is_second).value();
  EXPECT_EQ(row, this->inode(file).value());
  EXPECT_EQ(row.digests, *settle.digests);
  EXPECT_EQ(row.content, "where");
  EXPECT_EQ(row.ctime, 6);
  EXPECT_THAT(unsettled(), IsEmpty());
  EXPECT_EQ(set(dir, settle).code(), Code::kIsDirectory);
  auto usage_now = this->commit([&](auto& txn) { return usage(txn); }).value();
  EXPECT_EQ(usage_now.bytes, 1000);
  EXPECT_EQ(usage_now.inodes, 3);
  this->remove_file(kRootIno, "f").value();
  this->end(file).value();
  usage_now = this->commit([&](auto& txn) { return usage(txn); }).value();
  EXPECT_EQ(usage_now.bytes, 0);
  EXPECT_EQ(usage_now.inodes, 2);
  EXPECT_EQ(this->findings(), "");
}

TYPED_TEST(OperationsTest, ExtendedAttributes) {
  Ino file = this->file(kRootIno, "f").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  for (Ino ino : {file, dir}) {
    auto set = [&](std::string_view name, std::string_view value, XattrMode mode) {
      return this->commit(
          [&](auto& txn) { return set_xattr(txn, this->tick(), ino, name, value, mode); });
    };
    auto get = [&](std::string_view name) {
      return this->commit([&](auto& txn) { return get_xattr(txn, ino, name); });
    };
    auto remove = [&](std::string_view name) {
      return this->commit([&](auto& txn) { return remove_xattr(txn, this->tick(), ino, name); });
    };
    auto list = [&] { return this->commit([&](auto& txn) { return list_xattrs(txn, ino); }); };
    EXPECT_EQ(get("user.a").code(), Code::kNoAttribute);
    EXPECT_FALSE(this->inode(ino).value().has_xattrs);
    EXPECT_EQ(set("user.a", "1", XattrMode::kReplace).code(), Code::kNoAttribute);
    EXPECT_TRUE(set("user.a", "1", XattrMode::kCreate));
    EXPECT_EQ(this->inode(ino).value().ctime, this->context_.now);
    EXPECT_TRUE(this->inode(ino).value().has_xattrs);
    EXPECT_EQ(set("user.a", "2", XattrMode::kCreate).code(), Code::kExists);
    EXPECT_TRUE(set("user.a", "", XattrMode::kReplace));
    EXPECT_EQ(get("user.a").value(), "");
    EXPECT_TRUE(set("user.b", std::string(limits::kXattrValueBytesMax, 'v'), XattrMode::kEither));
    EXPECT_EQ(get("user.b").value().size(), limits::kXattrValueBytesMax);
    EXPECT_THAT(list().value(), ElementsAre("user.a", "user.b"));
    EXPECT_TRUE(remove("user.b"));
    EXPECT_EQ(remove("user.b").code(), Code::kNoAttribute);
    EXPECT_EQ(
        set("user.c", std::string(limits::kXattrValueBytesMax + 1, 'v'), XattrMode::kEither).code(),
        Code::kRangeTooSmall);
    EXPECT_EQ(set("", "v", XattrMode::kEither).code(), Code::kRangeTooSmall);
    EXPECT_EQ(set(std::string(256, 'n'), "v", XattrMode::kEither).code(), Code::kRangeTooSmall);
    EXPECT_EQ(set(std::string_view("a\0b", 3), "v", XattrMode::kEither).code(),
              Code::kInvalidArgument);
    Code code = Code::kOk;
    for (int i = 0; i < 300 && code == Code::kOk; ++i) {
      std::string name = std::to_string(i);
      code = set(name + std::string(255 - name.size(), 'n'), "v", XattrMode::kEither).code();
    }
    EXPECT_EQ(code, Code::kRangeTooSmall);
    EXPECT_LE(list().value().size(), 256u);
  }
  EXPECT_EQ(this->findings(), "");
  this->remove_file(kRootIno, "f").value();
  this->remove_dir(kRootIno, "d").value();
  this->end(file).value();
  this->end(dir).value();
  EXPECT_EQ(this->findings(), "");
  EXPECT_EQ(this->commit([&](auto& txn) {
                  return set_xattr(txn, this->tick(), file, "user.a", "1", XattrMode::kEither);
                })
                .code(),
            Code::kStale);
}

TYPED_TEST(OperationsTest, ChangeLogTellsWhatHappened) {
  this->context_.request = {.connection = 9, .unique = 70};
  this->context_.node_id = 3;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  this->context_.request.unique = 72;
  Ino a = this->file(kRootIno, "a").value().ino;
  this->context_.request = {.connection = 8, .unique = 2};
  Ino b = this->file(dir, "b").value().ino;
  this->context_.request = {};
  this->move(kRootIno, "a", dir, "b").value();
  this->end(b).value();
  auto changes = this->changes();
  ASSERT_EQ(changes.size(), 5u);
  EXPECT_EQ(changes[0].kind, ChangeKind::kCreate);
  EXPECT_EQ(changes[0].request.unique, 70u);
  EXPECT_EQ(changes[0].node_id, 3u);
  EXPECT_EQ(changes[1].ino, a);
  EXPECT_EQ(changes[1].parent_after, kRootIno);
  EXPECT_EQ(changes[1].name_after, "a");
  EXPECT_EQ(changes[3].kind, ChangeKind::kRename);
  EXPECT_EQ(changes[3].parent_before, kRootIno);
  EXPECT_EQ(changes[3].name_before, "a");
  EXPECT_EQ(changes[3].parent_after, dir);
  EXPECT_EQ(changes[3].name_after, "b");
  EXPECT_EQ(changes[3].replaced, b);
  EXPECT_EQ(changes[4].kind, ChangeKind::kForget);
  for (size_t i = 1; i < changes.size(); ++i) EXPECT_LT(changes[i - 1].stamp, changes[i].stamp);
  auto recent = recent_requests(this->store(), 9, 100).value();
  ASSERT_EQ(recent.size(), 2u);
  EXPECT_EQ(recent[1].request.unique, 72u);
  EXPECT_EQ(recent_requests(this->store(), 9, 4).value().size(), 1u);
  EXPECT_EQ(recent_requests(this->store(), 9, 3).value().size(), 0u);
}

TYPED_TEST(OperationsTest, Cursors) {
  auto cursor = [&] { return this->commit([&](auto& txn) { return get_cursor(txn, "export"); }); };
  EXPECT_EQ(cursor().value(), Stamp{});
  EXPECT_TRUE(this->commit([&](auto& txn) {
    set_cursor(txn, "export", Stamp{17});
    return Status{};
  }));
  EXPECT_EQ(cursor().value(), Stamp{17});
}

TYPED_TEST(OperationsTest, IdsAreNeverHandedOutTwice) {
  IdAllocator one(this->store(), IdAllocator::Kind::kBlob);
  uint64_t first = one.next().value();
  EXPECT_EQ(first, 1u);
  EXPECT_EQ(one.next().value(), 2u);
  IdAllocator two(this->store(), IdAllocator::Kind::kBlob);
  EXPECT_EQ(two.next().value(), first + limits::kIdBlock);
  EXPECT_GE(this->new_ino().value, 16u);
  std::vector<uint64_t> got[4];
  {
    std::vector<std::jthread> threads;
    for (auto& mine : got) {
      threads.emplace_back([&one, &mine] {
        for (int i = 0; i < 5000; ++i) mine.push_back(one.next().value());
      });
    }
  }
  std::set<uint64_t> all;
  for (auto& mine : got) all.insert(mine.begin(), mine.end());
  EXPECT_EQ(all.size(), 20'000u);
}

TYPED_TEST(OperationsTest, CheckFindsWhatIsWrong) {
  Ino file = this->file(kRootIno, "f").value().ino;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  auto breaks = [&](const std::function<void(kv::Transaction&)>& damage, std::string_view words) {
    auto snapshot = this->store().begin();
    std::vector<std::pair<std::string, std::string>> rows;
    EXPECT_TRUE(snapshot->scan({}, [&](std::string_view key, std::string_view value) {
      rows.emplace_back(key, value);
      return true;
    }));
    auto txn = this->store().begin();
    damage(*txn);
    EXPECT_TRUE(txn->commit());
    EXPECT_NE(this->findings().find(words), std::string::npos) << words << "\n" << this->findings();
    // Back to what it was.
    auto mend = this->store().begin();
    EXPECT_TRUE(mend->scan({}, [&](std::string_view key, std::string_view) {
      mend->erase_blind(key);
      return true;
    }));
    for (auto& [key, value] : rows) mend->put_blind(key, value);
    EXPECT_TRUE(mend->commit());
    ASSERT_EQ(this->findings(), "");
  };
  auto with_ino = [](char prefix, Ino ino) {
    std::string key(1, prefix);
    append_be64(key, ino.value);
    return key;
  };
  std::string mark("\x01", 1);
  breaks([&](auto& txn) { txn.erase(with_ino('i', file)); }, "is missing, but entry 'f'");
  breaks([&](auto& txn) { txn.erase(with_ino('e', kRootIno) + "f"); }, "has 1 links and 0 entries");
  breaks([&](auto& txn) { txn.erase(with_ino('e', kRootIno) + "d/"); }, "0 entries, not 1");
  breaks([&](auto& txn) { txn.erase(with_ino('a', dir)); }, "no alive row");
  breaks([&](auto& txn) { txn.put(with_ino('g', file), mark); }, "guard row");
  breaks([&](auto& txn) { txn.put(with_ino('u', file), mark); }, "listed as unlinked");
  breaks([&](auto& txn) { txn.put(with_ino('o', file), mark); }, "listed as unsettled");
  breaks([&](auto& txn) { txn.put(with_ino('x', file) + "user.a", mark); }, "'user.a'");
  breaks([&](auto& txn) { txn.put(with_ino('i', dir), "\x09"); }, "has version 9");
  breaks([&](auto& txn) { txn.merge(with_ino('i', dir), "\x01\x01\x02"); }, "3 links");
  breaks([&](auto& txn) { txn.merge(with_ino('i', dir), "\x01\x02\x02"); }, "counts 1 entries");
  breaks([&](auto& txn) { txn.merge("cusage", "\x01\x02"); }, "the counters say");
  breaks(
      [&](auto& txn) {
        InodeRow row = get_inode(txn, file).value();
        row.size = 9;
        txn.put(ino_key(Prefix::kInode, row.ino), encode_inode(row));
      },
      "other attributes");
  breaks(
      [&](auto& txn) {
        // d moves below itself, behind the operations' back.
        InodeRow row = get_inode(txn, dir).value();
        row.parent = dir;
        txn.put(ino_key(Prefix::kInode, row.ino), encode_inode(row));
      },
      "does not lead up to the root");
  breaks(
      [&](auto& txn) {
        txn.put(with_ino('e', kRootIno) + "d",
                txn.get(with_ino('e', kRootIno) + "f").value().value());
      },
      "both as a file and as a directory");
}

TYPED_TEST(OperationsTest, ManyCreatorsInOneDirectoryNeverConflict) {
  constexpr int kThreads = 4, kEach = 1500;
  Ino dir = this->directory(kRootIno, "d").value().ino;
  this->new_ino();
  auto cost = this->cost([&] {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Context context = this->context_;
        for (int i = 0; i < kEach; ++i) {
          uint32_t mode = i % 10 == 0 ? S_IFDIR | 0755 : S_IFREG | 0644;
          NewInode inode = new_inode(Ino{10'000'000 + uint64_t(t) * kEach + uint64_t(i)}, mode);
          context.now += 1 + t;
          std::string name = std::to_string(t) + "-" + std::to_string(i);
          ASSERT_TRUE(run(this->store(), [&](kv::Transaction& txn) {
            return create(txn, context, dir, name, inode);
          }));
          if (S_ISDIR(mode) || i % 7 != 3) continue;
          ASSERT_TRUE(run(this->store(),
                          [&](kv::Transaction& txn) { return unlink(txn, context, dir, name); }));
        }
      });
    }
  });
  EXPECT_EQ(cost.conflicts, 0u);
  EXPECT_EQ(this->findings(), "");
}

}  // namespace
}  // namespace tarn::meta
