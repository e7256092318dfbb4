#include "dataset/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "dataset/cifar10.h"
#include "dataset/contact_sheet.h"
#include "dataset/font.h"
#include "dataset/pickle_writer.h"
#include "dataset/report.h"
#include "dataset/test_support.h"

namespace tarn::dataset {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A batch whose images are each of one value, so that equal values are duplicates.
std::string batch_of(const std::vector<uint8_t>& values, const std::vector<uint8_t>& labels) {
  BatchContent content;
  content.batch_label = "batch";
  content.labels = labels;
  content.filenames.assign(labels.size(), "x.png");
  content.fill_rows = [&](std::span<std::byte> rows) {
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i] = static_cast<std::byte>(values[i / kCifarRowBytes]);
    }
  };
  return pickle_batch(content);
}

class CifarFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string_view names[] = {"cat", "dog", "eel"};
    const std::string below = folder_ / "cifar-10-batches-py";
    ASSERT_TRUE(make_directories(below).is_ok());
    put("data_batch_1", batch_of({10, 20, 30}, {0, 1, 2}));
    put("data_batch_2", batch_of({10, 40}, {0, 1}));
    // 20 is in train too, under another label; 50 is here twice.
    put("test_batch", batch_of({20, 50, 50}, {2, 0, 0}));
    put("batches.meta", pickle_meta(3, names, 3072));
  }
  void put(const std::string& name, const std::string& content) {
    ASSERT_TRUE(replace_file(folder_ / ("cifar-10-batches-py/" + name), content).is_ok());
  }
  TemporaryFolder folder_;
};

TEST_F(CifarFolder, ItemsStandInTheOrderOfTheFiles) {
  const auto opened = open_dataset(folder_.path());
  ASSERT_TRUE(opened.is_ok()) << opened.status().to_string();
  const Dataset& dataset = **opened;
  EXPECT_EQ(dataset.format(), "cifar10");
  EXPECT_EQ(dataset.count(), 8u);
  EXPECT_EQ(dataset.location(3), "data_batch_2[0]");
  EXPECT_EQ(dataset.split(4), Split::kTrain);
  EXPECT_EQ(dataset.split(5), Split::kTest);
  EXPECT_EQ(dataset.label(5), 2u);
  EXPECT_EQ(class_name(dataset, 2), "eel");
  EXPECT_EQ(class_name(dataset, 9), "9");
  EXPECT_EQ(dataset.image(2)->pixel(3, 3)[1], 30);
}

TEST_F(CifarFolder, ReportFindsDuplicatesWithinAndAcross) {
  const auto opened = open_dataset(folder_.path());
  ASSERT_TRUE(opened.is_ok());
  const auto report = make_report(**opened);
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  EXPECT_EQ(report->split(Split::kTrain).count, 5u);
  EXPECT_THAT(report->split(Split::kTrain).by_label, ElementsAre(2, 2, 1));
  EXPECT_THAT(report->split(Split::kTest).by_label, ElementsAre(2, 0, 1));
  EXPECT_EQ(report->duplicates_train, 1u);
  EXPECT_EQ(report->duplicates_test, 1u);
  EXPECT_EQ(report->duplicates_across, 1u);
  EXPECT_EQ(report->groups, 3u);
  EXPECT_EQ(report->groups_with_different_labels, 1u);
  ASSERT_EQ(report->examples.size(), 3u);
  EXPECT_THAT(report->examples[0].items, ElementsAre(0, 3));
  EXPECT_THAT(report->examples[1].items, ElementsAre(1, 5));
  EXPECT_TRUE(report->examples[1].has_train && report->examples[1].has_test);
  EXPECT_TRUE(report->examples[1].has_different_labels);
  EXPECT_THAT(report->examples[2].items, ElementsAre(6, 7));
}

TEST_F(CifarFolder, OneFileIsADataSet) {
  const auto opened = open_dataset(folder_ / "cifar-10-batches-py/test_batch");
  ASSERT_TRUE(opened.is_ok());
  EXPECT_EQ((*opened)->count(), 3u);
  EXPECT_EQ((*opened)->split(0), Split::kTest);
  EXPECT_EQ(class_name(**opened, 0), "cat") << "batches.meta stands beside it";
}

