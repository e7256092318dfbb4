// Life of files: created, settled, rewritten, removed; incoming bytes; digests; damage.
#include <fcntl.h>
#include <sys/xattr.h>

#include <atomic>
#include <thread>

#include "base/coding.h"
#include "content/blob_store.h"
#include "content/content_test_util.h"
#include "content/pack.h"
#include "content/rows.h"
#include "digest/crc.h"
#include "digest/digest.h"

namespace tarn::content {
namespace {

class ContentTest : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    system_ = std::make_unique<TestSystem>(dir_.path() + "/root", GetParam());
    ASSERT_TARN_OK(system_->open());
  }
  TemporaryDirectory dir_;
  std::unique_ptr<TestSystem> system_;
  std::mt19937_64 random_{7};
};
INSTANTIATE_TEST_SUITE_P(Engines, ContentTest, testing::Values(Engine::kMemory, Engine::kRocks),
                         [](const auto& i) {
                           return i.param == Engine::kMemory ? "memory" : "rocks";
                         });

TEST_P(ContentTest, SmallFilesGoToOnePackInOneTransaction) {
  std::vector<Ino> inodes;
  std::vector<std::string> bytes;
  for (int i = 0; i < 100; ++i) {
    bytes.push_back(random_bytes(random_, 1 + random_() % 3000));
    auto ino = system_->put("f" + std::to_string(i), bytes.back());
    ASSERT_TARN_OK(ino.status());
    inodes.push_back(*ino);
  }
  const auto before = system_->store().statistics();
  ASSERT_TARN_OK(system_->content().barrier());
  const auto after = system_->store().statistics();
  EXPECT_LE(after.transactions - before.transactions, 2u);
  EXPECT_EQ(system_->done_calls, 100);
  EXPECT_EQ(system_->files_under("blobs"), 0u);
  EXPECT_EQ(system_->files_under("packs"), 1u);
  for (size_t i = 0; i < inodes.size(); ++i) {
    auto row = system_->row(inodes[i]);
    ASSERT_TARN_OK(row.status());
    EXPECT_EQ(row->state, meta::ContentState::kSettled);
    EXPECT_EQ(row->size, bytes[i].size());
    EXPECT_EQ(row->generation, Generation(1));
    const auto md5 = digest::md5(as_bytes(bytes[i]));
    EXPECT_EQ(row->etag, md5.hex());
    EXPECT_EQ(row->digests.md5, as_text(md5.bytes()));
    EXPECT_EQ(row->digests.crc64nvme.size(), 8u);
    EXPECT_EQ(system_->read(inodes[i]), bytes[i]);
  }
  auto packs = system_->content().packs();
  ASSERT_TARN_OK(packs.status());
  ASSERT_EQ(packs->size(), 1u);
  EXPECT_EQ((*packs)[0].live_records, 100u);
  EXPECT_TARN_OK(system_->close());
}

