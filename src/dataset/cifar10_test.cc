#include "dataset/cifar10.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/file.h"
#include "dataset/mapped_file.h"
#include "dataset/pickle_writer.h"
#include "dataset/record_sum.h"
#include "dataset/test_support.h"

namespace tarn::dataset {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A batch of two images whose bytes count up.
std::string small_batch() {
  BatchContent content;
  content.batch_label = "training batch 1 of 5";
  content.labels = {6, 9};
  content.filenames = {"frog_s_1.png", "truck_s_2.png"};
  content.fill_rows = [](std::span<std::byte> rows) {
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(i * 7);
  };
  return pickle_batch(content);
}

// The bytes that the original's pickler writes around the rows, opcode by opcode.
TEST(Cifar10, WrittenBatchHasTheOriginalsBytes) {
  const std::string head = literal(
      "\x80\x02}q\x01("
      "U\x0b"
      "batch_labelq\x02U\x15training batch 1 of 5q\x03"
      "U\x06labelsq\x04]q\x05(K\x06K\x09"
      "e"
      "U\x04"
      "dataq\x06"
      "cnumpy.core.multiarray\n_reconstruct\nq\x07"
      "cnumpy\nndarray\nq\x08"
      "K\x00\x85U\x01"
      "b\x87Rq\x09"
      "(K\x01K\x02M\x00\x0c\x86"
      "cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b"
      "(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
      "T\x00\x18\x00\x00");
  const std::string tail = literal(
      "tbU\x09"
      "filenamesq\x0c]q\x0d("
      "U\x0c"
      "frog_s_1.pngq\x0e"
      "U\x0d"
      "truck_s_2.pngq\x0f"
      "eu.");
  const std::string batch = small_batch();
  ASSERT_EQ(batch.size(), head.size() + 2 * kCifarRowBytes + tail.size());
  EXPECT_EQ(batch.substr(0, head.size()), head);
  EXPECT_EQ(batch.substr(head.size() + 2 * kCifarRowBytes), tail);
}

TEST(Cifar10, WrittenMetaHasTheOriginalsBytes) {
  const std::string_view names[] = {"airplane", "cat"};
  EXPECT_EQ(pickle_meta(10'000, names, 3072), literal("\x80\x02}q\x01("
                                                      "U\x13num_cases_per_batchq\x02M\x10'"
                                                      "U\x0blabel_namesq\x03]q\x04(U\x08"
                                                      "airplaneq\x05U\x03"
                                                      "catq\x06"
                                                      "e"
                                                      "U\x07num_visq\x07M\x00\x0cu."));
}

TEST(Cifar10, BatchIsReadBack) {
  const std::string file = small_batch();
  const auto batch = Cifar10Batch::parse(as_bytes(file));
  ASSERT_TRUE(batch.is_ok()) << batch.status().to_string();
  EXPECT_EQ(batch->batch_label(), "training batch 1 of 5");
  EXPECT_THAT(batch->labels(), ElementsAre(6, 9));
  EXPECT_THAT(batch->filenames(), ElementsAre("frog_s_1.png", "truck_s_2.png"));
  EXPECT_EQ(batch->data().size(), 2 * kCifarRowBytes);
  // A view, not a copy.
  EXPECT_GT(batch->data().data(), as_bytes(file).data());
  const Image image = batch->image(1);
  const auto plane = [](size_t c, size_t i) {
    return static_cast<uint8_t>((kCifarRowBytes + c * kCifarPlaneBytes + i) * 7);
  };
  EXPECT_EQ(image.width, 32u);
  EXPECT_EQ(image.pixel(5, 2)[0], plane(0, 69));
  EXPECT_EQ(image.pixel(5, 2)[1], plane(1, 69));
  EXPECT_EQ(image.pixel(31, 31)[2], plane(2, 1023));
}

TEST(Cifar10, OtherPicklesSayWhatIsMissing) {
  const auto message = [](const std::string& file) {
    const auto batch = Cifar10Batch::parse(as_bytes(file));
    return batch.is_ok() ? std::string("ok") : std::string(batch.status().message());
  };
  EXPECT_THAT(message("N."), HasSubstr("holds a None, not a dict"));
  EXPECT_THAT(message("}."), HasSubstr("no array 'data'"));
  BatchContent content;
  content.labels = {1};
  content.filenames = {"a"};
  content.row_bytes = 100;
  content.fill_rows = [](std::span<std::byte>) {};
  EXPECT_THAT(message(pickle_batch(content)), HasSubstr("rows of 3072"));
  // One label less than rows.
  std::string fewer = small_batch();
  fewer.erase(fewer.find("K\x06K\x09"), 2);
  EXPECT_THAT(message(fewer), HasSubstr("1 labels for 2 rows"));
  EXPECT_FALSE(Cifar10Meta::parse(as_bytes("}.")).is_ok());
}

TEST(Cifar10, PicklesThatPythonWroteAgain) {
  if (!has_python("numpy")) GTEST_SKIP() << "no numpy for " << kPython;
  const TemporaryFolder folder;
  const std::string original = small_batch();
  ASSERT_TRUE(replace_file(folder / "original", original).is_ok());
  const auto expected = Cifar10Batch::parse(as_bytes(original));
  for (const char* encoding : {"bytes", "latin1"}) {
    for (int protocol = 2; protocol <= 5; ++protocol) {
      for (const char* order : {"ascontiguousarray", "asfortranarray"}) {
        const std::string again = run_python(
            "import numpy, pickle, sys\n"
            "d = pickle.load(open('" +
            (folder / "original") + "', 'rb'), encoding='" + encoding +
            "')\n"
            "k = 'data' if 'data' in d else b'data'\n"
            "d[k] = numpy." +
            order +
            "(d[k])\n"
            "sys.stdout.buffer.write(pickle.dumps(d, " +
            std::to_string(protocol) + "))\n");
        const auto batch = Cifar10Batch::parse(as_bytes(again));
        ASSERT_TRUE(batch.is_ok()) << batch.status().to_string();
        EXPECT_TRUE(std::ranges::equal(batch->data(), expected->data())) << encoding << protocol;
        EXPECT_THAT(batch->labels(), ElementsAre(6, 9));
        EXPECT_THAT(batch->filenames(), ElementsAre("frog_s_1.png", "truck_s_2.png"));
      }
    }
  }
}

TEST(Cifar10, SumOfBytesAtEveryLength) {
  std::vector<std::byte> bytes(70'000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 3);
  // Lengths about the block of the fast loop, and bytes of 255 that fill its lanes.
  for (const size_t length : {0u, 1u, 63u, 8191u, 8192u, 8193u, 65'536u, 69'999u}) {
    uint64_t expected = 0;
    for (size_t i = 1; i <= length; ++i) expected += std::to_integer<uint64_t>(bytes[i]);
    EXPECT_EQ(sum_bytes(std::span(bytes).subspan(1, length)), expected) << length;
  }
  const std::vector<std::byte> full(100'000, std::byte{255});
  EXPECT_EQ(sum_bytes(full), 25'500'000u);
}

TEST(Cifar10, SumOfAFolder) {
  const TemporaryFolder folder;
  const std::string file = small_batch();
  ASSERT_TRUE(replace_file(folder / "data_batch_1", file).is_ok());
  ASSERT_TRUE(replace_file(folder / "data_batch_10", file).is_ok());
  ASSERT_TRUE(replace_file(folder / "data_batch_2", file).is_ok());
  ASSERT_TRUE(replace_file(folder / "test_batch", file).is_ok());
  const auto sum = sum_records(folder.path());
  ASSERT_TRUE(sum.is_ok()) << sum.status().to_string();
  ASSERT_EQ(sum->files.size(), 4u);
  EXPECT_TRUE(sum->files[2].path.ends_with("data_batch_10")) << "by number, not by name";
  uint64_t expected = 0;
  for (size_t i = 0; i < 2 * kCifarRowBytes; ++i) expected += static_cast<uint8_t>(i * 7);
  EXPECT_EQ(sum->files[0].sum, expected);
  EXPECT_EQ(sum->sum, 4 * expected);
  EXPECT_EQ(sum->record_bytes, 8 * kCifarRowBytes);
  EXPECT_THAT(sum->labels, ElementsAre(0, 0, 0, 0, 0, 0, 4, 0, 0, 4));
  EXPECT_TRUE(sum_records(folder / "none").is(Code::kNotFound));
}

TEST(MappedFile, RegularFilesOnly) {
  const TemporaryFolder folder;
  ASSERT_TRUE(replace_file(folder / "empty", "").is_ok());
  ASSERT_TRUE(replace_file(folder / "abc", "abc").is_ok());
  EXPECT_TRUE(MappedFile::open(folder / "empty")->bytes().empty());
  auto file = MappedFile::open(folder / "abc");
  ASSERT_TRUE(file.is_ok());
  MappedFile moved = std::move(file).value();
  EXPECT_EQ(as_text(moved.bytes()), "abc");
  moved.prefetch(0, 100);
  moved.prefetch(100, 100);
  EXPECT_TRUE(MappedFile::open(folder.path()).is(Code::kInvalidArgument));
  EXPECT_TRUE(MappedFile::open(folder / "none").is(Code::kNotFound));
}

}  // namespace
}  // namespace tarn::dataset