TEST_F(CifarFolder, DamageNamesTheFile) {
  put("data_batch_2", "cos\nsystem\n.");
  const auto opened = open_dataset(folder_.path());
  ASSERT_FALSE(opened.is_ok());
  EXPECT_THAT(std::string(opened.status().message()),
              AllOf(HasSubstr("data_batch_2"), HasSubstr("'os.system'")));
}

TEST_F(CifarFolder, ASampleIsOneBatchOfTrainOrAllWhereThatIsTooSmall) {
  std::set<std::string> chosen;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const auto sample = open_sample(folder_.path(), 2, seed);
    ASSERT_TRUE(sample.is_ok()) << sample.status().to_string();
    EXPECT_EQ((*sample)->split(0), Split::kTrain);
    EXPECT_EQ(class_name(**sample, 0), "cat");
    const std::string location = (*sample)->location(0);
    EXPECT_EQ((*sample)->count(), location == "data_batch_1[0]" ? 3u : 2u) << location;
    chosen.insert(location);
    EXPECT_EQ((*open_sample(folder_.path(), 2, seed))->location(0), location);
  }
  EXPECT_THAT(chosen, ElementsAre("data_batch_1[0]", "data_batch_2[0]"));
  EXPECT_EQ((*open_sample(folder_.path(), 4, 1))->count(), 8u);
  EXPECT_EQ((*open_sample(folder_ / "cifar-10-batches-py/test_batch", 2, 1))->count(), 3u);
  EXPECT_TRUE(open_sample(folder_ / "nothing", 2, 1).is(Code::kNotFound));
}

TEST_F(CifarFolder, RandomBatchIsOfTrainWithoutRepetition) {
  const auto opened = open_dataset(folder_.path());
  ASSERT_TRUE(opened.is_ok());
  const auto items = random_batch(**opened, 100, 1);
  EXPECT_EQ(std::set<uint64_t>(items.begin(), items.end()).size(), 5u);
  EXPECT_LT(*std::ranges::max_element(items), 5u);
  EXPECT_EQ(random_batch(**opened, 3, 7), random_batch(**opened, 3, 7));
  std::set<std::vector<uint64_t>> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) seen.insert(random_batch(**opened, 3, seed));
  EXPECT_GT(seen.size(), 5u);
}

TEST_F(CifarFolder, ContactSheetShowsTheImagesAndTheirNames) {
  const auto opened = open_dataset(folder_.path());
  ASSERT_TRUE(opened.is_ok());
  const std::vector<uint64_t> items = {0, 2};
  const auto sheet = contact_sheet(**opened, items);
  ASSERT_TRUE(sheet.is_ok());
  EXPECT_EQ(sheet->width, 2 * 172u + 12);
  // In the middle of the boxes stand the images' values.
  EXPECT_EQ(sheet->pixel(12 + 80, 92)[0], 10);
  EXPECT_EQ(sheet->pixel(12 + 172 + 80, 92)[0], 30);
  uint64_t dark = 0;
  for (uint32_t x = 12; x < 172; ++x) {
    for (uint32_t y = 178; y < 194; ++y) dark += sheet->pixel(x, y)[0] < 128 ? 1u : 0u;
  }
  EXPECT_GT(dark, 100u) << "the label";
  EXPECT_LT(dark, 1500u);
  EXPECT_FALSE(contact_sheet(**opened, {}).is_ok());
  // The picture comes back out of its file.
  const auto png = encode_png(*sheet);
  ASSERT_TRUE(png.is_ok());
  const auto again = decode_image(as_bytes(*png));
  ASSERT_TRUE(again.is_ok());
  EXPECT_EQ(again->rgb, sheet->rgb);
}

TEST(Font, LettersDiffer) {
  std::set<std::vector<uint8_t>> seen;
  for (char letter = ' '; letter <= '~'; ++letter) {
    Image image(6, 8, {255, 255, 255});
    draw_text(image, 0, 0, std::string(1, letter), {0, 0, 0}, 1);
    seen.insert(image.rgb);
  }
  EXPECT_EQ(seen.size(), 95u);
  // Text over the edge is cut, and what is not ASCII becomes '?'.
  Image image(10, 4);
  draw_text(image, 8, 2, "W\xc3\xa4", {9, 9, 9}, 3);
  EXPECT_EQ(text_width("ab", 2), 24u);
}

