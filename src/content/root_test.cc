// Superblock, owner lock, last end, ballast, golden bytes.
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <fstream>

#include <fmt/format.h>

#include "content/content_test_util.h"
#include "content/pack.h"
#include "content/rows.h"
#include "content/superblock.h"

namespace tarn::content {
namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

TEST(Superblock, GoldenBytes) {
  Superblock s;
  s.uuid = "0123456789abcdef";
  s.boot_id = "fedcba9876543210";
  s.mount_id = 7;
  s.end_state = EndState::kServing;
  s.created = 1'700'000'000 * kSecondNs;
  s.ballast_bytes = 1 << 30;
  s.owner_pid = 4242;
  const std::string bytes = encode(s);
  ASSERT_EQ(bytes.size(), kSuperblockBytes);
  EXPECT_EQ(hex(bytes.substr(0, 112)),
            "5441524e524f4f54"
            "01000000"
            "00020000"
            "30313233343536373839616263646566"
            "0000000000000000"
            "0000000000000000"
            "0000000000000000"
            "66656463626139383736353433323130"
            "0700000000000000"
            "0100000000000000"
            "00002a36fe9c9717"
            "0000004000000000"
            "9210000000000000");
  EXPECT_EQ(hex(bytes.substr(508)), hex(encode(s).substr(508)));
  auto again = decode_superblock(bytes);
  ASSERT_TARN_OK(again.status());
  EXPECT_EQ(*again, s);
}

TEST(Superblock, DamageAndStrangersAreTold) {
  const std::string bytes = encode(Superblock{});
  for (size_t at = 16; at < 512; at += 31) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_TRUE(decode_superblock(damaged).is(Code::kCorrupt)) << at;
  }
  EXPECT_TRUE(decode_superblock("hello").is(Code::kBadFormat));
  std::string newer = bytes;
  newer[8] = 2;
  auto status = decode_superblock(newer).status();
  EXPECT_TRUE(status.is(Code::kBadFormat));
  EXPECT_NE(status.message().find("newer"), std::string_view::npos);
  Superblock strange;
  strange.incompat = 4;
  EXPECT_TRUE(decode_superblock(encode(strange)).is(Code::kBadFormat));
}

TEST(Descriptor, GoldenBytes) {
  EXPECT_EQ(hex(encode(Descriptor(Empty{}))), "");
  EXPECT_EQ(hex(encode(Descriptor(Inline{"hi"}))), "01026869");
  EXPECT_EQ(hex(encode(Descriptor(WholeBlob{BlobId(300)}))), "02ac02");
  EXPECT_EQ(hex(encode(Descriptor(Slice{BlobId(5), true, 64, 1000}))), "03050140e807");
  EXPECT_EQ(hex(encode(Descriptor(Pieces{{{BlobId(1), false, 0, 5}, {{}, false, 0, 7}}}))),
            "0402010000050000"
            "0007");
  EXPECT_EQ(hex(encode(Descriptor(Remote{"l", "k", "e", BlobId(9)}))), "05016c016b016509");
  EXPECT_EQ(hex(encode(Descriptor(External{"/a", 1, 2, 3, 4, 5}))),
            "06022f61010203"
            "0400000000000000"
            "0500000000000000");
  EXPECT_EQ(hex(encode(Descriptor(Overlay{"\x02\x05", BlobId(6), 10, true}))), "07020205060a01");
}

TEST(Descriptor, RoundTripAndDamage) {
  const std::vector<Descriptor> all = {
      Empty{},
      Inline{"bytes"},
      WholeBlob{BlobId(1ull << 60)},
      Slice{BlobId(7), false, 1, 2},
      Pieces{{{BlobId(1), true, 9, 5}, {{}, false, 0, 1ull << 40}}},
      Remote{"link", "key", "etag", {}},
      External{"/x/y", 1, 2, 3, -4, 5},
      Overlay{encode(Descriptor(WholeBlob{BlobId(3)})), BlobId(4), 77, false}};
  for (const Descriptor& d : all) {
    const std::string bytes = encode(d);
    auto again = decode(bytes);
    ASSERT_TARN_OK(again.status());
    EXPECT_TRUE(*again == d);
    if (bytes.empty()) continue;
    EXPECT_TRUE(decode(bytes + "x").is(Code::kCorrupt));
    EXPECT_TRUE(decode(std::string_view(bytes).substr(0, bytes.size() - 1)).is(Code::kCorrupt));
  }
  EXPECT_TRUE(decode("\x7f").is(Code::kCorrupt));
  // A count that no memory could hold.
  EXPECT_TRUE(decode(std::string("\x04\xff\xff\xff\xff\xff\xff\xff\x7f", 9)).is(Code::kCorrupt));
}

