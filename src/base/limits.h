// Every limit of Tarn on a size, count or duration, each with the reason for its value.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace tarn::limits {

inline constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

// Names and links: what Linux file systems allow (NAME_MAX, PATH_MAX, ext4's link count).
inline constexpr uint32_t kNameBytesMax = 255;
inline constexpr uint32_t kSymlinkBytesMax = 4095;
inline constexpr uint32_t kLinksMax = 65'000;
// Extended attributes: the kernel's own limits on one value and on a list of names.
inline constexpr uint32_t kXattrValueBytesMax = 64 * 1024;
inline constexpr uint32_t kXattrListBytesMax = 64 * 1024;

// Where a file's bytes live by size: inline up to 16 KiB, pack record up to 128 KiB, then a blob.
inline constexpr uint64_t kInlineBytesMax = 16 * kKiB;
inline constexpr uint64_t kPackedBytesMax = 128 * kKiB;
// One pack ends at 256 MiB: large enough to read sequentially, small enough to compact at once.
inline constexpr uint64_t kPackBytesMax = 256 * kMiB;
// A write-open of a shared blob copies up to this inside OPEN; above it becomes pieces.
inline constexpr uint64_t kCopyInOpenBytesMax = 64 * kMiB;
inline constexpr uint64_t kPieceBytes = 1 * kMiB;

// The background barrier: whichever comes first.
inline constexpr TimeNs kBarrierIntervalNs = kSecondNs;
inline constexpr uint64_t kBarrierBytes = 64 * kMiB;

// Unnamed files waiting for CREATE; a burst of creates drains it and the refill is in the
// background.
inline constexpr uint32_t kPoolFiles = 256;

// Transactions: retries of a conflict are capped by time, not by count.
inline constexpr TimeNs kTransactionRetryNs = 2 * kSecondNs;
// Ids handed out a synced block at a time.
inline constexpr uint64_t kIdBlock = 4096;

// The change log is trimmed to this many records (about 150 bytes each: 150 MB).
inline constexpr uint64_t kLogRecordsMax = 1'000'000;

// Memory for messages of the mount.
inline constexpr uint64_t kMountBufferBytesMax = 128 * kMiB;
inline constexpr uint64_t kRequestBytesMax = 1 * kMiB;

// Ballast: 1 GiB or 1 % of the disk, whichever is larger, unless told otherwise.
inline constexpr uint64_t kBallastBytesMin = 1 * kGiB;

}  // namespace tarn::limits
