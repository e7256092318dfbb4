#include "digest/md5_lanes.h"

#include <fcntl.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "base/file.h"
#include "digest/cpu_level.h"
#include "digest/md5_kernels.h"
#include "digest/md5_plan.h"

namespace tarn::digest {
namespace {

using Bytes = std::span<const std::byte>;

std::vector<std::byte> random_bytes(size_t count, uint32_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> out(count);
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  return out;
}

Digest by_evp(Bytes bytes) {
  std::array<std::byte, 16> out;
  EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(out.data()),
                       nullptr, EVP_md5(), nullptr),
            1);
  return {Algorithm::kMd5, out};
}

/// A pull that gives `bytes` in chunks of 1 to `chunk_max` bytes, each from its own memory, which
/// the next call overwrites.
Md5Pull in_random_chunks(Bytes bytes, size_t chunk_max, uint32_t seed) {
  return [bytes, chunk_max, random = std::mt19937(seed),
          buffer = std::vector<std::byte>(chunk_max)]() mutable -> Result<Bytes> {
    size_t count = std::min<size_t>(bytes.size(), 1 + random() % chunk_max);
    std::ranges::fill(buffer, std::byte{0xee});
    std::ranges::copy(bytes.first(count), buffer.begin());
    bytes = bytes.subspan(count);
    return Bytes(buffer).first(count);
  };
}

class Md5AtLevel : public testing::TestWithParam<Level> {
 protected:
  ScopedLevelCap cap_{GetParam()};
};

