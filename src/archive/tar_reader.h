// TarReader: members of a tar, plain or decompressed.
//
// Parses V7, ustar, GNU and pax headers, GNU sparse maps (old, 0.0, 0.1, 1.0), long names, global
// pax headers; see Reader for the contract. Not used directly: Reader::open makes it. Multi-volume
// and renaming records, sparse files of star and Solaris, and unknown types are NotSupported rather
// than guessed at.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/archive.h"
#include "archive/byte_stream.h"
#include "archive/tar_header.h"
#include "archive/validator.h"

namespace tarn::archive {

class TarReader : public Reader {
 public:
  TarReader(Format format, std::unique_ptr<ByteStream> stream, Options options);

  Result<std::optional<Member>> next() override;
  Status read_data(const DataSink& sink) override;

 private:
  /// The header blocks of one member.
  struct Headers {
    uint64_t offset = 0;  // of the first
    Block block{};
    PaxRecords pax;
    std::optional<std::string> long_name, long_link;
    uint64_t special_bytes = 0;
    uint64_t stored_bytes = 0;
  };

  Result<std::optional<Member>> read_member();
  Result<std::optional<Headers>> read_headers();
  Status read_special(const TarHeader& header, Headers& headers, std::vector<std::string>& records);
  Result<std::string> read_body(uint64_t size, Headers& headers);
  Result<std::optional<Block>> read_block();
  Status read_trailer();
  Status skip_rest();

  Result<Member> make_member(Headers& headers);
  Result<Member> fill_member(Headers& headers, std::string_view name);
  Status set_attributes(const TarHeader& header, const PaxRecords& pax, Member& member);
  Status set_type(const TarHeader& header, Headers& headers, std::string_view name, Member& member);
  Status set_link(const TarHeader& header, const Headers& headers, Member& member) const;
  Status set_devices(const TarHeader& header, const PaxRecords& pax, Member& member) const;
  Status set_acl(const std::optional<std::string>& text, std::string_view attribute,
                 Member& member);
  Result<bool> hardlink_has_data();
  Status set_sparse(const TarHeader& header, Headers& headers, Member& member);
  Result<std::vector<SparseEntry>> read_gnu_map(const TarHeader& header, Headers& headers);
  Result<std::vector<SparseEntry>> read_pax_map(Headers& headers);
  Status check_limits(const Member& member) const;

  uint64_t position() const;

  std::unique_ptr<ByteStream> stream_;
  Options options_;
  std::optional<Validator> validator_;
  std::string global_records_;
  std::optional<Block> pushed_back_;

  // The member given out last.
  std::string name_;
  std::vector<Extent> extents_;
  bool has_data_ = false, is_sparse_ = false;
  uint64_t stored_left_ = 0, padding_left_ = 0;

  uint64_t members_ = 0, stored_total_ = 0;
  bool is_finished_ = false;
  Status failure_;
};

}  // namespace tarn::archive
