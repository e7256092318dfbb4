// Overlays and pieces against a model of bytes; reopening them; settling to pieces; merging.
#include <fcntl.h>

#include "content/content_test_util.h"
#include "content/files.h"
#include "content/local_file.h"

namespace tarn::content {
namespace {

constexpr uint64_t kUnit = limits::kPieceBytes;

class PiecesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TARN_OK(Root::create(dir_.path() + "/root", {.ballast_bytes = 1 << 20}));
    root_ = Root::open(dir_.path() + "/root").value();
    store_ = kv::open_memory(meta::merge_function());
    blobs_ = std::make_unique<BlobStore>(*root_);
    ids_ = std::make_unique<meta::IdAllocator>(*store_, meta::IdAllocator::Kind::kBlob);
    files_ = std::make_shared<LocalFiles>(*blobs_, *ids_, nullptr);
    sources_ = std::make_shared<Sources>(files_);
  }
  LocalBlobRef blob_of(std::string_view bytes) {
    auto blob = files_->make_new().value();
    files_->hand_out(blob);
    EXPECT_TARN_OK(write_at(blob->fd(), 0, as_bytes(bytes)));
    EXPECT_TARN_OK(blob->ensure_named(false));
    return blob;
  }
  TemporaryDirectory dir_;
  std::unique_ptr<Root> root_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<meta::IdAllocator> ids_;
  std::shared_ptr<LocalFiles> files_;
  SourcesRef sources_;
};