TEST(Root, CreateRefusesWhatIsThere) {
  TemporaryDirectory dir;
  const std::string path = dir.path() + "/root";
  ASSERT_TARN_OK(Root::create(path, {.ballast_bytes = 1 << 20}));
  auto again = Root::create(path, {});
  EXPECT_TRUE(again.is(Code::kExists));
  EXPECT_NE(again.message().find("already"), std::string_view::npos);
  const std::string other = dir.path() + "/other";
  std::filesystem::create_directory(other);
  std::ofstream(other + "/thesis.txt") << "x";
  auto refused = Root::create(other, {});
  EXPECT_TRUE(refused.is(Code::kExists));
  EXPECT_NE(refused.message().find("thesis.txt"), std::string_view::npos);
  EXPECT_TRUE(Root::open(other).is(Code::kBadFormat));
  EXPECT_TRUE(Root::open(dir.path() + "/nowhere").is(Code::kNotFound));
}

TEST(Root, OneOwnerAndHowItEnded) {
  TemporaryDirectory dir;
  const std::string path = dir.path() + "/root";
  ASSERT_TARN_OK(Root::create(path, {.ballast_bytes = 1 << 20}));
  {
    auto root = Root::open(path);
    ASSERT_TARN_OK(root.status());
    EXPECT_EQ((*root)->last_end(), LastEnd::kFresh);
    auto second = Root::open(path);
    EXPECT_TRUE(second.is(Code::kBusy));
    EXPECT_NE(second.status().message().find(std::to_string(::getpid())), std::string_view::npos);
  }
  {
    auto root = Root::open(path);
    ASSERT_TARN_OK(root.status());
    EXPECT_EQ((*root)->last_end(), LastEnd::kProcessDied);
    EXPECT_TARN_OK((*root)->mark_clean());
  }
  auto root = Root::open(path);
  ASSERT_TARN_OK(root.status());
  EXPECT_EQ((*root)->last_end(), LastEnd::kClean);
  EXPECT_EQ((*root)->uuid().size(), 36u);
  root->reset();
  // Another boot id: a power cut.
  std::string bytes = read_file(path + "/superblock", 4096).value();
  Superblock s = decode_superblock(bytes).value();
  s.boot_id = "another machine!";
  s.end_state = EndState::kServing;
  std::ofstream(path + "/superblock", std::ios::binary) << encode(s);
  auto after = Root::open(path);
  ASSERT_TARN_OK(after.status());
  EXPECT_EQ((*after)->last_end(), LastEnd::kMachineDied);
}

TEST(Root, BallastGoesAndComesBack) {
  TemporaryDirectory dir;
  const std::string path = dir.path() + "/root";
  ASSERT_TARN_OK(Root::create(path, {.ballast_bytes = 8 << 20}));
  auto root = Root::open(path);
  ASSERT_TARN_OK(root.status());
  auto before = (*root)->space();
  ASSERT_TARN_OK(before.status());
  EXPECT_GE(before->ballast_bytes, 8u << 20);
  ASSERT_TARN_OK((*root)->release_ballast());
  EXPECT_EQ((*root)->space()->ballast_bytes, 0u);
  (*root)->restore_ballast();
  EXPECT_GE((*root)->space()->ballast_bytes, 8u << 20);
  EXPECT_TARN_OK((*root)->check_may_write());
}

/// A small ext4 of its own; empty path when this machine cannot mount one.
class SmallDisk {
 public:
  SmallDisk() {
    if (::geteuid() != 0) return;
    image_ = directory_.path() + "/image";
    mount_ = directory_.path() + "/mnt";
    std::filesystem::create_directory(mount_);
    const std::string make = fmt::format(
        "truncate -s 96M {0} && mkfs.ext4 -q -m 0 -O ^has_journal {0} && mount -o loop {0} {1}",
        image_, mount_);
    is_mounted_ = std::system((make + " 2>/dev/null").c_str()) == 0;
  }
  ~SmallDisk() {
    if (is_mounted_) ::umount2(mount_.c_str(), MNT_DETACH);
  }
  bool is_mounted() const { return is_mounted_; }
  const std::string& path() const { return mount_; }

 private:
  TemporaryDirectory directory_;
  std::string image_, mount_;
  bool is_mounted_ = false;
};

uint64_t free_bytes(const std::string& path) {
  return std::filesystem::space(path).available;
}