TEST_P(ContentTest, LargeFileKeepsItsBlobAndDescribesItself) {
  const std::string bytes = random_bytes(random_, 300'000);
  auto ino = system_->put("large", bytes);
  ASSERT_TARN_OK(ino.status());
  ASSERT_TARN_OK(system_->content().barrier());
  auto row = system_->row(*ino);
  ASSERT_TARN_OK(row.status());
  EXPECT_EQ(row->state, meta::ContentState::kSettled);
  EXPECT_TRUE(row->etag.ends_with("-1"));
  EXPECT_TRUE(row->digests.md5.empty());
  const Descriptor descriptor = system_->descriptor(*ino);
  auto* whole = std::get_if<WholeBlob>(&descriptor);
  ASSERT_NE(whole, nullptr);
  std::string xattr(512, '\0');
  const std::string path = system_->root().path() + "/" + BlobStore::blob_path(whole->blob);
  const ssize_t n = ::getxattr(path.c_str(), kIdentityXattr, xattr.data(), xattr.size());
  ASSERT_GT(n, 0);
  auto header = decode_record_header(std::string_view(xattr).substr(0, static_cast<size_t>(n)));
  ASSERT_TARN_OK(header.status());
  EXPECT_EQ(header->identity.name, "large");
  EXPECT_EQ(header->identity.ino, *ino);
  EXPECT_EQ(header->data_bytes, bytes.size());
  EXPECT_EQ(system_->read(*ino), bytes);
  auto digests = system_->content().digest(*row, DigestKind::kSha256);
  ASSERT_TARN_OK(digests.status());
  EXPECT_EQ(digests->sha256, as_text(digest::sha256(as_bytes(bytes)).bytes()));
  EXPECT_EQ(digests->md5, as_text(digest::md5(as_bytes(bytes)).bytes()));
  auto stored = system_->row(*ino);
  EXPECT_EQ(stored->digests, *digests);
  EXPECT_EQ(stored->etag, row->etag);  // fixed when it settled
  EXPECT_EQ(system_->content().owners(*system_->store().begin(), whole->blob).value(), 1);
}

TEST_P(ContentTest, EmptyHoleAndKeptBlobs) {
  auto empty = system_->put("empty", "");
  auto hole = system_->create("hole");
  ASSERT_TARN_OK(hole->file->truncate(10 << 20));
  system_->submit(*hole);
  auto kept = system_->create("kept");
  ASSERT_TARN_OK(kept->file->write(0, as_bytes("tiny")).status());
  system_->submit(*kept, true);
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_TRUE(std::holds_alternative<Empty>(system_->descriptor(*empty)));
  EXPECT_EQ(system_->row(*empty)->etag, "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_TRUE(std::holds_alternative<Empty>(system_->descriptor(hole->ino)));
  EXPECT_EQ(system_->read(hole->ino), std::string(10 << 20, '\0'));
  EXPECT_TRUE(std::holds_alternative<WholeBlob>(system_->descriptor(kept->ino)));
  EXPECT_EQ(system_->read(kept->ino), "tiny");
}

TEST_P(ContentTest, CancelledTicketLeavesTheRow) {
  auto open = system_->create("f");
  ASSERT_TARN_OK(open.status());
  auto ticket = system_->submit(*open);
  EXPECT_TRUE(ticket->cancel());
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->done_calls, 0);
  EXPECT_EQ(system_->row(open->ino)->state, meta::ContentState::kOpen);
  ASSERT_TARN_OK(open->file->write(0, as_bytes("later")).status());
  auto second = system_->submit(*open);
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_FALSE(second->cancel());
  EXPECT_TARN_OK(second->wait());
  EXPECT_EQ(system_->read(open->ino), "later");
}

TEST_P(ContentTest, InPlaceUntouchedAndChanged) {
  const std::string bytes = random_bytes(random_, 200'000);
  auto ino = system_->put("f", bytes);
  ASSERT_TARN_OK(system_->content().barrier());
  const auto settled = system_->row(*ino).value();
  auto open = system_->open_write(*ino, false);
  ASSERT_TARN_OK(open.status());
  EXPECT_EQ(system_->last_plan, WritePlan::Kind::kInPlace);
  system_->submit(*open);
  ASSERT_TARN_OK(system_->content().barrier());
  auto row = system_->row(*ino).value();
  EXPECT_EQ(row.state, meta::ContentState::kSettled);
  EXPECT_EQ(row.generation, settled.generation);
  EXPECT_EQ(row.etag, settled.etag);

  open = system_->open_write(*ino, false);
  ASSERT_TARN_OK(open->file->write(5, as_bytes("changed")).status());
  system_->submit(*open);
  ASSERT_TARN_OK(system_->content().barrier());
  row = system_->row(*ino).value();
  EXPECT_EQ(row.generation, Generation(2));
  EXPECT_NE(row.etag, settled.etag);
  EXPECT_EQ(row.content, settled.content);
  std::string wanted = bytes;
  wanted.replace(5, 7, "changed");
  EXPECT_EQ(system_->read(*ino), wanted);
}

TEST_P(ContentTest, RewriteReplacesInOneTransaction) {
  auto ino = system_->put("f", random_bytes(random_, 200'000));
  ASSERT_TARN_OK(system_->content().barrier());
  const auto old_row = system_->row(*ino).value();
  auto old_reader = system_->content().open_read(old_row).value();
  auto open = system_->open_write(*ino, true);
  ASSERT_TARN_OK(open.status());
  EXPECT_EQ(system_->last_plan, WritePlan::Kind::kPrivate);
  ASSERT_TARN_OK(open->file->write(0, as_bytes("new")).status());
  EXPECT_EQ(system_->row(*ino)->content, old_row.content);
  system_->submit(*open);
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->read(*ino), "new");
  EXPECT_EQ(system_->row(*ino)->generation, Generation(2));
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("blobs"), 0u);
  EXPECT_EQ(read_all(*old_reader).size(), 200'000u);  // who had it open keeps the bytes
}

TEST_P(ContentTest, AppendToPackedFileCopiesIt) {
  auto ino = system_->put("f", "hello");
  ASSERT_TARN_OK(system_->content().barrier());
  for (int round = 0; round < 5; ++round) {
    auto open = system_->open_write(*ino, false);
    ASSERT_TARN_OK(open.status());
    EXPECT_EQ(system_->last_plan, WritePlan::Kind::kPrivate);
    auto size = open->file->stat()->size;
    ASSERT_TARN_OK(open->file->write(size, as_bytes(" world")).status());
    system_->submit(*open);
    ASSERT_TARN_OK(system_->content().barrier());
  }
  EXPECT_EQ(system_->read(*ino), "hello world world world world world");
  EXPECT_EQ(system_->row(*ino)->generation, Generation(6));
  EXPECT_EQ(system_->content().packs().value()[0].live_records, 1u);
}

TEST_P(ContentTest, SharedBlobIsNeverWritten) {
  const std::string bytes = random_bytes(random_, 400'000);
  auto archive = system_->put("archive", bytes);
  ASSERT_TARN_OK(system_->content().barrier());
  const Descriptor whole = system_->descriptor(*archive);
  const BlobId blob = std::get<WholeBlob>(whole).blob;
  // A member as extract makes it.
  auto member = system_->put("member", "");
  ASSERT_TARN_OK(system_->content().barrier());
  const Slice slice{blob, false, 1000, 5000};
  ASSERT_TARN_OK(kv::transact(system_->store(), [&](kv::Transaction& txn) -> Status {
                   meta::ContentChange change;
                   change.content = encode(Descriptor(slice));
                   change.size = 5000;
                   TARN_TRY(meta::set_content(txn, TestSystem::context(), *member, change));
                   return system_->content().attach(txn, *member, Generation(1), slice);
                 }).status());
  EXPECT_EQ(system_->content().owners(*system_->store().begin(), blob).value(), 2);
  auto open = system_->open_write(*archive, false);
  ASSERT_TARN_OK(open.status());
  EXPECT_EQ(system_->last_plan, WritePlan::Kind::kPrivate);
  ASSERT_TARN_OK(open->file->write(1000, as_bytes("XXXX")).status());
  system_->submit(*open);
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->read(*member), bytes.substr(1000, 5000));
  EXPECT_EQ(system_->read(*archive).substr(1000, 4), "XXXX");
  // The archive's old blob lives as long as its member.
  ASSERT_TARN_OK(system_->remove("archive"));
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("blobs"), 1u);
  EXPECT_EQ(system_->read(*member), bytes.substr(1000, 5000));
  ASSERT_TARN_OK(system_->remove("member"));
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("blobs"), 0u);
}

TEST_P(ContentTest, DeadPackGoesWhenItsLastRecordDoes) {
  for (int i = 0; i < 10; ++i) {
    ASSERT_TARN_OK(system_->put("f" + std::to_string(i), "some bytes").status());
  }
  ASSERT_TARN_OK(system_->content().barrier());
  ASSERT_TARN_OK(system_->close());
  system_->done_calls = 0;
  ASSERT_TARN_OK(system_->open());  // the pack is not the current one any more
  for (int i = 0; i < 9; ++i) ASSERT_TARN_OK(system_->remove("f" + std::to_string(i)));
  ASSERT_TARN_OK(system_->content().barrier());
  auto packs = system_->content().packs().value();
  ASSERT_EQ(packs.size(), 1u);
  EXPECT_EQ(packs[0].live_records, 1u);
  ASSERT_TARN_OK(system_->remove("f9"));
  ASSERT_TARN_OK(system_->content().barrier());
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("packs"), 0u);
  EXPECT_TRUE(system_->content().packs()->empty());
}

