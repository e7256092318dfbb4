// ZipReader: members of a zip, as far as they are stored without compression.
//
// Reads the central directory (zip64 too), then one local header a member, in the order of their
// offsets. A compressed or encrypted member is NotSupported, by name. Local and central names must
// agree and members must not overlap. Times without a time zone (DOS) are taken as UTC. Not used
// directly: Reader::open makes it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/archive.h"
#include "archive/validator.h"

namespace tarn::archive {

class ZipReader : public Reader {
 public:
  /// Reads the central directory. NotSupported for a Source of unknown size and for several disks.
  static Result<std::unique_ptr<Reader>> open(Source& source, Options options);

  Result<std::optional<Member>> next() override;
  Status read_data(const DataSink& sink) override;

 private:
  struct Entry {
    uint64_t local_offset = 0;
    size_t directory_position = 0;
  };
  struct Central;

  ZipReader(Source& source, Options options);
  Status read_directory();
  Status index_directory(uint64_t entries);
  Result<Central> parse_central(size_t position) const;
  Result<std::optional<Member>> read_member();
  Result<Member> make_member(const Central& central, uint64_t limit);
  Result<uint64_t> find_data(const Central& central);
  Status set_type(const Central& central, Member& member);

  Source& source_;
  Options options_;
  std::optional<Validator> validator_;
  std::string directory_;
  uint64_t directory_offset_ = 0;
  std::vector<Entry> entries_;  // ascending by local offset
  size_t next_entry_ = 0;
  uint64_t data_offset_ = 0, data_left_ = 0;
  uint64_t stored_total_ = 0;
  Status failure_;
};

}  // namespace tarn::archive
