#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/coding.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "base/worker_pool.h"

namespace tarn {
namespace {

Result<int> half(int v) {
  if (v % 2 != 0) return Status(Code::kInvalidArgument, "odd");
  return v / 2;
}

Result<int> quarter(int v) {
  TARN_ASSIGN(int h, half(v));
  TARN_ASSIGN(int q, half(h));
  return q;
}

TEST(Status, CarriesCodeMessageAndContext) {
  Status s(Code::kNotFound, "no entry 'a'");
  EXPECT_FALSE(s.is_ok());
  EXPECT_EQ(s.to_errno(), ENOENT);
  EXPECT_EQ(s.with_context("lookup").to_string(), "NotFound: lookup: no entry 'a'");
  EXPECT_TRUE(Status().is_ok());
  EXPECT_EQ(code_http(Code::kNoSpace), 507);
  EXPECT_EQ(code_s3(Code::kAccessDenied), "AccessDenied");
  EXPECT_TRUE(code_is_data_at_risk(Code::kCorrupt));
}

TEST(Status, ErrnoMapsToTheGeneralCode) {
  EXPECT_EQ(errno_status(ENOSPC, "write").code(), Code::kNoSpace);
  EXPECT_EQ(errno_status(EIO, "read").code(), Code::kIo);
  EXPECT_EQ(errno_status(EINVAL, "x").code(), Code::kInvalidArgument);
  EXPECT_EQ(errno_status(ENOENT, "open 'a'").code(), Code::kNotFound);
}

TEST(Result, PropagatesThroughAssign) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).code(), Code::kInvalidArgument);
}

TEST(Coding, RoundTripAndShortInput) {
  Writer w;
  w.u8(7);
  w.u32(0xdeadbeef);
  w.varint(300);
  w.bytes("name");
  w.i64(-5);
  std::string encoded = w.take();
  Reader r(encoded);
  EXPECT_EQ(r.u8(), 7);
  EXPECT_EQ(r.u32(), 0xdeadbeefu);
  EXPECT_EQ(r.varint(), 300u);
  EXPECT_EQ(r.bytes(), "name");
  EXPECT_EQ(r.i64(), -5);
  EXPECT_TRUE(r.is_ok());
  EXPECT_TRUE(r.at_end());
  Reader cut(std::string_view(encoded).substr(0, 3));
  cut.u8();
  cut.u32();
  EXPECT_FALSE(cut.is_ok());
  std::string ones(12, '\xff');
  Reader endless(ones);
  EXPECT_EQ(endless.varint(), 0u);
  EXPECT_FALSE(endless.is_ok());
}

TEST(Coding, BigEndianKeysSortAsNumbers) {
  std::string a, b;
  append_be64(a, 255);
  append_be64(b, 256);
  EXPECT_LT(a, b);
  EXPECT_EQ(read_be64(b), 256u);
}

TEST(Clock, TimespecBeforeTheEpoch) {
  timespec t = to_timespec(-1);
  EXPECT_EQ(t.tv_sec, -1);
  EXPECT_EQ(t.tv_nsec, 999'999'999);
  EXPECT_EQ(from_timespec(t), -1);
}

TEST(File, ReplaceIsWholeAndReadBack) {
  char dir[] = "/tmp/tarn-base-XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  std::string path = std::string(dir) + "/f";
  ASSERT_TRUE(replace_file(path, "one").is_ok());
  ASSERT_TRUE(replace_file(path, "two").is_ok());
  EXPECT_EQ(read_file(path, 100).value(), "two");
  EXPECT_EQ(read_file(path, 2).code(), Code::kFileTooLarge);
  EXPECT_EQ(read_file(path + "x", 2).code(), Code::kNotFound);
  auto fd = open_at(AT_FDCWD, path, O_RDWR);
  ASSERT_TRUE(fd.is_ok());
  std::byte four[4];
  EXPECT_EQ(read_exactly_at(fd->get(), 0, four).code(), Code::kCorrupt);
  ::unlink(path.c_str());
  ::rmdir(dir);
}

TEST(WorkerPool, RunsEverythingBeforeStop) {
  std::atomic<int> count{0};
  WorkerPool pool("test", 3, 4);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool.submit([&] { ++count; }));
  pool.stop();
  EXPECT_EQ(count, 100);
  EXPECT_FALSE(pool.submit([] {}));
}

TEST(RequestScope, NestsAndRestores) {
  RequestScope outer("a");
  {
    RequestScope inner("b");
    EXPECT_EQ(RequestScope::current(), "b");
  }
  EXPECT_EQ(RequestScope::current(), "a");
}

#ifndef NDEBUG
TEST(MutexDeathTest, LowerRankAfterHigherAborts) {
  Mutex low("low", 1), high("high", 2);
  EXPECT_DEATH(
      {
        MutexLock a(high);
        MutexLock b(low);
      },
      "locking 'low'");
}
#endif

}  // namespace
}  // namespace tarn