TEST_P(ContentTest, PackGoesWhoeverHeldItsRecordsLast) {
  auto begin = [&](size_t number) {
    std::vector<std::unique_ptr<Incoming>> held;
    for (size_t i = 0; i < number; ++i) {
      held.push_back(system_->content().begin_incoming(100'000).value());
      EXPECT_TARN_OK(held.back()->append(as_bytes(random_bytes(random_, 100'000))));
    }
    return held;
  };
  // Records that no row ever named, as of an extraction that failed: more than a short pack's
  // worth.
  auto held = begin(20);
  for (auto& incoming : held) ASSERT_TARN_OK(incoming->finish().status());
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("packs"), 1u);
  held.clear();
  ASSERT_TARN_OK(system_->content().barrier());
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("packs"), 0u);

  // Named and let go of, and the barrier came while one was still held.
  held = begin(20);
  for (size_t i = 0; i < held.size(); ++i) {
    auto done = held[i]->finish();
    ASSERT_TARN_OK(done.status());
    auto attached = kv::transact(system_->store(), [&](kv::Transaction& txn) {
      return system_->content().attach(txn, Ino(1000 + i), Generation(1), done->descriptor);
    });
    ASSERT_TARN_OK(attached.status());
    auto let_go = kv::transact(system_->store(), [&](kv::Transaction& txn) {
      return system_->content().release(txn, Ino(1000 + i), Generation(1), done->descriptor);
    });
    ASSERT_TARN_OK(let_go.status());
    system_->content().released(let_go->stamp);
  }
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("packs"), 1u);
  held.clear();
  ASSERT_TARN_OK(system_->content().barrier());
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("packs"), 0u);
  EXPECT_TRUE(system_->content().packs()->empty());
}

TEST_P(ContentTest, GroupKeepsToPacksOfItsOwn) {
  const std::string small = random_bytes(random_, 1000), bytes = random_bytes(random_, 100'000);
  auto neighbour = system_->put("neighbour", small);
  ASSERT_TARN_OK(neighbour.status());
  ASSERT_TARN_OK(system_->content().barrier());
  const Ino owner(1000);
  std::optional<Slice> last;
  for (const bool is_kept : {false, true}) {
    auto group = system_->content().begin_group();
    std::vector<std::unique_ptr<Incoming>> held;
    for (int i = 0; i < 100; ++i) {
      held.push_back(system_->content().begin_incoming(bytes.size(), group.get()).value());
      ASSERT_TARN_OK(held.back()->append(as_bytes(bytes)));
      auto done = held.back()->finish();
      ASSERT_TARN_OK(done.status());
      last = std::get<Slice>(done->descriptor);
    }
    EXPECT_EQ(system_->files_under("packs"), 2u);
    if (is_kept) {
      ASSERT_TARN_OK(kv::transact(system_->store(), [&](kv::Transaction& txn) {
                       return system_->content().attach(txn, owner, Generation(1), *last);
                     }).status());
    }
    held.clear();
    // Empty, but its group may go on with it.
    for (int i = 0; i < 2; ++i) ASSERT_TARN_OK(system_->content().barrier());
    EXPECT_EQ(system_->files_under("packs"), 2u);
    group.reset();
    for (int i = 0; i < 2; ++i) ASSERT_TARN_OK(system_->content().barrier());
    EXPECT_EQ(system_->files_under("packs"), is_kept ? 2u : 1u);
  }
  EXPECT_EQ(system_->read(*neighbour), small);
  meta::InodeRow row;
  row.ino = owner;
  row.mode = S_IFREG | 0644;
  row.size = bytes.size();
  row.content = encode(*last);
  auto file = system_->content().open_read(row);
  ASSERT_TARN_OK(file.status());
  EXPECT_EQ(read_all(**file), bytes);
}

TEST_P(ContentTest, FileRemovedBeforeItSettles) {
  auto open = system_->create("f");
  ASSERT_TARN_OK(open->file->write(0, as_bytes(random_bytes(random_, 200'000))).status());
  ASSERT_TARN_OK(open->file->sync());  // it has a name now
  EXPECT_EQ(system_->files_under("blobs"), 1u);
  auto ticket = system_->submit(*open);
  ASSERT_TARN_OK(system_->remove("f"));
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_TRUE(ticket->wait().is(Code::kStale));
  EXPECT_EQ(system_->done_calls, 1);
  open->file.reset();
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("blobs"), 0u);
}

TEST_P(ContentTest, TimesFollowTheRuleOfLiveAttributes) {
  auto open = system_->create("f");
  const TimeNs created = system_->row(open->ino)->mtime;
  ASSERT_TARN_OK(system_->content().barrier());  // names it; that is no write
  EXPECT_EQ(open->file->local()->is_named(), true);
  EXPECT_EQ(open->file->stat()->stamp(), system_->row(open->ino)->grant);
  system_->submit(*open);
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->row(open->ino)->mtime, created);
  auto set = system_->create("g");
  ASSERT_TARN_OK(set->file->write(0, as_bytes("x")).status());
  ASSERT_TARN_OK(set->file->set_times({}, 123 * kSecondNs));
  system_->submit(*set);
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->row(set->ino)->mtime, 123 * kSecondNs);
}

TEST_P(ContentTest, IncomingSmallLargeInlineAndDropped) {
  auto put = [&](const std::string& name, const std::string& bytes, bool may_inline) {
    auto ino = system_->put(name, "").value();
    EXPECT_TARN_OK(system_->content().barrier());
    auto incoming = system_->content().begin_incoming(bytes.size()).value();
    if (may_inline) incoming->allow_inline();
    for (size_t at = 0; at < bytes.size(); at += 70'000) {
      EXPECT_TARN_OK(incoming->append(as_bytes(std::string_view(bytes).substr(at, 70'000))));
    }
    auto done = incoming->finish();
    EXPECT_TARN_OK(done.status());
    EXPECT_EQ(done->size, bytes.size());
    EXPECT_EQ(done->digests.md5, as_text(digest::md5(as_bytes(bytes)).bytes()));
    EXPECT_TARN_OK(system_->content().sync_incoming());
    EXPECT_TARN_OK(kv::transact(system_->store(), [&](kv::Transaction& txn) -> Status {
                     meta::ContentChange change;
                     change.content = encode(done->descriptor);
                     change.size = done->size;
                     change.digests = done->digests;
                     TARN_TRY(meta::set_content(txn, TestSystem::context(), ino, change));
                     return system_->content().attach(txn, ino, Generation(1), done->descriptor);
                   }).status());
    return ino;
  };
  const std::string small = random_bytes(random_, 50'000), large = random_bytes(random_, 3'500'000);
  const Ino a = put("a", small, false), b = put("b", large, false), c = put("c", "inline", true);
  EXPECT_TRUE(std::holds_alternative<Slice>(system_->descriptor(a)));
  EXPECT_TRUE(std::holds_alternative<WholeBlob>(system_->descriptor(b)));
  EXPECT_TRUE(std::holds_alternative<Inline>(system_->descriptor(c)));
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_TRUE(std::holds_alternative<Slice>(system_->descriptor(c)));
  EXPECT_EQ(system_->read(a), small);
  EXPECT_EQ(system_->read(b), large);
  EXPECT_EQ(system_->read(c), "inline");
  EXPECT_TRUE(system_->content().reread(*system_->row(b))->empty());
  {
    auto dropped = system_->content().begin_incoming({}).value();
    ASSERT_TARN_OK(dropped->append(as_bytes(large)));
    ASSERT_TARN_OK(dropped->hole(1 << 20));
    auto done = dropped->finish();
    EXPECT_EQ(done->size, large.size() + (1 << 20));
    ASSERT_TARN_OK(system_->content().sync_incoming());
    EXPECT_EQ(system_->files_under("blobs"), 2u);
  }
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->files_under("blobs"), 1u);
}

TEST_P(ContentTest, IncomingDigestsAreTheBytesDigestsWhateverTheChunks) {
  // Around 8 MiB hashing goes to a thread of its own.
  for (size_t length : {size_t{0}, size_t{1}, size_t{200'000}, (size_t{8} << 20) - 1,
                        (size_t{8} << 20) + 1, size_t{21'234'567}}) {
    const std::string bytes = random_bytes(random_, length);
    std::string expected;
    auto incoming = system_->content().begin_incoming({}).value();
    for (size_t at = 0; at < length;) {
      const size_t n = std::min<size_t>(length - at, 1 + random_() % 3'000'000);
      ASSERT_TARN_OK(incoming->append(as_bytes(std::string_view(bytes).substr(at, n))));
      expected += bytes.substr(at, n);
      at += n;
      if (random_() % 4 == 0) {
        ASSERT_TARN_OK(incoming->hole(70'000));
        expected.append(70'000, '\0');
      }
    }
    auto done = incoming->finish();
    ASSERT_TARN_OK(done);
    EXPECT_EQ(done->size, expected.size());
    EXPECT_EQ(done->digests.md5, as_text(digest::md5(as_bytes(expected)).bytes()));
    std::string crc;
    append_be64(crc, digest::crc64nvme(as_bytes(expected)));
    EXPECT_EQ(done->digests.crc64nvme, crc);
  }
}

TEST_P(ContentTest, EveryFlippedByteIsFoundAndItsReadFails) {
  std::vector<Ino> inodes;
  std::vector<std::string> bytes;
  for (int i = 0; i < 40; ++i) {
    const size_t length = i < 36 ? 500 + random_() % 20'000 : 1'500'000 + random_() % 2'000'000;
    bytes.push_back(random_bytes(random_, length));
    inodes.push_back(system_->put("f" + std::to_string(i), bytes.back()).value());
  }
  ASSERT_TARN_OK(system_->content().barrier());
  for (Ino ino : inodes)
    ASSERT_TARN_OK(system_->content().digest(*system_->row(ino), DigestKind::kMd5).status());
  ASSERT_TRUE(system_->content().scrub()->empty());
  int found = 0, found_by_reread = 0, refused = 0;
  const int kFlips = 200;
  for (int flip = 0; flip < kFlips; ++flip) {
    const size_t victim = random_() % inodes.size();
    const uint64_t at = random_() % bytes[victim].size();
    const auto row = system_->row(inodes[victim]).value();
    const Descriptor d = decode(row.content).value();
    std::string path = system_->root().path() + "/";
    uint64_t offset = at;
    if (auto* slice = std::get_if<Slice>(&d)) {
      path += BlobStore::pack_path(slice->blob);
      offset += slice->offset;
    } else {
      path += BlobStore::blob_path(std::get<WholeBlob>(d).blob);
    }
    auto fd = open_at(AT_FDCWD, path, O_RDWR).value();
    char byte = 0;
    ASSERT_EQ(::pread(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    byte = static_cast<char>(byte ^ (1 << (flip % 8)));
    ASSERT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    if (flip % 2 == 0) {
      auto damage = system_->content().scrub();
      ASSERT_TARN_OK(damage.status());
      if (damage->size() == 1 && (*damage)[0].ino == inodes[victim]) ++found;
    } else {
      auto damage = system_->content().reread(row);
      ASSERT_TARN_OK(damage.status());
      if (damage->size() == 1 && (*damage)[0].ino == inodes[victim]) ++found_by_reread;
    }
    std::byte one{};
    auto read = system_->content().open_read(row).value()->read(at, std::span(&one, 1));
    if (read.is(Code::kCorrupt)) ++refused;
    byte = static_cast<char>(byte ^ (1 << (flip % 8)));
    ASSERT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    // A scrub that finds it well again forgets the damage.
    ASSERT_TRUE(system_->content().scrub()->empty());
  }
  EXPECT_EQ(found, kFlips / 2);
  EXPECT_EQ(found_by_reread, kFlips / 2);
  EXPECT_EQ(refused, kFlips);
}

TEST_P(ContentTest, DigestWhileAWriterComesIsThatOfOneVersion) {
  constexpr size_t kVersions = 40;
  auto version = [](size_t i) {
    return std::string(1'500'000 + 4096 * (i % 3), static_cast<char>('a' + i % 26));
  };
  std::set<std::string> wanted;
  for (size_t i = 0; i < kVersions; ++i) {
    wanted.insert(std::string(as_text(digest::md5(as_bytes(version(i))).bytes())));
  }
  const Ino ino = system_->put("f", version(0)).value();
  ASSERT_TARN_OK(system_->content().barrier());
  std::atomic<bool> is_done{false};
  std::atomic<size_t> known{0};
  std::thread reader([&] {
    while (!is_done) {
      auto row = system_->row(ino);
      if (!row.is_ok() || row->state != meta::ContentState::kSettled) continue;
      row->digests = {};  // as of a row that has none yet
      auto digests = system_->content().digest(*row, DigestKind::kMd5);
      EXPECT_TRUE(digests.is_ok() || digests.is(Code::kBusy)) << digests.status().to_string();
      if (!digests.is_ok()) continue;
      ++known;
      EXPECT_TRUE(wanted.contains(digests->md5)) << "a digest of bytes that never were the file's";
    }
  });
  for (size_t i = 1; i < kVersions; ++i) {
    auto open = system_->open_write(ino, false);
    ASSERT_TARN_OK(open.status());
    ASSERT_EQ(system_->last_plan, WritePlan::Kind::kInPlace);
    EXPECT_TARN_OK(open->file->truncate(version(i).size()));
    EXPECT_TARN_OK(open->file->write(0, as_bytes(version(i))).status());
    auto ticket = system_->submit(*open);
    EXPECT_TARN_OK(system_->content().barrier());
    EXPECT_TARN_OK(ticket->wait());
    const size_t before = known;
    for (int pause = 0; pause < 20 && known == before; ++pause) ::usleep(1000);
  }
  for (int pause = 0; pause < 12'000 && known == 0; ++pause) ::usleep(10'000);
  is_done = true;
  reader.join();
  EXPECT_GT(known, 0u);
  EXPECT_TRUE(system_->content().scrub()->empty());
}

TEST_P(ContentTest, ReadingAgainComputesMd5AndBelievesNoStoredCrc) {
  std::vector<Ino> inodes;
  std::vector<std::string> bytes;
  for (size_t length : {0, 700, 40'000, 1'500'000, 4'000'000, 3'000'001}) {
    bytes.push_back(random_bytes(random_, length));
    inodes.push_back(system_->put("f" + std::to_string(length), bytes.back()).value());
  }
  ASSERT_TARN_OK(system_->content().barrier());
  std::vector<meta::InodeRow> rows;
  for (Ino ino : inodes) {
    ASSERT_TARN_OK(system_->content().digest(*system_->row(ino), DigestKind::kMd5).status());
    rows.push_back(*system_->row(ino));
  }
  auto found = system_->content().md5_again(rows);
  ASSERT_EQ(found.size(), rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_TARN_OK(found[i]);
    EXPECT_EQ(*found[i], digest::md5(as_bytes(bytes[i])));
    EXPECT_EQ(as_text(found[i]->bytes()), rows[i].digests.md5);
  }
  EXPECT_EQ(system_->content().digests_again(rows[3], true)->crc64nvme, rows[3].digests.crc64nvme);

  // One byte of a blob changes, and every CRC that is stored is made to fit the change.
  const size_t victim = 4;
  const BlobId blob = std::get<WholeBlob>(decode(rows[victim].content).value()).blob;
  std::string changed = bytes[victim];
  changed[1'234'567] = static_cast<char>(changed[1'234'567] ^ 1);
  const std::string path = system_->root().path() + "/" + BlobStore::blob_path(blob);
  ASSERT_TARN_OK(write_at(open_at(AT_FDCWD, path, O_WRONLY)->get(), 0, as_bytes(changed)));
  Writer crcs;
  std::string whole;
  for (size_t at = 0; at < changed.size(); at += limits::kPieceBytes)
    crcs.u64(digest::crc64nvme(as_bytes(changed.substr(at, limits::kPieceBytes))));
  append_be64(whole, digest::crc64nvme(as_bytes(changed)));
  ASSERT_TARN_OK(kv::transact(system_->store(), [&](kv::Transaction& txn) -> Status {
    txn.put(crc_key(blob, 0), crcs.str());
    return {};
  }));
  meta::ContentChange change;
  change.digests = rows[victim].digests;
  change.digests->crc64nvme = whole;
  ASSERT_TARN_OK(system_->set(inodes[victim], change));
  rows[victim] = *system_->row(inodes[victim]);
  EXPECT_TRUE(system_->content().reread(rows[victim])->empty());
  EXPECT_TRUE(system_->content().scrub()->empty());
  found = system_->content().md5_again(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_TARN_OK(found[i]);
    EXPECT_EQ(as_text(found[i]->bytes()) == rows[i].digests.md5, i != victim);
  }
  auto damage = system_->content().condemn(rows[victim]);
  ASSERT_TARN_OK(damage);
  ASSERT_EQ(damage->size(), 1u);
  EXPECT_EQ((*damage)[0].blob, blob);
  EXPECT_EQ((*damage)[0].length, bytes[victim].size());
  std::byte one{};
  EXPECT_TRUE(system_->content()
                  .open_read(rows[victim])
                  .value()
                  ->read(5, std::span(&one, 1))
                  .is(Code::kCorrupt));
}

TEST_P(ContentTest, AnMd5ThatIsStoredIsNeitherReadForNorReplaced) {
  const std::string bytes = random_bytes(random_, 2'000'000);
  const Ino ino = system_->put("f", bytes).value();
  ASSERT_TARN_OK(system_->content().barrier());
  // As a member of a plain archive is left: its MD5, no CRC.
  const std::string md5(as_text(digest::md5(as_bytes(bytes)).bytes()));
  meta::ContentChange change;
  change.digests = meta::Digests{.md5 = md5, .crc64nvme = "", .sha256 = ""};
  ASSERT_TARN_OK(system_->set(ino, change));
  const BlobId blob = std::get<WholeBlob>(system_->descriptor(ino)).blob;
  const std::string path = system_->root().path() + "/" + BlobStore::blob_path(blob);
  ASSERT_TARN_OK(write_at(open_at(AT_FDCWD, path, O_WRONLY)->get(), 77, as_bytes("x!y")));
  const meta::InodeRow row = *system_->row(ino);
  const auto known = system_->content().digest(row, DigestKind::kMd5);
  ASSERT_TARN_OK(known);
  EXPECT_EQ(known->md5, md5);
  EXPECT_TRUE(system_->content().digest(row, DigestKind::kCrc64Nvme).is(Code::kCorrupt));
  EXPECT_TRUE(system_->content().digest(row, DigestKind::kSha256).is(Code::kCorrupt));
  EXPECT_EQ(system_->row(ino)->digests, row.digests);
}

TEST_P(ContentTest, ReadingAgainRefusesWhatIsBeingWritten) {
  const Ino ino = system_->put("f", random_bytes(random_, 3'000'000)).value();
  ASSERT_TARN_OK(system_->content().barrier());
  const meta::InodeRow before = *system_->row(ino);
  auto open = system_->open_write(ino, false);
  ASSERT_TARN_OK(open);
  const meta::InodeRow now = *system_->row(ino);
  EXPECT_TRUE(system_->content().md5_again(std::span(&now, 1))[0].is(Code::kBusy));
  // The row as it was: the bytes read may be new ones.
  EXPECT_TRUE(system_->content().md5_again(std::span(&before, 1))[0].is(Code::kBusy));
}

TEST_P(ContentTest, BackgroundSettlesDigestsAndCountsEveryDone) {
  ASSERT_TARN_OK(system_->close());
  ContentOptions options;
  options.barrier_interval_ns = 20 * kMillisecondNs;
  ASSERT_TARN_OK(system_->open(options));
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) {
        auto open = system_->create("t" + std::to_string(t) + "-" + std::to_string(i));
        if (!open.is_ok()) {
          ADD_FAILURE() << open.status().to_string();
          continue;
        }
        const std::string bytes(static_cast<size_t>(100 + i), static_cast<char>('a' + t));
        auto written = open->file->write(0, as_bytes(bytes));
        ClosedFile closed;
        closed.ino = open->ino;
        closed.file = open->file;
        closed.is_new = true;
        EXPECT_TARN_OK(written.status());
        closed.done = [&done](const Result<meta::InodeRow>& row) {
          EXPECT_TARN_OK(row.status());
          if (row.is_ok()) ++done;
        };
        open->file.reset();
        auto ticket = system_->content().submit_closed(std::move(closed));
        if (i % 50 == 0) EXPECT_TARN_OK(ticket->wait());
        if (i % 97 == 0) EXPECT_TARN_OK(system_->content().barrier());
      }
    });
  }
  auto big = system_->create("big");
  const std::string bytes = random_bytes(random_, 2'000'000);
  ASSERT_TARN_OK(big->file->write(0, as_bytes(bytes)).status());
  EXPECT_TARN_OK(system_->submit(*big)->wait());
  for (auto& thread : threads) thread.join();
  EXPECT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(done, 1200);
  // Whoever computes it runs when nobody else wants the processor.
  for (int i = 0; i < 12'000 && system_->row(big->ino)->digests.md5.empty(); ++i) ::usleep(10'000);
  EXPECT_EQ(system_->row(big->ino)->digests.md5, as_text(digest::md5(as_bytes(bytes)).bytes()));
  EXPECT_EQ(system_->read(system_->find("t3-299")->ino), std::string(399, 'd'));
  EXPECT_TARN_OK(system_->close());
}

TEST_P(ContentTest, AdoptReopensByKernelHandle) {
  auto open = system_->create("f");
  ASSERT_TARN_OK(open->file->write(0, as_bytes("survives the worker")).status());
  auto local = open->file->local();
  const std::string handle = local->kernel_handle();
  if (handle.empty()) GTEST_SKIP() << "this file system gives no kernel handles";
  const BlobId blob = local->blob();
  // Held by someone else, as the kernel holds a backing file.
  UniqueFd holder(::dup(local->fd()));
  system_->abandon();
  ASSERT_TARN_OK(system_->open(TestSystem::quiet(), true));
  auto adopted = system_->content().adopt(blob, handle, 0, true);
  if (adopted.is(Code::kNotPermitted))
    GTEST_SKIP() << "open_by_handle_at needs CAP_DAC_READ_SEARCH";
  ASSERT_TARN_OK(adopted.status());
  auto file = system_->content().open_new(*adopted);
  EXPECT_EQ(read_all(*file), "survives the worker");
  ASSERT_TARN_OK(system_->content().finish_take_over());
  EXPECT_EQ(system_->row(open->ino)->state, meta::ContentState::kOpen);
  system_->submit({open->ino, file, true, {}});
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_EQ(system_->read(open->ino), "survives the worker");
}

/// Duplicates, as a keeper has them.
class FakeHolder final : public Holder {
 public:
  Status hold(BlobId blob, int fd) override {
    held[blob] = UniqueFd(::dup(fd));
    return {};
  }
  void drop(BlobId blob) override { held.erase(blob); }
  UniqueFd take(BlobId blob) override {
    auto at = held.find(blob);
    return at == held.end() ? UniqueFd() : UniqueFd(::dup(at->second.get()));
  }
  void drop_rest() override { is_over = true; }
  std::map<BlobId, UniqueFd> held;
  bool is_over = false;
};

TEST_P(ContentTest, FilesThatNothingIsAttachedToAreHeldUntilTheyEnd) {
  FakeHolder holder;
  ContentOptions options = TestSystem::quiet();
  options.holder = &holder;
  ASSERT_TARN_OK(system_->close());
  ASSERT_TARN_OK(system_->open(options));
  auto open = system_->create("f");
  ASSERT_TARN_OK(open->file->write(0, as_bytes("survives the worker")).status());
  const BlobId blob = open->file->local()->blob();
  ASSERT_TRUE(holder.held.contains(blob));
  system_->abandon();
  ASSERT_TARN_OK(system_->open(options, true));
  // Nothing but the holder can say where it is.
  auto adopted = system_->content().adopt(blob, "", 0, true);
  ASSERT_TARN_OK(adopted.status());
  auto file = system_->content().open_new(*adopted);
  adopted->reset();
  EXPECT_EQ(read_all(*file), "survives the worker");
  EXPECT_FALSE(holder.is_over);
  ASSERT_TARN_OK(system_->content().finish_take_over());
  EXPECT_TRUE(holder.is_over);
  EXPECT_TRUE(holder.held.contains(blob));
  system_->submit({open->ino, std::move(file), true, {}});
  ASSERT_TARN_OK(system_->content().barrier());
  EXPECT_FALSE(holder.held.contains(blob)) << "settled, it lives in a pack";
  EXPECT_EQ(system_->read(open->ino), "survives the worker");
  ASSERT_TARN_OK(system_->close());
  EXPECT_TRUE(holder.held.empty());
  ASSERT_TARN_OK(system_->open());
}

}  // namespace
}  // namespace tarn::content
