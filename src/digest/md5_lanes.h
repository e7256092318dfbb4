// MD5 of many independent streams at once, each in a lane of SIMD registers.
//
// MD5 of one stream is a chain that leaves most of a core idle; Md5Lanes runs up to 32 side by
// side on one thread, gives a lane that is done its next job, and goes to narrower registers and
// at last to OpenSSL as fewer streams are left. Use it wherever there are several streams to hash:
// verifying files, the parts of an upload, the members of an archive. `md5_many` and `md5_files`
// are the usual doors. The digests are RFC 1321's whatever the processor (see cpu_level.h).
// Thread rules: one Md5Lanes belongs to one thread; the free functions are thread-safe. For
// several cores give each thread its share of the jobs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "digest/digest.h"

namespace tarn::digest {

/// Gives the next bytes of a stream, none at its end. They stay valid until the next call or the
/// function's destruction. It is not called again after the end or an error.
using Md5Pull = std::move_only_function<Result<std::span<const std::byte>>()>;

class Md5Lanes {
 public:
  /// At most `lanes_max` streams (1 to 32) are in flight; fewer where the processor has fewer lanes
  /// than that.
  explicit Md5Lanes(size_t lanes_max = 32);
  ~Md5Lanes();
  Md5Lanes(const Md5Lanes&) = delete;
  Md5Lanes& operator=(const Md5Lanes&) = delete;

  /// Streams in flight at most.
  size_t lanes() const;

  /// Adds a job and returns its number: 0, 1, 2 ... since the last `finish`. When every lane is
  /// taken it first hashes until one is free, so that at most lanes() jobs hold memory or a file.
  /// `bytes` must stay valid until `finish` returns.
  size_t submit(std::span<const std::byte> bytes);
  size_t submit(Md5Pull pull);

  /// Hashes all that was submitted. Returns one result a job, by job number: the digest, or the
  /// error that its pull returned. The engine is then empty and may be used again.
  std::vector<Result<Digest>> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The MD5 of each stream, in the order given. One stream alone goes at OpenSSL's speed.
std::vector<Digest> md5_many(std::span<const std::span<const std::byte>> streams);

/// A range of an open file.
struct FileRange {
  int fd = -1;
  uint64_t offset = 0;
  uint64_t length = 0;
};

/// The MD5 of each range, in the order given: Corrupt for a file that ends before its range does,
/// otherwise the error of the read. Longer ranges are begun first. Reads 64 KiB at a time into at
/// most 2 MiB of buffers; where data is not in the page cache it asks the kernel to read
/// ahead, at most about 100 MiB.
std::vector<Result<Digest>> md5_files(std::span<const FileRange> files);

}  // namespace tarn::digest