TEST_F(PiecesTest, OverlayBehavesLikeBytes) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    std::mt19937_64 random(seed);
    const std::string a = random_bytes(random, 3 * kUnit + random() % kUnit);
    const std::string b = random_bytes(random, random() % (2 * kUnit) + 1);
    auto blob_a = blob_of(a), blob_b = blob_of(b);
    Pieces base{{{blob_a->blob(), false, 777, a.size() - 777},
                 {{}, false, 0, 300'000},
                 {blob_b->blob(), false, 0, b.size()}}};
    std::string model = a.substr(777) + std::string(300'000, '\0') + b;
    const std::string encoded = encode(Descriptor(base));
    auto own = blob_of("");
    ASSERT_TARN_OK(OverlayFile::prepare(*own, model.size()));
    auto file = OverlayFile::open(sources_, encoded, model.size(), own).value();
    const uint64_t base_size = model.size();
    for (int step = 0; step < 150; ++step) {
      const uint64_t at = random() % (model.size() + 50'000);
      switch (random() % 8) {
        case 0:
        case 1:
        case 2: {
          const std::string bytes =
              random_bytes(random, 1 + random() % (step % 10 == 0 ? 2 * kUnit : 5'000));
          ASSERT_TARN_OK(file->write(at, as_bytes(bytes)).status());
          if (model.size() < at + bytes.size()) model.resize(at + bytes.size(), '\0');
          model.replace(at, bytes.size(), bytes);
          break;
        }
        case 3: {
          const uint64_t size = random() % 3 == 0 ? at : model.size() - model.size() % 1000;
          ASSERT_TARN_OK(file->truncate(size));
          model.resize(size, '\0');
          break;
        }
        case 4: {
          if (model.empty()) break;
          const uint64_t from = at % model.size();
          const uint64_t length = std::min<uint64_t>(model.size() - from, 1 + random() % 9'000);
          ASSERT_TARN_OK(file->allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, length));
          model.replace(from, length, std::string(length, '\0'));
          break;
        }
        case 5: {
          // A new process finds the same file by the overlay's holes and attribute.
          file = OverlayFile::open(sources_, encoded, base_size, own).value();
          break;
        }
        default: {
          std::string got(1 + random() % 20'000, 'x');
          auto n = file->read(at, std::as_writable_bytes(std::span(got)));
          ASSERT_TARN_OK(n.status());
          got.resize(*n);
          const std::string wanted = at < model.size() ? model.substr(at, 1 + 19'999) : "";
          ASSERT_EQ(got, wanted.substr(0, got.size())) << "seed " << seed << " step " << step;
          ASSERT_EQ(*n, std::min<size_t>(wanted.size(), got.size()));
        }
      }
      ASSERT_EQ(file->stat()->size, model.size());
    }
    ASSERT_TRUE(read_all(*file) == model) << "seed " << seed;
    FileStat stat = file->stat().value();
    auto settled = make_pieces_file(sources_, file->settled(), stat);
    ASSERT_TRUE(read_all(*settled) == model) << "settled, seed " << seed;
    auto again = decode(encode(Descriptor(file->settled())));
    ASSERT_TRUE(again.is_ok());
    EXPECT_EQ(file->is_whole(), file->local() != nullptr);
    EXPECT_EQ(read_all(*make_blob_file(sources_, blob_a, false, WholeBlob{blob_a->blob()})), a);
  }
}

TEST_F(PiecesTest, HalfCopiedUnitFallsBackToTheBase) {
  std::mt19937_64 random(3);
  const std::string bytes = random_bytes(random, 2 * kUnit);
  auto base = blob_of(bytes);
  const std::string encoded = encode(Descriptor(WholeBlob{base->blob()}));
  auto own = blob_of("");
  ASSERT_TARN_OK(OverlayFile::prepare(*own, bytes.size()));
  // What a process leaves that dies in the middle of copying a unit.
  ASSERT_TARN_OK(write_at(own->fd(), 0, as_bytes(std::string(100'000, 'z'))));
  auto file = OverlayFile::open(sources_, encoded, bytes.size(), own).value();
  EXPECT_TRUE(read_all(*file) == bytes);
  EXPECT_FALSE(file->is_whole());
  EXPECT_EQ(file->local(), nullptr);
}

TEST_F(PiecesTest, MissingBlobAndWritesToReadersAreErrors) {
  EXPECT_TRUE(
      make_slice_file(sources_, Slice{BlobId(12345), true, 64, 10}, {}).is(Code::kDataLoss));
  auto pieces = make_pieces_file(sources_, Pieces{{{BlobId(12345), false, 0, 10}}}, {.size = 10});
  std::byte one{};
  EXPECT_TRUE(pieces->read(0, std::span(&one, 1)).is(Code::kDataLoss));
  EXPECT_TRUE(pieces->write(0, std::span(&one, 1)).is(Code::kBadHandle));
  EXPECT_TRUE(pieces->truncate(0).is(Code::kBadHandle));
  auto memory = make_memory_file("abc", {.size = 10}, Empty{});
  EXPECT_EQ(memory->seek(5, SEEK_HOLE).value(), 5u);
  EXPECT_TRUE(memory->seek(5, SEEK_DATA).is(Code::kNoDevice));
  EXPECT_TRUE(memory->seek(10, SEEK_DATA).is(Code::kNoDevice));
  EXPECT_EQ(read_all(*memory), std::string("abc\0\0\0\0\0\0\0", 10));
}

TEST(Pieces, LargeSharedFileIsCopiedOnWriteAndMerged) {
  TemporaryDirectory dir;
  TestSystem system(dir.path() + "/root");
  ContentOptions options;
  options.barrier_interval_ns = 20 * kMillisecondNs;
  ASSERT_TARN_OK(system.open(options));
  std::mt19937_64 random(5);
  const std::string unit = random_bytes(random, kUnit);
  auto open = system.create("archive");
  const uint64_t size = limits::kCopyInOpenBytesMax + 5 * kUnit + 12345;
  for (uint64_t at = 0; at < size; at += kUnit) {
    ASSERT_TARN_OK(
        open->file->write(at, as_bytes(unit).first(std::min(kUnit, size - at))).status());
  }
  ASSERT_TARN_OK(system.submit(*open)->wait());
  const BlobId blob = std::get<WholeBlob>(system.descriptor(open->ino)).blob;
  ASSERT_TARN_OK(kv::transact(system.store(), [&](kv::Transaction& txn) -> Status {
                   return system.content().attach(txn, Ino(500), Generation(1),
                                                  Slice{blob, false, 10, 10});
                 }).status());
  auto write = system.open_write(open->ino, false);
  ASSERT_TARN_OK(write.status());
  if (system.last_plan == WritePlan::Kind::kPrivate) GTEST_SKIP() << "this file system clones";
  EXPECT_EQ(system.last_plan, WritePlan::Kind::kPieces);
  EXPECT_EQ(write->file->local(), nullptr);
  ASSERT_TARN_OK(write->file->write(3 * kUnit + 5, as_bytes("changed")).status());
  ASSERT_TARN_OK(system.submit(*write)->wait());
  write->file.reset();
  auto is_merged = [&] { return std::holds_alternative<WholeBlob>(system.descriptor(open->ino)); };
  for (int i = 0; i < 9000 && !is_merged(); ++i) ::usleep(10'000);
  EXPECT_TRUE(is_merged());
  EXPECT_EQ(system.row(open->ino)->generation, Generation(2));
  auto file = system.content().open_read(*system.row(open->ino)).value();
  std::string got(kUnit, '\0');
  ASSERT_EQ(file->read(3 * kUnit, std::as_writable_bytes(std::span(got))).value(), kUnit);
  std::string wanted = unit;
  wanted.replace(5, 7, "changed");
  EXPECT_TRUE(got == wanted);
  ASSERT_EQ(file->read(5 * kUnit, std::as_writable_bytes(std::span(got))).value(), kUnit);
  EXPECT_TRUE(got == unit);
  file.reset();
  ASSERT_TARN_OK(system.content().barrier());
  EXPECT_EQ(system.content().owners(*system.store().begin(), blob).value(), 1);
  EXPECT_TARN_OK(system.close());
}

}  // namespace
}  // namespace tarn::content
