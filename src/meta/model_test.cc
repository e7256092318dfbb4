// Random operations against a simple tree in memory, answer for answer, and a storm of POSIX and S3
// operations after which check() must find nothing. Seeds are printed; the same seed makes the same
// sequence.
#include <map>
#include <memory>
#include <random>

#include "meta/ops/support.h"
#include "meta/test_support.h"

namespace tarn::meta {
namespace {

constexpr uint32_t kSeeds = 12;
constexpr int kSteps = 1500;

/// A POSIX tree as a textbook has it.
struct Node {
  uint64_t ino = 0;
  bool is_directory = false;
  uint32_t mode = 0;
  uint64_t nlink = 0;
  uint64_t size = 0;
  TimeNs mtime = 0, ctime = 0;
  Node* parent = nullptr;  // of a directory
  std::map<std::string, Node*> children;
  bool is_dead = false;  // forgotten
};

class Model {
 public:
  Model(Ino root, TimeNs now) { add(root, true, 0755, now)->nlink = 2; }

  Node* node(Ino ino) { return nodes_.at(ino.value).get(); }
  std::vector<Node*> live() {
    std::vector<Node*> out;
    for (auto& [ino, node] : nodes_) {
      if (!node->is_dead) out.push_back(node.get());
    }
    return out;
  }

  Code create(TimeNs now, Node* dir, const std::string& name, Ino ino, bool is_directory,
              uint32_t mode) {
    if (Code code = may_add(dir); code != Code::kOk) return code;
    if (dir->children.contains(name)) return Code::kExists;
    Node* child = add(ino, is_directory, mode, now);
    child->nlink = is_directory ? 2 : 1;
    attach(now, dir, name, child);
    return Code::kOk;
  }
  Code unlink(TimeNs now, Node* dir, const std::string& name) {
    Node* child = get(dir, name);
    if (!child) return Code::kNotFound;
    if (child->is_directory) return Code::kIsDirectory;
    detach(now, dir, name);
    drop(now, child);
    return Code::kOk;
  }
  Code rmdir(TimeNs now, Node* dir, const std::string& name) {
    Node* child = get(dir, name);
    if (!child) return Code::kNotFound;
    if (!child->is_directory) return Code::kNotDirectory;
    if (!child->children.empty()) return Code::kNotEmpty;
    detach(now, dir, name);
    drop(now, child);
    return Code::kOk;
  }
  Code link(TimeNs now, Node* node, Node* dir, const std::string& name) {
    if (node->is_directory) return Code::kNotPermitted;
    if (node->nlink == 0) return Code::kNotFound;
    if (Code code = may_add(dir); code != Code::kOk) return code;
    if (dir->children.contains(name)) return Code::kExists;
    ++node->nlink;
    node->ctime = now;
    attach(now, dir, name, node);
    return Code::kOk;
  }
  Code rename(TimeNs now, Node* source, const std::string& from, Node* target,
              const std::string& to, RenameOptions options) {
    Node* moved = get(source, from);
    Node* replaced = get(target, to);
    if (!moved || (options.exchange && !replaced)) return Code::kNotFound;
    if (options.exchange) return exchange(now, source, from, target, to);
    if (Code code = may_add(target); code != Code::kOk) return code;
    if (moved->is_directory && source != target && is_within(target, moved)) {
      return Code::kInvalidArgument;
    }
    if (replaced && options.no_replace) return Code::kExists;
    if (moved == replaced) return Code::kOk;
    if (replaced && moved->is_directory != replaced->is_directory) {
      return moved->is_directory ? Code::kNotDirectory : Code::kIsDirectory;
    }
    if (replaced && !replaced->children.empty()) return Code::kNotEmpty;
    if (replaced) {
      detach(now, target, to);
      drop(now, replaced);
    }
    detach(now, source, from);
    moved->ctime = now;
    attach(now, target, to, moved);
    return Code::kOk;
  }
  Code forget(Node* node) {
    if (node->nlink != 0) return Code::kNotFound;
    node->is_dead = true;
    return Code::kOk;
  }