/// Bytes that the files of a folder take on the disk.
uint64_t blocks_under(const std::string& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    struct stat info{};
    if (::stat(entry.path().c_str(), &info) == 0)
      bytes += static_cast<uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

TEST(Root, RecordsThatDidNotFitGiveTheirBlocksBack) {
  SmallDisk disk;
  if (!disk.is_mounted()) GTEST_SKIP() << "needs root and a loop device to mount a small ext4";
  const std::string path = disk.path() + "/root";
  TestSystem system(path);
  ASSERT_TARN_OK(Root::create(path, {.ballast_bytes = 1 << 20}));
  ASSERT_TARN_OK(system.open());
  auto kept = system.put("kept", "stays in the same pack");
  ASSERT_TARN_OK(kept.status());
  ASSERT_TARN_OK(system.content().barrier());
  const std::string filler = disk.path() + "/filler";
  std::ofstream(filler).put('x');
  // Once beside a record that stays, once in a pack that holds nothing else.
  for (const bool has_neighbour : {true, false}) {
    if (!has_neighbour) {
      ASSERT_TARN_OK(system.remove("kept"));
      for (int i = 0; i < 2; ++i) ASSERT_TARN_OK(system.content().barrier());
    }
    // Who began while there was room finds no block left.
    std::vector<std::unique_ptr<Incoming>> held;
    for (int i = 0; i < 200; ++i) {
      held.push_back(system.content().begin_incoming({}).value());
      ASSERT_TARN_OK(held.back()->append(as_bytes(std::string(120'000, 'r'))));
    }
    const uint64_t before = free_bytes(disk.path());
    const std::string fill = fmt::format("fallocate -l {} {}", before - (5 << 20), filler);
    ASSERT_EQ(std::system(fill.c_str()), 0);
    uint64_t stored = 0, refused = 0;
    for (auto& incoming : held) {
      Status status = incoming->finish().status();
      EXPECT_TRUE(status.is_ok() || status.is(Code::kNoSpace)) << status.to_string();
      ++(status.is_ok() ? stored : refused);
    }
    EXPECT_GT(stored, 10u);
    EXPECT_GT(refused, 10u);
    EXPECT_LT(blocks_under(path + "/packs"), stored * 121'000 + 64'000);
    held.clear();
    ASSERT_EQ(::unlink(filler.c_str()), 0);
    for (int i = 0; i < 3; ++i) ASSERT_TARN_OK(system.content().barrier());
    EXPECT_EQ(system.files_under("packs"), has_neighbour ? 1u : 0u);
    if (has_neighbour) {
      EXPECT_EQ(system.read(*kept), "stays in the same pack");
    }
  }
  EXPECT_TARN_OK(system.close());
}

TEST(Root, FullDiskSettlesAndDeletes) {
  SmallDisk disk;
  if (!disk.is_mounted()) GTEST_SKIP() << "needs root and a loop device to mount a small ext4";
  std::filesystem::remove(disk.path() + "/lost+found");
  TestSystem system(disk.path() + "/root", Engine::kRocks);
  ASSERT_TARN_OK(Root::create(disk.path() + "/root", {.ballast_bytes = 8 << 20}));
  ASSERT_TARN_OK(system.open());
  auto big = system.create("big");
  ASSERT_TARN_OK(big.status());
  const std::string megabyte(1 << 20, 'x');
  uint64_t written = 0;
  Status full;
  // As a passthrough writer does, which nobody asks whether there is room.
  while (full.is_ok() && written < 200u << 20) {
    full = big->file->write(written, as_bytes(megabyte)).status();
    if (full.is_ok()) written += megabyte.size();
  }
  EXPECT_TRUE(full.is(Code::kNoSpace)) << full.to_string();
  EXPECT_GT(written, 32u << 20);
  ::usleep(150'000);
  EXPECT_TRUE(system.content().take_new().is(Code::kNoSpace));
  auto ticket = system.submit(*big);
  EXPECT_TARN_OK(system.content().barrier());
  EXPECT_TARN_OK(ticket->wait());
  big->file.reset();
  ASSERT_TARN_OK(system.remove("big"));
  EXPECT_TARN_OK(system.content().barrier());
  EXPECT_EQ(system.files_under("blobs"), 0u);
  ::usleep(150'000);
  auto ino = system.put("after", "there is room again");
  ASSERT_TARN_OK(ino.status());
  EXPECT_TARN_OK(system.content().barrier());
  EXPECT_EQ(system.read(*ino), "there is room again");
  EXPECT_TARN_OK(system.close());
}

}  // namespace
}  // namespace tarn::content