TEST(Image, DamagedFilesAreErrors) {
  const auto png = encode_png(Image(20, 10, {1, 2, 3}));
  ASSERT_TRUE(png.is_ok());
  EXPECT_FALSE(decode_image(as_bytes(png->substr(0, 40))).is_ok());
  EXPECT_FALSE(decode_image(as_bytes("\xff\xd8\xff\xe0garbage")).is_ok());
  EXPECT_FALSE(decode_image(as_bytes("GIF89a")).is_ok());
  EXPECT_FALSE(decode_image({}).is_ok());
  // A header that promises 2^31 x 2^31 pixels.
  std::string huge = *png;
  huge.replace(16, 8, literal("\x7f\xff\xff\xff\x7f\xff\xff\xff"));
  EXPECT_FALSE(decode_image(as_bytes(huge)).is_ok());
}

TEST(ImageFolder, ClassesAndSplits) {
  const TemporaryFolder folder;
  const auto red = encode_png(Image(8, 8, {200, 0, 0}));
  const auto blue = encode_png(Image(8, 4, {0, 0, 200}));
  for (const char* name : {"train/cat", "train/ant", "test/cat", "train/.cache"}) {
    ASSERT_TRUE(make_directories(folder / name).is_ok());
  }
  for (const char* name : {"train/cat/1.png", "train/cat/2.PNG", "test/cat/9.png"}) {
    ASSERT_TRUE(replace_file(folder / name, *red).is_ok());
  }
  ASSERT_TRUE(replace_file(folder / "train/ant/a.png", *blue).is_ok());
  ASSERT_TRUE(replace_file(folder / "train/ant/notes.txt", "no image").is_ok());
  const auto opened = open_dataset(folder.path());
  ASSERT_TRUE(opened.is_ok()) << opened.status().to_string();
  const Dataset& dataset = **opened;
  EXPECT_EQ(dataset.format(), "image-folder");
  EXPECT_THAT(dataset.class_names(), ElementsAre("ant", "cat"));
  ASSERT_EQ(dataset.count(), 4u);
  EXPECT_EQ(dataset.location(0), "train/ant/a.png");
  EXPECT_EQ(dataset.label(1), 1u);
  EXPECT_EQ(dataset.split(3), Split::kTest);
  EXPECT_EQ(dataset.image(0)->height, 4u);
  const auto report = make_report(dataset);
  ASSERT_TRUE(report.is_ok());
  EXPECT_EQ(report->duplicates_train, 1u);
  EXPECT_EQ(report->duplicates_across, 1u);
  const std::vector<uint64_t> all = {0, 1, 2, 3};
  EXPECT_TRUE(contact_sheet(dataset, all).is_ok());
}

TEST(ImageFolder, JpegFiles) {
  if (!has_python("PIL")) GTEST_SKIP() << "no PIL for " << kPython;
  for (const char* mode : {"L", "RGB"}) {
    const std::string jpeg =
        run_python(std::string("import PIL.Image, sys\n") + "i = PIL.Image.new('" + mode +
                   "', (40, 30), 100)\n" + "i.save(sys.stdout.buffer, 'JPEG')\n");
    const auto image = decode_image(as_bytes(jpeg));
    ASSERT_TRUE(image.is_ok()) << image.status().to_string();
    EXPECT_EQ(image->width, 40u);
    EXPECT_NEAR(image->pixel(20, 20)[0], 100, 3);
    // Every cut is an error or a picture, never an end of the program.
    for (size_t length = 0; length < jpeg.size(); length += 7) {
      (void)decode_image(as_bytes(std::string_view(jpeg).substr(0, length)));
    }
  }
}

TEST(OpenDataset, SaysWhatItLookedFor) {
  const TemporaryFolder folder;
  const auto opened = open_dataset(folder.path());
  EXPECT_TRUE(opened.is(Code::kBadFormat));
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("neither data_batch_N"));
  EXPECT_TRUE(open_dataset(folder / "none").is(Code::kNotFound));
}

}  // namespace
}  // namespace tarn::dataset
