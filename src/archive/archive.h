// Reader: turns the bytes of an archive into members.
//
//   TARN_ASSIGN(auto reader, archive::Reader::open(source, options));
//   for (;;) { TARN_ASSIGN(auto member, reader->next()); if (!member) break; ... }
//
// Plain tar (V7, ustar, GNU, pax, sparse) and zip with stored members: next() reads headers only;
// a member's bytes are the range [data_offset, data_offset + stored_bytes) of the Source, or its
// extents. Compressed tar: one streaming pass in bounded memory, read_data() between two calls of
// next(); decompression runs ahead on a thread of its own. Every name that next() gives out is
// relative and safe to create below one directory; see Validator for the rules. After an error the
// Reader gives that error again. One thread at a time.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/format.h"
#include "archive/member.h"
#include "archive/options.h"
#include "archive/source.h"
#include "base/status.h"

namespace tarn::archive {

/// Takes `bytes` that belong at `logical_offset` of the member; they are valid only during the
/// call. Its error ends read_data.
using DataSink = std::function<Status(uint64_t logical_offset, std::span<const std::byte> bytes)>;

class Reader {
 public:
  /// Detects the format. `source` must outlive the Reader. Errors: detect()'s; NotSupported.
  static Result<std::unique_ptr<Reader>> open(Source& source, Options options);
  virtual ~Reader() = default;

  /// The next member; nothing at the end, when the whole archive has been read and found whole
  /// (end marker, padding, checksums of the compression, raw bytes to the last). Errors name the
  /// member and the offset: BadFormat (damaged), InvalidArgument (refused by a rule), NameTooLong,
  /// FileTooLarge (beyond a limit), NotSupported, and the Source's own.
  virtual Result<std::optional<Member>> next() = 0;

  /// Gives the bytes of the member that next() returned last to `sink`, in ascending order, holes
  /// left out. Once a member. Works for plain archives too, then reads the Source.
  virtual Status read_data(const DataSink& sink) = 0;

  Format format() const { return format_; }
  /// What was passed over, such as an ACL entry for an unknown user. At most 100 lines.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Bytes of the archive (as stored in the Source) that have been passed; for progress. Any
  /// thread.
  uint64_t raw_bytes() const { return raw_bytes_.load(std::memory_order_relaxed); }

 protected:
  explicit Reader(Format format) : format_(format) {}
  void warn(std::string line);
  std::atomic<uint64_t> raw_bytes_{0};

 private:
  Format format_;
  std::vector<std::string> warnings_;
};

}  // namespace tarn::archive