 private:
  Code exchange(TimeNs now, Node* source, const std::string& from, Node* target,
                const std::string& to) {
    Node *one = get(source, from), *two = get(target, to);
    if (one == two) return Code::kOk;
    bool makes_loop = (one->is_directory && is_within(target, one)) ||
                      (two->is_directory && is_within(source, two));
    if (makes_loop) return Code::kInvalidArgument;
    detach(now, source, from);
    detach(now, target, to);
    one->ctime = two->ctime = now;
    attach(now, target, to, one);
    attach(now, source, from, two);
    return Code::kOk;
  }
  Node* add(Ino ino, bool is_directory, uint32_t mode, TimeNs now) {
    auto node = std::make_unique<Node>();
    node->ino = ino.value;
    node->is_directory = is_directory;
    node->mode = mode;
    node->mtime = node->ctime = now;
    return (nodes_[ino.value] = std::move(node)).get();
  }
  static Code may_add(const Node* dir) {
    if (!dir->is_directory) return Code::kNotDirectory;
    return dir->nlink == 0 ? Code::kNotFound : Code::kOk;
  }
  static Node* get(Node* dir, const std::string& name) {
    auto it = dir->children.find(name);
    return it == dir->children.end() ? nullptr : it->second;
  }
  static void attach(TimeNs now, Node* dir, const std::string& name, Node* child) {
    dir->children[name] = child;
    dir->mtime = dir->ctime = now;
    if (!child->is_directory) return;
    child->parent = dir;
    ++dir->nlink;
  }
  static void detach(TimeNs now, Node* dir, const std::string& name) {
    if (dir->children.at(name)->is_directory) --dir->nlink;
    dir->children.erase(name);
    dir->mtime = dir->ctime = now;
  }
  static void drop(TimeNs now, Node* node) {
    node->nlink = node->is_directory ? 0 : node->nlink - 1;
    node->ctime = now;
    node->parent = nullptr;
  }
  static bool is_within(const Node* at, const Node* dir) {
    for (; at; at = at->parent) {
      if (at == dir) return true;
    }
    return false;
  }

  std::map<uint64_t, std::unique_ptr<Node>> nodes_;
};

template <class Engine>
class ModelTest : public MetaTest<Engine> {
 protected:
  size_t pick(size_t below) { return random_() % below; }
  std::string name() { return std::string(1, static_cast<char>('a' + pick(5))); }

  void compare(const Node& node) {
    auto row = this->inode(Ino{node.ino});
    if (node.is_dead) {
      ASSERT_EQ(row.code(), Code::kStale);
      return;
    }
    ASSERT_EQ(row.value().is_directory(), node.is_directory);
    ASSERT_EQ(row.value().mode & 07777, node.mode);
    ASSERT_EQ(row.value().nlink, node.nlink);
    ASSERT_EQ(row.value().size, node.is_directory ? node.children.size() : node.size);
    ASSERT_EQ(row.value().mtime, node.mtime);
    ASSERT_EQ(row.value().ctime, node.ctime);
    if (!node.is_directory) return;
    std::map<std::string, uint64_t> listed, expected;
    for (const auto& [name, child] : node.children) expected[name] = child->ino;
    ASSERT_TRUE(this->commit([&](auto& txn) {
      return read_directory(txn, Ino{node.ino}, {}, true, false, [&](const DirectoryEntry& entry) {
        listed[entry.name] = entry.ino.value;
        EXPECT_EQ(*entry.attributes, listed_attributes(get_inode(txn, entry.ino).value()));
        return true;
      });
    }));
    ASSERT_EQ(listed, expected);
  }

  /// One random operation on both; their codes.
  std::pair<Code, Code> step(Model& model) {
    std::vector<Node*> live = model.live();
    std::vector<Node*> dirs;
    for (Node* node : live) {
      // Mostly directories, now and then a file where a directory belongs.
      if (node->is_directory || pick(40) == 0) dirs.push_back(node);
    }
    Node* one = dirs[pick(dirs.size())];
    Node* two = dirs[pick(dirs.size())];
    Node* any = live[pick(live.size())];
    Ino first{one->ino}, second{two->ino}, target{any->ino};
    std::string from = name(), to = name();
    TimeNs now = this->context_.now + 1;
    switch (pick(12)) {
      case 0:
      case 1:
      case 2: {
        bool is_directory = pick(2) == 0;
        auto made = this->make(first, from, (is_directory ? S_IFDIR : S_IFREG) | 0640u);
        Ino ino = made ? made->ino : Ino{};
        return {made.code(), model.create(now, one, from, ino, is_directory, 0640)};
      }
      case 3:
        return {this->remove_file(first, from).code(), model.unlink(now, one, from)};
      case 4:
        return {this->remove_dir(first, from).code(), model.rmdir(now, one, from)};
      case 5:
        return {this->hard_link(target, second, to).code(), model.link(now, any, two, to)};
      case 6:
      case 7:
      case 8: {
        RenameOptions options{.no_replace = pick(4) == 0};
        return {this->move(first, from, second, to, options).code(),
                model.rename(now, one, from, two, to, options)};
      }
      case 9: {
        RenameOptions options{.exchange = true};
        return {this->move(first, from, second, to, options).code(),
                model.rename(now, one, from, two, to, options)};
      }
      case 10:
        return {this->end(target).code(), model.forget(any)};
      default: {
        AttributeChange change;
        change.mode = static_cast<uint32_t>(pick(01000));
        if (!any->is_directory) change.size = pick(1000);
        if (pick(2) == 0) change.mtime = static_cast<TimeNs>(pick(1000));
        any->mode = *change.mode;
        any->size = change.size.value_or(0);
        any->mtime = change.mtime.value_or(any->mtime);
        any->ctime = now;
        Context context = this->tick();
        auto done =
            this->commit([&](auto& txn) { return set_attributes(txn, context, target, change); });
        return {done.code(), Code::kOk};
      }
    }
  }

