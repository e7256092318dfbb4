#include "dataset/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>

#include "base/file.h"
#include "dataset/cifar10.h"
#include "dataset/gzip_pieces.h"
#include "dataset/look_alike.h"
#include "dataset/mapped_file.h"
#include "dataset/report.h"
#include "dataset/test_support.h"
#include "digest/digest.h"

namespace tarn::dataset {
namespace {

using ::testing::HasSubstr;
using Row = std::array<std::byte, kCifarRowBytes>;

std::string gunzip(const std::string& file) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, 16 + MAX_WBITS), Z_OK);
  std::string out;
  std::array<Bytef, 65536> block;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(file.data()));
  stream.avail_in = static_cast<uInt>(file.size());
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = block.data();
    stream.avail_out = block.size();
    result = inflate(&stream, Z_NO_FLUSH);
    out.append(reinterpret_cast<char*>(block.data()), block.size() - stream.avail_out);
  }
  EXPECT_EQ(result, Z_STREAM_END);
  EXPECT_EQ(stream.avail_in, 0u) << "a single member";
  inflateEnd(&stream);
  return out;
}

TEST(GzipPieces, AreOneMember) {
  std::string whole, file = GzipAssembler::header();
  GzipAssembler trailer;
  for (int i = 0; i < 5; ++i) {
    // Texts, nothing at all, and bytes that do not compress.
    std::string part = i == 2 ? "" : std::string(static_cast<size_t>(i) * 50'000, 'a');
    SplitMix random(static_cast<uint64_t>(i));
    if (i == 3) {
      for (char& c : part) c = static_cast<char>(random.next());
    }
    const GzipPiece piece = deflate_piece(as_bytes(part), i == 4);
    trailer.add(piece);
    file += piece.deflated;
    whole += part;
  }
  file += trailer.trailer();
  EXPECT_EQ(gunzip(file), whole);
}

TEST(Generate, LayoutManifestAndArchives) {
  const TemporaryFolder folder;
  GenerateOptions options;
  options.images_per_batch = 50;
  options.augment = 2;
  const auto made = generate(folder.path(), options);
  ASSERT_TRUE(made.is_ok()) << made.status().to_string();
  ASSERT_EQ(made->members.size(), 12u);
  EXPECT_EQ(made->members[9].path, "cifar-10-batches-py/data_batch_10");
  EXPECT_EQ(made->members[11].path, "cifar-10-batches-py/batches.meta");
  std::string manifest, contents;
  for (const auto& file : made->members) {
    const auto content = read_file(folder / file.path, 1 << 20);
    ASSERT_TRUE(content.is_ok());
    EXPECT_EQ(content->size(), file.bytes);
    EXPECT_EQ(digest::md5(as_bytes(*content)).hex(), file.md5);
    manifest += file.md5 + "  " + file.path + "\n";
    contents += *content;
  }
  EXPECT_EQ(*read_file(folder / "MD5SUMS", 1 << 20), manifest);
  EXPECT_EQ(contents.size(), made->bytes);
  const auto tar = read_file(folder / "cifar-10-python.tar", 64 << 20);
  const auto gzip = read_file(folder / "cifar-10-python.tar.gz", 64 << 20);
  ASSERT_TRUE(tar.is_ok() && gzip.is_ok());
  EXPECT_EQ(tar->size() % 10'240, 0u);
  EXPECT_EQ(gunzip(*gzip), *tar);
  EXPECT_EQ(*read_file(folder / "cifar-10-python.tar.md5", 100),
            digest::md5(as_bytes(*tar)).hex() + "  cifar-10-python.tar\n");
  EXPECT_EQ(made->archives[0].md5, digest::md5(as_bytes(*gzip)).hex());
}

TEST(Generate, PythonReadsEverything) {
  if (!has_python("numpy")) GTEST_SKIP() << "no numpy for " << kPython;
  const TemporaryFolder folder;
  GenerateOptions options;
  options.images_per_batch = 1200;  // over one group of a list, over 256 memo entries
  ASSERT_TRUE(generate(folder.path(), options).is_ok());
  const std::string out = run_python(R"(
import hashlib, pickle, tarfile
folder = ')" + folder.path() + R"('
for suffix in ('', '.gz'):
    with tarfile.open(folder + '/cifar-10-python.tar' + suffix) as archive:
        for member in archive:
            content = archive.extractfile(member).read()
            assert open(folder + '/' + member.name, 'rb').read() == content
            assert (member.mode, member.uid, member.mtime) == (0o644, 0, 0)
batch = pickle.load(open(folder + '/cifar-10-batches-py/data_batch_3', 'rb'), encoding='bytes')
assert list(batch) == [b'batch_label', b'labels', b'data', b'filenames']
assert batch[b'data'].shape == (1200, 3072) and batch[b'data'].dtype == 'uint8'
assert len(batch[b'labels']) == len(set(batch[b'filenames'])) == 1200
assert batch[b'batch_label'] == b'training batch 3 of 5'
print(hashlib.md5(batch[b'data'].tobytes()).hexdigest(), sum(batch[b'labels']))
)");
  const auto file = MappedFile::open(folder / "cifar-10-batches-py/data_batch_3");
  const auto batch = Cifar10Batch::parse(file->bytes());
  ASSERT_TRUE(batch.is_ok());
  uint64_t labels = 0;
  for (const uint8_t label : batch->labels()) labels += label;
  EXPECT_EQ(out, digest::md5(batch->data()).hex() + " " + std::to_string(labels) + "\n");
}

TEST(Generate, IsTheSameForTheSameSeedOnly) {
  const TemporaryFolder first, again, other;
  GenerateOptions options;
  options.images_per_batch = 20;
  options.has_gzip_archive = false;
  const auto a = generate(first.path(), options);
  const auto b = generate(again.path(), options);
  options.seed = 8;
  options.has_plain_archive = false;
  const auto c = generate(other.path(), options);
  ASSERT_TRUE(a.is_ok() && b.is_ok() && c.is_ok());
  EXPECT_EQ(a->archives[0].md5, b->archives[0].md5);
  EXPECT_NE(a->members[0].md5, c->members[0].md5);
  EXPECT_TRUE(c->archives.empty());
  options.augment = 0;
  EXPECT_TRUE(generate(other.path(), options).is(Code::kInvalidArgument));
  options.augment = 1;
  options.images_per_batch = kImagesPerBatchMax + 1;
  EXPECT_THAT(std::string(generate(other.path(), options).status().message()),
              HasSubstr("100001 images a batch"));
  EXPECT_FALSE(generate("/dev/null/x", GenerateOptions{}).is_ok());
}

TEST(Generate, ClassesAreBalancedAndNothingIsThereTwice) {
  const TemporaryFolder folder;
  GenerateOptions options;
  options.images_per_batch = 200;
  options.has_gzip_archive = options.has_plain_archive = false;
  ASSERT_TRUE(generate(folder.path(), options).is_ok());
  const auto dataset = open_dataset(folder.path());
  ASSERT_TRUE(dataset.is_ok());
  const auto report = make_report(**dataset);
  ASSERT_TRUE(report.is_ok());
  for (const uint64_t count : report->split(Split::kTrain).by_label) EXPECT_EQ(count, 100u);
  for (const uint64_t count : report->split(Split::kTest).by_label) EXPECT_EQ(count, 20u);
  EXPECT_EQ(report->groups, 0u);
}

TEST(LookAlike, AugmentedCopiesAreShiftedAndFlipped) {
  const LookAlike pictures(7, 100, 10);
  Row plain, copy;
  int flips = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    pictures.draw(Split::kTrain, i, plain);
    pictures.draw_augmented(1, i, copy);
    // Some shift of the image or of its mirror explains every pixel of the copy.
    int explanations = 0;
    for (int is_flipped = 0; is_flipped < 2; ++is_flipped) {
      for (int up = -4; up <= 4; ++up) {
        for (int left = -4; left <= 4; ++left) {
          bool is_same = true;
          for (int y = 0; y < 32 && is_same; ++y) {
            for (int x = 0; x < 32 && is_same; ++x) {
              const int from_x = (is_flipped ? 31 - x : x) + left, from_y = y + up;
              const bool is_inside = from_x >= 0 && from_x < 32 && from_y >= 0 && from_y < 32;
              const auto at = static_cast<size_t>(from_y * 32 + from_x);
              is_same =
                  copy[static_cast<size_t>(y * 32 + x)] == (is_inside ? plain[at] : std::byte{0});
            }
          }
          explanations += is_same ? 1 : 0;
          flips += is_same ? is_flipped : 0;
        }
      }
    }
    ASSERT_EQ(explanations, 1) << i;
  }
  EXPECT_GT(flips, 20);
  EXPECT_LT(flips, 80);
}

TEST(LookAlike, CompressesAsTheRealSetDoes) {
  // Six copies, as the pipeline uses them: one plain, five augmented. gzip -1 leaves 0.86 of the
  // real ones.
  const LookAlike pictures(7, 300, 10);
  std::string bytes(300 * 6 * kCifarRowBytes, '\0');
  const auto rows = std::as_writable_bytes(std::span(bytes));
  for (uint64_t i = 0; i < 300 * 6; ++i) {
    const auto row = rows.subspan(i * kCifarRowBytes, kCifarRowBytes);
    if (i < 300) {
      pictures.draw(Split::kTrain, i, row);
    } else {
      pictures.draw_augmented(i / 300, i % 300, row);
    }
  }
  uLongf deflated = compressBound(bytes.size());
  std::string out(deflated, '\0');
  ASSERT_EQ(compress2(reinterpret_cast<Bytef*>(out.data()), &deflated,
                      reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(), 1),
            Z_OK);
  const double ratio = static_cast<double>(deflated) / static_cast<double>(bytes.size());
  EXPECT_GT(ratio, 0.82);
  EXPECT_LT(ratio, 0.90);
}

TEST(LookAlike, ANearestMeanLearnsTheClasses) {
  const LookAlike pictures(7, 4000, 1000);
  std::vector<std::array<double, kCifarRowBytes>> means(10);
  Row row;
  for (uint64_t i = 0; i < 4000; ++i) {
    pictures.draw(Split::kTrain, i, row);
    auto& mean = means[pictures.labels(Split::kTrain)[i]];
    for (size_t k = 0; k < row.size(); ++k) mean[k] += std::to_integer<int>(row[k]) / 400.0;
  }
  int right = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    pictures.draw(Split::kTest, i, row);
    size_t best = 0;
    double best_distance = INFINITY;
    for (size_t c = 0; c < means.size(); ++c) {
      double distance = 0;
      for (size_t k = 0; k < row.size(); ++k) {
        const double off = means[c][k] - std::to_integer<int>(row[k]);
        distance += off * off;
      }
      if (distance < best_distance) {
        best = c;
        best_distance = distance;
      }
    }
    right += best == pictures.labels(Split::kTest)[i] ? 1 : 0;
  }
  RecordProperty("right_of_1000", right);
  EXPECT_GT(right, 400);
  EXPECT_LT(right, 990) << "colours alone give the class away; nothing is left to learn";
}

}  // namespace
}  // namespace tarn::dataset