TEST_P(Md5AtLevel, EveryKernelEqualsOpensslInEveryLane) {
  std::vector<std::byte> data = random_bytes(40'000, 1);
  std::mt19937 random(2);
  for (const Md5Kernel& kernel : md5_kernels(GetParam())) {
    for (size_t blocks : {size_t{1}, size_t{2}, size_t{3}, size_t{8}, size_t{37}}) {
      Md5States states;
      std::array<const std::byte*, kMd5LanesMax> lanes{};
      for (size_t lane = 0; lane < kMd5LanesMax; ++lane) {
        for (auto& word : states.word) word[lane] = static_cast<uint32_t>(random());
        lanes[lane] = data.data() + random() % (data.size() - blocks * kMd5BlockBytes);
      }
      Md5States before = states;
      kernel.run(states, lanes.data(), blocks);
      for (size_t lane = 0; lane < kernel.width; ++lane) {
        Md5States one;
        for (size_t w = 0; w < 4; ++w) one.word[w][0] = before.word[w][lane];
        md5_blocks_openssl(one, &lanes[lane], blocks);
        for (size_t w = 0; w < 4; ++w) {
          ASSERT_EQ(states.word[w][lane], one.word[w][0])
              << "width " << kernel.width << " lane " << lane << " blocks " << blocks;
        }
      }
      for (size_t lane = kernel.width; lane < kMd5LanesMax; ++lane) {
        ASSERT_EQ(states.word[0][lane], before.word[0][lane]) << "a lane beyond the width changed";
      }
    }
  }
}

TEST_P(Md5AtLevel, EqualsOpensslAtEveryLengthAroundBlocks) {
  std::vector<std::byte> data = random_bytes(1000, 3);
  std::vector<Bytes> streams;
  for (size_t length = 0; length <= 520; ++length) {
    streams.push_back(Bytes(data).subspan(length % 7, length));
  }
  std::vector<Digest> found = md5_many(streams);
  ASSERT_EQ(found.size(), streams.size());
  for (size_t i = 0; i < streams.size(); ++i) {
    ASSERT_EQ(found[i], by_evp(streams[i])) << "length " << streams[i].size();
  }
}

TEST_P(Md5AtLevel, EqualsOpensslOnThousandsOfRandomLengthsAndSplits) {
  std::mt19937 random(4);
  std::vector<std::byte> data = random_bytes(1 << 18, 5);
  size_t cases = 0;
  for (uint32_t round = 0; round < 250; ++round) {
    Md5Lanes lanes(1 + random() % 32);
    size_t jobs = random() % 60;
    std::vector<Bytes> streams;
    for (size_t job = 0; job < jobs; ++job) {
      size_t length = random() % (job % 10 == 0 ? 20'000 : 700);
      Bytes stream = Bytes(data).subspan(random() % (data.size() - length), length);
      streams.push_back(stream);
      size_t number =
          random() % 2 == 0
              ? lanes.submit(stream)
              : lanes.submit(in_random_chunks(stream, 1 + random() % (job % 3 == 0 ? 5000 : 150),
                                              static_cast<uint32_t>(random())));
      ASSERT_EQ(number, job);
    }
    std::vector<Result<Digest>> found = lanes.finish();
    ASSERT_EQ(found.size(), jobs);
    for (size_t job = 0; job < jobs; ++job, ++cases) {
      ASSERT_TRUE(found[job].is_ok()) << found[job].status().to_string();
      ASSERT_EQ(*found[job], by_evp(streams[job])) << "length " << streams[job].size();
    }
  }
  EXPECT_GT(cases, 5000u);
}

TEST_P(Md5AtLevel, FewAndManyLongStreams) {
  std::vector<std::byte> data = random_bytes(40 * 4096 + 300'000, 6);
  for (size_t count = 1; count <= 40; ++count) {
    std::vector<Bytes> streams;
    for (size_t i = 0; i < count; ++i) {
      streams.push_back(Bytes(data).subspan(i * 4096, 9000 + 331 * i + (i == 0 ? 200'000 : 0)));
    }
    std::vector<Digest> found = md5_many(streams);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(found[i], by_evp(streams[i])) << count << " " << i;
  }
  EXPECT_TRUE(md5_many({}).empty());
}

TEST_P(Md5AtLevel, HashesFileRanges) {
  std::string path = testing::TempDir() + "md5_lanes_test." + std::to_string(getpid());
  std::vector<std::byte> data = random_bytes(3'000'000, 7);
  Result<UniqueFd> fd = open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC);
  ASSERT_TRUE(fd.is_ok()) << fd.status().to_string();
  ASSERT_TRUE(write_at(fd->get(), 0, data).is_ok());
  std::mt19937 random(8);
  std::vector<FileRange> ranges;
  for (size_t i = 0; i < 300; ++i) {
    uint64_t length = random() % (i % 50 == 7 ? 400'000 : 9000);
    ranges.push_back({fd->get(), random() % (data.size() - length), length});
  }
  ranges.push_back({fd->get(), 0, data.size()});
  ranges.push_back({fd->get(), 5, 0});
  auto check = [&] {
    std::vector<Result<Digest>> found = md5_files(ranges);
    ASSERT_EQ(found.size(), ranges.size());
    for (size_t i = 0; i < ranges.size(); ++i) {
      ASSERT_TRUE(found[i].is_ok()) << found[i].status().to_string();
      ASSERT_EQ(*found[i], by_evp(Bytes(data).subspan(ranges[i].offset, ranges[i].length))) << i;
    }
  };
  check();
  // Out of the page cache, so that the reads wait and ask ahead.
  ASSERT_TRUE(sync_data(fd->get()).is_ok());
  ASSERT_EQ(posix_fadvise(fd->get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  check();
  EXPECT_TRUE(md5_files({}).empty());
  unlink(path.c_str());
}

TEST_P(Md5AtLevel, ReportsAFileThatIsTooShortAndHashesTheOthers) {
  std::string path = testing::TempDir() + "md5_lanes_test." + std::to_string(getpid());
  std::vector<std::byte> data = random_bytes(200'000, 9);
  Result<UniqueFd> fd = open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC);
  ASSERT_TRUE(fd.is_ok());
  ASSERT_TRUE(write_at(fd->get(), 0, data).is_ok());
  std::vector<FileRange> ranges = {{fd->get(), 0, 200'000},
                                   {fd->get(), 0, 200'001},
                                   {fd->get(), 300'000, 1},
                                   {-1, 0, 10},
                                   {fd->get(), 100, 1000}};
  std::vector<Result<Digest>> found = md5_files(ranges);
  ASSERT_EQ(found.size(), 5u);
  EXPECT_EQ(*found[0], by_evp(data));
  EXPECT_TRUE(found[1].is(Code::kCorrupt)) << found[1].status().to_string();
  EXPECT_NE(found[1].status().message().find("0 to 200001"), std::string_view::npos)
      << found[1].status().to_string();
  EXPECT_TRUE(found[2].is(Code::kCorrupt));
  EXPECT_EQ(found[3].status().to_errno(), EBADF);
  EXPECT_EQ(*found[4], by_evp(Bytes(data).subspan(100, 1000)));
  unlink(path.c_str());
}

INSTANTIATE_TEST_SUITE_P(Levels, Md5AtLevel, testing::ValuesIn(supported_levels()),
                         [](const auto& test) { return std::string(level_name(test.param)); });

TEST(Md5Lanes, KeepsTheErrorOfAPullForItsJobOnly) {
  std::vector<std::byte> data = random_bytes(5000, 10);
  Md5Lanes lanes;
  std::vector<size_t> calls(40);
  for (size_t job = 0; job < calls.size(); ++job) {
    lanes.submit([&, job]() -> Result<Bytes> {
      size_t call = calls[job]++;
      if (job % 3 == 1 && call == job % 4) return {Code::kIo, "disk of job " + std::to_string(job)};
      if (call == 5) return Bytes();
      return Bytes(data).subspan(call * 1000, 1000);
    });
  }
  std::vector<Result<Digest>> found = lanes.finish();
  ASSERT_EQ(found.size(), calls.size());
  for (size_t job = 0; job < found.size(); ++job) {
    if (job % 3 == 1) {
      EXPECT_EQ(found[job].status().to_string(), "Io: disk of job " + std::to_string(job));
      EXPECT_EQ(calls[job], job % 4 + 1) << "called again after its error";
    } else {
      ASSERT_TRUE(found[job].is_ok());
      EXPECT_EQ(*found[job], by_evp(data));
      EXPECT_EQ(calls[job], 6u) << "called again after its end";
    }
  }
}

TEST(Md5Lanes, HoldsNoMoreJobsThanLanes) {
  std::vector<std::byte> data = random_bytes(3000, 11);
  Md5Lanes lanes(5);
  ASSERT_LE(lanes.lanes(), 5u);
  size_t alive = 0, alive_max = 0;
  struct Count {
    size_t* alive;
    explicit Count(size_t* a) : alive(a) { ++*alive; }
    Count(Count&& other) noexcept : alive(std::exchange(other.alive, nullptr)) {}
    Count& operator=(Count&&) = delete;
    ~Count() {
      if (alive != nullptr) --*alive;
    }
  };
  for (int job = 0; job < 50; ++job) {
    lanes.submit([&, count = Count(&alive), is_done = false]() mutable -> Result<Bytes> {
      alive_max = std::max(alive_max, alive);
      return std::exchange(is_done, true) ? Bytes() : Bytes(data);
    });
  }
  for (const Result<Digest>& result : lanes.finish()) EXPECT_EQ(*result, by_evp(data));
  EXPECT_EQ(alive, 0u);
  // One waits in `submit` for a lane.
  EXPECT_LE(alive_max, lanes.lanes() + 1);
  // The engine is empty again and numbers from 0.
  EXPECT_EQ(lanes.submit(Bytes(data).first(7)), 0u);
  std::vector<Result<Digest>> again = lanes.finish();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(*again[0], by_evp(Bytes(data).first(7)));
}

TEST(Md5Plan, BeginsWithTheLongestAndDoesNotSlowALongStream) {
  Md5Plan plan = plan_md5(std::array<uint64_t, 4>{10, 1000, 10, 500});
  EXPECT_EQ(plan.order, (std::vector<size_t>{1, 3, 0, 2}));
  std::vector<uint64_t> even(400, 1'000'000);
  EXPECT_EQ(plan_md5(even).lanes, md5_kernels(active_level()).back().width);
  // One stream with almost all the bytes: hardly more lanes than it needs.
  std::vector<uint64_t> uneven(400, 1000);
  uneven[200] = 1'000'000'000;
  EXPECT_EQ(plan_md5(uneven).lanes, 1u);
  EXPECT_EQ(plan_md5({}).lanes, 0u);
  EXPECT_EQ(plan_md5(std::array<uint64_t, 1>{5}).lanes, 1u);
}

}  // namespace
}  // namespace tarn::digest
