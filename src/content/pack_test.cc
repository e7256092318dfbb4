// Pack records: golden bytes, damage, scanning on from damage; rows of reverse indices.
#include <fcntl.h>

#include <fmt/format.h>

#include "content/content_test_util.h"
#include "content/pack.h"
#include "content/rows.h"
#include "digest/crc.h"

namespace tarn::content {
namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

Identity sample() {
  Identity id;
  id.ino = Ino(17);
  id.generation = Generation(2);
  id.parent = Ino(1);
  id.name = "a.txt";
  id.mode = 0100644;
  id.uid = 1000;
  id.gid = 100;
  id.mtime = 5;
  id.ctime = 6;
  id.btime = 7;
  return id;
}

TEST(Pack, GoldenRecordHeader) {
  const std::string bytes = encode_record_header(sample(), 3, 0x1122334455667788);
  EXPECT_EQ(bytes.size(), 112u);
  EXPECT_EQ(hex(bytes.substr(0, 108)),
            "5441524e52454331"
            "70000000"
            "00000000"
            "1100000000000000"
            "0200000000000000"
            "0100000000000000"
            "0300000000000000"
            "a4810000"
            "e8030000"
            "64000000"
            "05000000"
            "0500000000000000"
            "0600000000000000"
            "0700000000000000"
            "8877665544332211"
            "612e747874000000"
            "70000000");
  auto header = decode_record_header(bytes);
  ASSERT_TARN_OK(header.status());
  EXPECT_EQ(header->identity, sample());
  EXPECT_EQ(header->data_bytes, 3u);
}

TEST(Pack, EveryFlippedHeaderByteIsSeen) {
  const std::string bytes = encode_record_header(sample(), 3, 99);
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    EXPECT_TRUE(decode_record_header(damaged).is(Code::kCorrupt)) << at;
  }
  EXPECT_TRUE(decode_record_header(std::string_view(bytes).substr(0, 100)).is(Code::kCorrupt));
  EXPECT_TARN_OK(check_pack_header(encode_pack_header(BlobId(9)), BlobId(9)));
  EXPECT_TRUE(check_pack_header(encode_pack_header(BlobId(9)), BlobId(8)).is(Code::kCorrupt));
}

TEST(Pack, ScanGoesOnAfterDamage) {
  TemporaryDirectory dir;
  auto fd = open_at(AT_FDCWD, dir.path() + "/pack", O_RDWR | O_CREAT);
  ASSERT_TARN_OK(fd.status());
  std::mt19937_64 random(1);
  std::string bytes = encode_pack_header(BlobId(1));
  std::vector<uint64_t> headers, data;
  for (int i = 0; i < 20; ++i) {
    const std::string body = random_bytes(random, 100 + static_cast<size_t>(i) * 37);
    headers.push_back(bytes.size());
    bytes += encode_record_header(sample(), body.size(), digest::crc64nvme(as_bytes(body)));
    data.push_back(bytes.size());
    bytes += body;
    bytes.resize((bytes.size() + 7) / 8 * 8, '\0');
  }
  bytes[headers[5] + 40] = static_cast<char>(bytes[headers[5] + 40] ^ 1);  // a length that lies
  bytes[data[9] + 3] = static_cast<char>(bytes[data[9] + 3] ^ 1);
  bytes.resize(bytes.size() - 50);  // and the last one is cut
  ASSERT_TARN_OK(write_at(fd->get(), 0, as_bytes(bytes)));
  std::vector<std::pair<uint64_t, bool>> seen;
  auto skipped = scan_pack(fd->get(), [&](const ScannedRecord& record) {
    seen.emplace_back(record.data_offset, record.is_data_ok);
    return true;
  });
  ASSERT_TARN_OK(skipped.status());
  EXPECT_GT(*skipped, 0u);
  ASSERT_EQ(seen.size(), 18u);
  EXPECT_EQ(std::count_if(seen.begin(), seen.end(), [](auto& s) { return !s.second; }), 1);
  auto before = read_header_before(fd->get(), data[3]);
  ASSERT_TARN_OK(before.status());
  ASSERT_TRUE(before->has_value());
  EXPECT_EQ((*before)->identity.ino, Ino(17));
  auto within = read_header_before(fd->get(), data[3] + 50);
  ASSERT_TARN_OK(within.status());
  EXPECT_FALSE(within->has_value());
  EXPECT_TRUE(read_header_before(fd->get(), data[5]).is(Code::kCorrupt));
}

TEST(Rows, GoldenAndRoundTrip) {
  EXPECT_EQ(hex(owner_key(BlobId(1), 2, Ino(3))),
            "76"
            "0000000000000001"
            "0000000000000002"
            "0000000000000003");
  EXPECT_EQ(number_of_key(owner_key(BlobId(1), 2, Ino(3)), 2), 3u);
  EXPECT_EQ(number_of_key(delta_key(BlobId(1), 2, Ino(3)), 1), 2u);
  BlobInfo info{true, false, 300, Ino(1), Generation(2), 3, 4};
  EXPECT_EQ(hex(encode(info)), "01ac0201020304");
  EXPECT_EQ(decode_info(encode(info)).value(), info);
  std::vector<PackedOwner> window = {{64, 10, Ino(5), Generation(1)}, {128, 0, Ino(6), {}}};
  EXPECT_EQ(decode_window(encode(window)).value(), window);
  EXPECT_EQ(decode_delta(encode(Delta{true, Generation(4), 9})).value(),
            (Delta{true, Generation(4), 9}));
  EXPECT_EQ(decode_owner(encode(Owner{Generation(4), 9})).value(), (Owner{Generation(4), 9}));
  EXPECT_TRUE(decode_info("").is(Code::kCorrupt));
  EXPECT_TRUE(decode_window(encode(window) + "x").is(Code::kCorrupt));
}

}  // namespace
}  // namespace tarn::content
