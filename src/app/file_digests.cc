#include "app/file_digests.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "meta/meta.h"

namespace tarn::app {
namespace {

// Reading again is bound by the disk and digests by memory well before this many cores are.
constexpr size_t kThreadsMax = 8;

size_t threads_of_machine() {
  return std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kThreadsMax);
}

Status check_is_readable_file(fs::FileSystem& file_system, const fs::Caller& caller,
                              const fs::Attributes& file) {
  if (S_ISDIR(file.mode)) return {Code::kIsDirectory, "is a directory (-r goes into directories)"};
  if (!S_ISREG(file.mode))
    return {Code::kInvalidArgument, "is neither a regular file nor a directory"};
  // Root may read everything; the look-up would be most of the cost of a stored digest.
  return caller.uid == 0 ? Status() : file_system.access(caller, file.ino, R_OK);
}

/// The row of a file without a writer; one that was closed a moment ago is settled first.
Result<meta::InodeRow> settled_row(fs::FileSystem& file_system, const fs::Caller& caller,
                                   const fs::Attributes& file) {
  TARN_TRY(check_is_readable_file(file_system, caller, file));
  if (!file.is_settled) TARN_TRY(file_system.get_xattr(caller, file.ino, "user.tarn.crc64nvme"));
  return meta::get_inode(*file_system.store().begin(), file.ino);
}

/// `indexes` dealt out to the machine's threads, the bytes as even as whole files allow.
std::vector<std::vector<size_t>> shares_of(const std::vector<std::optional<meta::InodeRow>>& rows,
                                           std::vector<size_t> indexes) {
  std::vector<std::vector<size_t>> shares(std::min(threads_of_machine(), indexes.size()));
  std::vector<uint64_t> bytes(shares.size());
  std::ranges::stable_sort(indexes, std::greater(), [&](size_t i) { return rows[i]->size; });
  for (const size_t i : indexes) {
    const auto least = static_cast<size_t>(std::ranges::min_element(bytes) - bytes.begin());
    shares[least].push_back(i);
    bytes[least] += rows[i]->size;
  }
  return shares;
}

std::string hex_of(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return hex;
}

/// Compares what was read with what is stored, and records the outcome.
Status find_damage(fs::FileSystem& file_system, Health& health, const meta::InodeRow& row,
                   ReadAgain& result) {
  std::vector<content::Content::Damage> damages;
  const std::string stored = hex_of(row.digests.md5);
  if (result.status.is(Code::kCorrupt) || (!stored.empty() && stored != result.found.md5)) {
    TARN_ASSIGN(damages, file_system.content().condemn(row));
  } else if (result.status.is(Code::kIo) || stored.empty()) {
    // Where the disk fails, or only the CRCs can tell.
    TARN_ASSIGN(damages, file_system.content().reread(row));
  }
  for (const auto& damage : damages)
    result.damage.push_back({.ino = row.ino,
                             .generation = row.generation,
                             .blob = damage.blob,
                             .offset = damage.offset,
                             .length = damage.length,
                             .what = damage.what,
                             .found = Clock::system().now()});
  return health.record_reread(row.ino, row.generation, result.damage);
}

void judge(fs::FileSystem& file_system, Health& health, const meta::InodeRow& row,
           ReadAgain& result) {
  const bool is_about_bytes = result.status.is(Code::kCorrupt) || result.status.is(Code::kIo);
  if (!result.status.is_ok() && !is_about_bytes) return;
  const Status judged = find_damage(file_system, health, row, result);
  // Bytes that cannot be read for being damaged are damage, not a failure to look.
  if (!result.damage.empty()) result.status = Status();
  if (!judged.is_ok()) result.status = judged;
}

}  // namespace

Result<FileDigests> digests_of(fs::FileSystem& file_system, const Health& health,
                               const fs::Caller& caller, const fs::Attributes& file,
                               const WantedDigests& wanted) {
  TARN_TRY(check_is_readable_file(file_system, caller, file));
  if (health.is_damaged(file.ino, file.generation))
    return Status(Code::kCorrupt, "its stored bytes are damaged (tarn status lists where)");
  FileDigests found;
  if (wanted.md5) {
    TARN_ASSIGN(found.md5, file_system.get_xattr(caller, file.ino, "user.tarn.md5"));
  }
  if (wanted.crc64nvme) {
    TARN_ASSIGN(found.crc64nvme, file_system.get_xattr(caller, file.ino, "user.tarn.crc64nvme"));
  }
  if (wanted.sha256) {
    TARN_ASSIGN(found.sha256, file_system.get_xattr(caller, file.ino, "user.tarn.sha256"));
  }
  if (wanted.etag) {
    TARN_ASSIGN(found.etag, file_system.get_xattr(caller, file.ino, "user.tarn.etag"));
  }
  return found;
}

std::vector<ReadAgain> read_again(fs::FileSystem& file_system, Health& health,
                                  const fs::Caller& caller, std::span<const fs::Attributes> files,
                                  std::span<const WantedDigests> wanted) {
  std::vector<ReadAgain> out(files.size());
  std::vector<std::optional<meta::InodeRow>> rows(files.size());
  std::vector<size_t> in_lanes, alone;
  for (size_t i = 0; i < files.size(); ++i) {
    auto row = settled_row(file_system, caller, files[i]);
    if (!row.is_ok()) {
      out[i].status = row.status();
      continue;
    }
    rows[i] = std::move(row).value();
    (wanted[i].crc64nvme || wanted[i].sha256 ? alone : in_lanes).push_back(i);
  }
  const auto shares = shares_of(rows, in_lanes);
  for_each_parallel(shares.size(), 2, [&](size_t share) {
    std::vector<meta::InodeRow> mine;
    for (const size_t i : shares[share]) mine.push_back(*rows[i]);
    const auto digests = file_system.content().md5_again(mine);
    for (size_t k = 0; k < digests.size(); ++k) {
      ReadAgain& result = out[shares[share][k]];
      result.status = digests[k].status();
      if (digests[k].is_ok()) result.found.md5 = digests[k]->hex();
    }
  });
  for_each_parallel(alone.size(), 2, [&](size_t k) {
    ReadAgain& result = out[alone[k]];
    const bool with_sha256 = wanted[alone[k]].sha256;
    const auto digests = file_system.content().digests_again(*rows[alone[k]], with_sha256);
    result.status = digests.status();
    if (digests.is_ok())
      result.found = {hex_of(digests->md5), hex_of(digests->crc64nvme), hex_of(digests->sha256),
                      ""};
  });
  for (size_t i = 0; i < files.size(); ++i) {
    if (rows[i].has_value()) judge(file_system, health, *rows[i], out[i]);
  }
  return out;
}

void for_each_parallel(size_t count, size_t parallel_from,
                       const std::function<void(size_t)>& body) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
  };
  const size_t threads = count < parallel_from ? 1 : threads_of_machine();
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < std::min(threads, count); ++i) helpers.emplace_back(work);
  work();
}

}  // namespace tarn::app
