// Golden bytes of the protocol, in both directions, and the rules of negotiation.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mount/encode.h"
#include "mount/exchange.h"
#include "mount/init.h"
#include "mount/mount_point.h"
#include "mount/shared_state.h"

namespace tarn::mount {
namespace {

template <class T>
std::string hex(const T& value) {
  std::string out;
  for (std::byte b : std::as_bytes(std::span(&value, 1))) {
    out += "0123456789abcdef"[static_cast<unsigned>(b) >> 4];
    out += "0123456789abcdef"[static_cast<unsigned>(b) & 15];
  }
  return out;
}

std::string zeros(size_t bytes) {
  return std::string(bytes * 2, '0');
}

fs::Attributes sample() {
  fs::Attributes a;
  a.ino = Ino(0x1122334455667788);
  a.generation = Generation(9);
  a.mode = S_IFREG | 0644;
  a.nlink = 2;
  a.uid = 1000;
  a.gid = 100;
  a.rdev = 0;
  a.size = 0x0102030405;
  a.blocks = 8;
  a.atime = 1 * kSecondNs + 2;
  a.mtime = 3 * kSecondNs + 4;
  a.ctime = 5 * kSecondNs + 6;
  a.btime = 7 * kSecondNs + 8;
  return a;
}

const char* kSampleAttr =
    "8877665544332211"
    "0504030201000000"
    "0800000000000000"  // ino, size, blocks
    "0100000000000000"
    "0300000000000000"
    "0500000000000000"  // seconds
    "02000000"
    "04000000"
    "06000000"  // nanoseconds
    "a4810000"
    "02000000"
    "e8030000"
    "64000000"
    "00000000"  // mode, nlink, uid, gid, rdev
    "00100000"
    "00000000";  // blksize, flags

TEST(Wire, AttributesHaveTheirGoldenBytes) {
  EXPECT_EQ(hex(encode_attributes(sample())), kSampleAttr);
}

TEST(Wire, EntryCarriesValiditiesAndGenerationZero) {
  Validity validity{10 * kSecondNs + 1, 20 * kSecondNs + 2, 30 * kSecondNs};
  EXPECT_EQ(hex(encode_entry(sample(), validity)), std::string("8877665544332211"
                                                               "0000000000000000"
                                                               "0a00000000000000"
                                                               "1400000000000000"
                                                               "01000000"
                                                               "02000000") +
                                                       kSampleAttr);
}

TEST(Wire, UnsettledAttributesAreNotToBeBelieved) {
  fs::Attributes a = sample();
  a.is_settled = false;
  wire::EntryOut entry = encode_entry(a, Validity{});
  EXPECT_EQ(entry.attr_valid, 0u);
  EXPECT_EQ(entry.attr_valid_nsec, 0u);
  EXPECT_EQ(entry.entry_valid, 86'400u);
  EXPECT_EQ(encode_attr_out(a, Validity{}).attr_valid, 0u);
  EXPECT_EQ(encode_statx(a, Validity{}).attr_valid, 0u);
  EXPECT_EQ(encode_attr_out(sample(), Validity{}).attr_valid, 86'400u);
}

TEST(Wire, AbsentNameIsAnEntryWithoutInode) {
  Validity validity;
  validity.absent = 2 * kSecondNs + 5;
  EXPECT_EQ(hex(encode_absent(validity)),
            zeros(16) + "0200000000000000" + zeros(8) + "05000000" + zeros(4 + 88));
}

TEST(Wire, AttrOut) {
  Validity validity;
  validity.attributes = 1 * kSecondNs;
  EXPECT_EQ(hex(encode_attr_out(sample(), validity)), std::string("0100000000000000"
                                                                  "00000000"
                                                                  "00000000") +
                                                          kSampleAttr);
}

TEST(Wire, StatxHasBirthTime) {
  Validity validity;
  validity.attributes = 1 * kSecondNs;
  fs::Attributes a = sample();
  a.rdev = 0x0801;
  EXPECT_EQ(hex(encode_statx(a, validity)),
            "0100000000000000"
            "00000000"
            "00000000" +
                zeros(16) +
                "ff0f0000"
                "00100000" +
                zeros(8) +  // mask, blksize, attributes
                "02000000"
                "e8030000"
                "64000000"
                "a481"
                "0000"  // nlink, uid, gid, mode
                "8877665544332211"
                "0504030201000000"
                "0800000000000000" +
                zeros(8) +
                "0100000000000000"
                "02000000"
                "00000000"  // atime
                "0700000000000000"
                "08000000"
                "00000000"  // btime
                "0500000000000000"
                "06000000"
                "00000000"  // ctime
                "0300000000000000"
                "04000000"
                "00000000"  // mtime
                "08000000"
                "01000000" +
                zeros(8 + 112));
}

TEST(Wire, TimesBeforeTheEpoch) {
  fs::Attributes a = sample();
  a.mtime = -1;
  wire::Attr out = encode_attributes(a);
  EXPECT_EQ(static_cast<int64_t>(out.mtime), -1);
  EXPECT_EQ(out.mtime_nsec, 999'999'999u);
}

TEST(Wire, Statfs) {
  EXPECT_EQ(hex(encode_statfs({1, 2, 4096, 3, 4, 255})),
            "0100000000000000"
            "0200000000000000"
            "0200000000000000"
            "0300000000000000"
            "0400000000000000"
            "00100000"
            "ff000000"
            "00100000" +
                zeros(4 + 24));
}

class FixedFile final : public content::LocalFile {
 public:
  BlobId blob() const override { return BlobId(1); }
  int fd() const override { return -1; }
  int32_t attachment() const override { return 77; }
  Result<int32_t> attach() override { return 77; }
  std::string kernel_handle() const override { return {}; }
  bool is_named() const override { return true; }
  Result<content::FileStat> stat() const override { return content::FileStat{}; }
};

TEST(Wire, OpenedServedDirectAndKept) {
  fs::Opened opened;
  opened.fh = Fh(0x0102);
  EXPECT_EQ(hex(encode_opened(opened)),
            "0201000000000000"
            "00000000"
            "00000000");
  opened.may_keep_cache = true;
  EXPECT_EQ(hex(encode_opened(opened)),
            "0201000000000000"
            "02000000"
            "00000000");
  opened.path = fs::Path::kDirect;
  opened.backing = std::make_shared<FixedFile>();
  EXPECT_EQ(hex(encode_opened(opened)),
            "0201000000000000"
            "80000000"
            "4d000000");
}

TEST(Wire, DirectoryEntriesArePaddedAndStopWhenFull) {
  std::array<std::byte, 64> space;
  space.fill(std::byte{0xee});
  DirectoryEncoder encoder(space);
  EXPECT_TRUE(encoder.add({"abc", Ino(5), S_IFDIR, 9, {}}, nullptr));
  EXPECT_EQ(encoder.size(), 32u);
  std::array<std::byte, 32> first;
  std::memcpy(first.data(), space.data(), 32);
  EXPECT_EQ(hex(first),
            "0500000000000000"
            "0900000000000000"
            "03000000"
            "04000000"
            "6162630000000000");
  EXPECT_TRUE(encoder.add({"12345678", Ino(6), S_IFREG, 10, {}}, nullptr));
  EXPECT_EQ(encoder.size(), 64u);
  EXPECT_FALSE(encoder.add({"x", Ino(7), S_IFREG, 11, {}}, nullptr));
}

TEST(Wire, DirectoryPlusHasEntriesButNotForDots) {
  std::array<std::byte, 512> space{};
  DirectoryEncoder encoder(space);
  Validity validity;
  EXPECT_TRUE(encoder.add({".", Ino(5), S_IFDIR, 1, sample()}, &validity));
  EXPECT_EQ(encoder.size(), 128u + 32u);
  EXPECT_TRUE(encoder.add({"f", sample().ino, S_IFREG, 2, sample()}, &validity));
  wire::EntryOut dot, file;
  std::memcpy(&dot, space.data(), sizeof dot);
  std::memcpy(&file, space.data() + 160, sizeof file);
  EXPECT_EQ(dot.nodeid, 0u);
  EXPECT_EQ(hex(file), hex(encode_entry(sample(), validity)));
  EXPECT_FALSE(encoder.add({std::string(200, 'n'), Ino(6), S_IFREG, 3, sample()}, &validity));
}

TEST(Wire, SetattrDecodesOnlyWhatIsValid) {
  wire::SetattrIn in{};
  in.mode = S_IFREG | 04711;
  in.uid = 1;
  in.gid = 2;
  in.size = 3;
  in.atime = static_cast<uint64_t>(-2);
  in.atime_nsec = 5;
  in.mtime = 6;
  auto none = decode_setattr(in);
  EXPECT_FALSE(none.mode || none.uid || none.gid || none.size || none.atime || none.mtime);
  in.valid = wire::fattr::kMode | wire::fattr::kUid | wire::fattr::kGid | wire::fattr::kSize |
             wire::fattr::kAtime | wire::fattr::kMtime | wire::fattr::kMtimeNow;
  auto all = decode_setattr(in);
  EXPECT_EQ(all.mode, 04711u);
  EXPECT_EQ(all.uid, 1u);
  EXPECT_EQ(all.gid, 2u);
  EXPECT_EQ(all.size, 3u);
  EXPECT_EQ(all.atime, -2 * kSecondNs + 5);
  EXPECT_FALSE(all.mtime);
  EXPECT_TRUE(all.mtime_now);
}

TEST(Wire, RequestsAreParsedAndShortOnesRefused) {
  std::string bytes(sizeof(wire::InHeader), '\0');
  wire::InHeader header{};
  std::string body = std::string("\x01\0\0\0\0\0\0\0", 8) + std::string("ab\0c\0", 5);
  header.len = static_cast<uint32_t>(sizeof header + body.size());
  header.opcode = 12;
  header.unique = 42 | wire::kUniqueResend;
  header.nodeid = 7;
  std::memcpy(bytes.data(), &header, sizeof header);
  bytes += body;
  auto request = Request::parse(as_bytes(bytes));
  ASSERT_TRUE(request.is_ok());
  EXPECT_TRUE(request->is_resent());
  EXPECT_EQ(request->unique(), 42u);
  EXPECT_EQ(request->header().unique, 42 | wire::kUniqueResend);
  EXPECT_EQ(request->node(), Ino(7));
  EXPECT_EQ(request->take<wire::RenameIn>()->new_directory, 1u);
  EXPECT_EQ(request->take_name().value(), "ab");
  EXPECT_EQ(request->take_name().value(), "c");
  EXPECT_TRUE(request->take_name().is(Code::kInvalidArgument));
  EXPECT_TRUE(request->take<wire::ForgetIn>().is(Code::kInvalidArgument));
  EXPECT_FALSE(Request::parse(as_bytes(std::string_view(bytes).substr(0, 39))).is_ok());
  EXPECT_FALSE(Request::parse(as_bytes(std::string_view(bytes).substr(0, 50))).is_ok());
}

TEST(Wire, ExtensionsAreCutOff) {
  wire::InHeader header{};
  header.len = sizeof header + 24;
  header.total_extlen = 2;
  std::string bytes(reinterpret_cast<char*>(&header), sizeof header);
  bytes += std::string("name\0\0\0\0", 8) + std::string(16, 'x');
  auto request = Request::parse(as_bytes(bytes));
  ASSERT_TRUE(request.is_ok());
  EXPECT_EQ(request->rest().size(), 8u);
}

// What kernel 6.18 offers (seen).
constexpr uint64_t kAllFlags = 0x7ffffffffffull & ~(1ull << 31);

wire::InitIn offer(uint64_t flags) {
  wire::InitIn in{};
  in.major = 7;
  in.minor = 45;
  in.max_readahead = 16 * 1024 * 1024;
  in.flags = static_cast<uint32_t>(flags);
  in.flags2 = static_cast<uint32_t>(flags >> 32);
  return in;
}

TEST(Init, WantsWhatIsRightAndNothingElse) {
  auto answer = plan_answer(offer(kAllFlags), {});
  ASSERT_TRUE(answer.is_ok());
  const Negotiated& n = answer->negotiated;
  EXPECT_EQ(flag_names(n.flags),
            "ASYNC_READ ATOMIC_O_TRUNC EXPORT_SUPPORT BIG_WRITES DONT_MASK DO_READDIRPLUS "
            "READDIRPLUS_AUTO "
            "PARALLEL_DIROPS POSIX_ACL MAX_PAGES CACHE_SYMLINKS EXPLICIT_INVAL_DATA "
            "HANDLE_KILLPRIV_V2 SETXATTR_EXT INIT_EXT HAS_EXPIRE_ONLY PASSTHROUGH HAS_RESEND");
  EXPECT_FALSE(n.has(wire::init::kHandleKillpriv));
  EXPECT_FALSE(n.has(wire::init::kWritebackCache));
  EXPECT_FALSE(n.has(wire::init::kPosixLocks));
  EXPECT_FALSE(n.has(wire::init::kFlockLocks));
  EXPECT_FALSE(n.has(wire::init::kAutoInvalData));
  EXPECT_EQ(n.max_stack_depth, 1u);
}

TEST(Init, AnswerHasItsGoldenBytes) {
  auto answer = plan_answer(offer(kAllFlags), {});
  ASSERT_TRUE(answer.is_ok());
  EXPECT_EQ(hex(answer->out),
            "07000000"
            "2d000000"
            "00008000"  // version, read-ahead 8 MiB
            "7960d472"
            "8000"
            "6000"  // flags, background, congestion
            "00001000"
            "01000000"
            "0001"
            "0000"  // max_write, granularity, max_pages, alignment
            "a8000000"
            "01000000" +
                zeros(24));  // flags2, stack depth
}

TEST(Init, KeepsToWhatTheKernelOffers) {
  auto answer = plan_answer(
      offer(wire::init::kAsyncRead | wire::init::kInitExt | wire::init::kOverIoUring), {});
  ASSERT_TRUE(answer.is_ok());
  EXPECT_EQ(flag_names(answer->negotiated.flags), "ASYNC_READ INIT_EXT");
  EXPECT_EQ(answer->negotiated.max_stack_depth, 0u);
  InitOptions without;
  without.has_passthrough = false;
  EXPECT_FALSE(plan_answer(offer(kAllFlags), without)->negotiated.has(wire::init::kPassthrough));
}

TEST(Init, SecondWordNeedsItsFlag) {
  auto in = offer(kAllFlags & ~wire::init::kInitExt);
  EXPECT_FALSE(plan_answer(in, {})->negotiated.has(wire::init::kHasResend));
}

TEST(Init, RefusesOldKernels) {
  auto in = offer(kAllFlags);
  in.minor = 30;
  auto answer = plan_answer(in, {});
  EXPECT_TRUE(answer.is(Code::kNotSupported));
  EXPECT_THAT(std::string(answer.status().message()), testing::HasSubstr("7.30"));
}

TEST(Init, NegotiatesOverADescriptor) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  UniqueFd ours(pair[0]), kernel(pair[1]);
  struct {
    wire::InHeader header{};
    wire::InitIn in;
  } request;
  request.header.len = sizeof request;
  request.header.opcode = 26;
  request.header.unique = 2;
  request.in = offer(kAllFlags);
  ASSERT_EQ(write(kernel.get(), &request, sizeof request), ssize_t{sizeof request});
  auto result = negotiate(ours.get(), {});
  ASSERT_TRUE(result.is_ok());
  EXPECT_TRUE(result->has(wire::init::kHasResend));
  struct {
    wire::OutHeader header;
    wire::InitOut out;
  } answer;
  ASSERT_EQ(read(kernel.get(), &answer, sizeof answer), ssize_t{sizeof answer});
  EXPECT_EQ(answer.header.unique, 2u);
  EXPECT_EQ(answer.header.error, 0);
  EXPECT_EQ(answer.header.len, sizeof answer);
  EXPECT_TRUE(negotiate(ours.get(), {}, 20).is(Code::kTimedOut));
}

TEST(SharedState, SurvivesItsMaker) {
  auto made = SharedState::create();
  ASSERT_TRUE(made.is_ok());
  EXPECT_NE((*made)->connection, 0u);
  (*made)->backing_ids[5] = 12;
  auto other = SharedState::open(UniqueFd(dup(made->fd())));
  ASSERT_TRUE(other.is_ok());
  EXPECT_EQ((*other)->connection, (*made)->connection);
  EXPECT_EQ((*other)->backing_ids[5], 12);
  auto wrong = SharedState::open(UniqueFd(::open("/dev/null", O_RDWR)));
  EXPECT_TRUE(wrong.is(Code::kBadFormat));
}

TEST(MountInfo, FindsTheTopmostMountAndUnescapes) {
  std::string text =
      "21 1 254:0 / / rw - ext4 /dev/vda rw\n"
      "40 21 0:44 / /mnt/a\\040b rw,nosuid shared:3 master:1 - fuse.other x rw\n"
      "41 40 0:45 / /mnt/a\\040b rw - fuse.tarn tarn rw,user_id=0\n"
      "42 21 0:46 / /mnt/c rw - tmpfs none rw\n";
  auto entry = find_mount(text, "/mnt/a b");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->type, "fuse.tarn");
  EXPECT_EQ(entry->source, "tarn");
  EXPECT_EQ(entry->major, 0u);
  EXPECT_EQ(entry->minor, 45u);
  EXPECT_FALSE(find_mount(text, "/mnt"));
  EXPECT_EQ(find_mount(text, "/")->type, "ext4");
}

TEST(MountInfo, MountPathsAreMadeAbsolute) {
  EXPECT_EQ(absolute_mount_path("/tmp//").value(), "/tmp");
  EXPECT_EQ(absolute_mount_path("/usr/../tmp/x").value(), "/tmp/x");
  EXPECT_FALSE(absolute_mount_path("/tmp/..").is_ok());
  EXPECT_TRUE(absolute_mount_path("/no/such/x").is(Code::kNotFound));
}

}  // namespace
}  // namespace tarn::mount