  std::mt19937 random_;
};
TYPED_TEST_SUITE(ModelTest, Engines);

TYPED_TEST(ModelTest, AnswersAsATextbookTree) {
  std::map<Code, int> seen;
  for (uint32_t seed = 1; seed <= kSeeds && !this->HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    this->random_.seed(seed);
    // Each seed works in a directory of its own, which the model takes for the root.
    Ino base = this->directory(kRootIno, "seed" + std::to_string(seed)).value().ino;
    Model model(base, this->context_.now);
    model.node(base)->mode = 0755;
    for (int i = 0; i < kSteps; ++i) {
      auto [code, expected] = this->step(model);
      ASSERT_EQ(code_name(code), code_name(expected)) << "step " << i;
      ++seen[code];
      if (i % 250 == 249) {
        for (Node* node : model.live()) this->compare(*node);
        ASSERT_EQ(this->findings(), "") << "step " << i;
      }
    }
  }
  for (Code code : {Code::kOk, Code::kExists, Code::kNotFound, Code::kNotEmpty, Code::kIsDirectory,
                    Code::kNotDirectory, Code::kInvalidArgument, Code::kNotPermitted}) {
    EXPECT_GT(seen[code], 10) << code_name(code);
  }
}

TYPED_TEST(ModelTest, AStormOfBothWorldsLeavesNothingWrong) {
  for (uint32_t seed = 1; seed <= kSeeds && !this->HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    this->random_.seed(seed);
    std::vector<Ino> dirs{kRootIno}, files;
    int hidden = 0;
    for (int i = 0; i < kSteps; ++i) {
      Context context = this->tick();
      context.is_posix = this->pick(2) == 0;
      Twin twin = context.is_posix ? Twin::kRefuse : Twin::kHide;
      Ino one = dirs[this->pick(dirs.size())], two = dirs[this->pick(dirs.size())];
      Ino file = files.empty() ? kRootIno : files[this->pick(files.size())];
      std::string from = this->name(), to = this->name();
      NewInode inode = new_inode(this->new_ino(), S_IFREG | 0644);
      if (this->pick(2) == 0) inode.mode = S_IFDIR | 0755;
      inode.origin = context.is_posix ? Origin::kPosix : Origin::kImplied;
      inode.twin = twin;
      inode.is_s3_written = !context.is_posix;
      bool may_replace = this->pick(2) == 0;
      size_t what = this->pick(10);
      Status done = this->commit([&](kv::Transaction& txn) -> Status {
        if (what < 3) return create(txn, context, one, from, inode).status();
        if (what == 3) {
          TARN_TRY(unlink(txn, context, one, from));
          if (context.is_posix) return {};
          return remove_implied(txn, context, one, from, [](Ino) { return false; }).status();
        }
        if (what == 4) return rmdir(txn, context, one, from).status();
        if (what == 5) return link(txn, context, file, two, to).status();
        if (what == 6) {
          inode.mode = S_IFREG | 0600;
          TARN_TRY(create_unnamed(txn, context, inode));
          return place(txn, context, inode.ino, one, from, may_replace, twin).status();
        }
        if (what == 7) return forget(txn, context, file).status();
        return rename(txn, context, one, from, two, to, {.exchange = what == 9}).status();
      });
      ASSERT_NE(done.code(), Code::kCorrupt) << done.to_string();
      if (done && what < 3) (S_ISDIR(inode.mode) ? dirs : files).push_back(inode.ino);
      hidden += this->look(one, from, true).is_ok() && this->look(one, from, true)->is_hidden;
      if (i % 250 == 249) {
        ASSERT_EQ(this->findings(), "") << "step " << i;
      }
    }
    EXPECT_GT(hidden, 10);
  }
}

}  // namespace
}  // namespace tarn::meta
