#include "archive/tar_reader.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "archive/acl_text.h"
#include "archive/path.h"
#include "base/limits.h"

namespace tarn::archive {
namespace {

// Real members have at most four special headers: global, pax, long name, long link.
constexpr int kSpecialHeadersMax = 64;

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

bool is_special(char type) {
  return std::string_view("xXgLKVA").find(type) != std::string_view::npos;
}

/// Body of a GNU long name: text that ends at NULs.
Result<std::string> long_text(std::string body) {
  body.resize(body.find_last_not_of('\0') + 1);
  if (body.find('\0') != std::string::npos) return bad("long name contains a NUL byte");
  return body;
}

}  // namespace

TarReader::TarReader(Format format, std::unique_ptr<ByteStream> stream, Options options)
    : Reader(format), stream_(std::move(stream)), options_(std::move(options)) {
  if (options_.validate_members) validator_.emplace(options_);
  if (!options_.resolve_name) options_.resolve_name = resolve_system_name;
}

uint64_t TarReader::position() const {
  return stream_->position() - (pushed_back_ ? kBlockBytes : 0);
}

Result<std::optional<Member>> TarReader::next() {
  if (!failure_.is_ok()) return failure_;
  if (is_finished_) return std::optional<Member>();
  auto member = read_member();
  failure_ = member.status();
  raw_bytes_.store(stream_->raw_bytes(), std::memory_order_relaxed);
  return member;
}

Result<std::optional<Member>> TarReader::read_member() {
  for (;;) {
    TARN_TRY(skip_rest());
    TARN_ASSIGN(auto headers, read_headers());
    if (!headers) {
      TARN_TRY(read_trailer());
      is_finished_ = true;
      return std::optional<Member>();
    }
    TARN_ASSIGN(Member member, make_member(*headers));
    if (validator_) {
      auto verdict = validator_->add(member);
      if (!verdict)
        return verdict.status().with_context(fmt::format("member at offset {}", headers->offset));
      // A hard link to itself: GNU tar writes one for a name that was given to it twice.
      if (*verdict == Validator::Verdict::kSame) continue;
      member.replaces_earlier = *verdict == Validator::Verdict::kReplaces;
    }
    return std::optional<Member>(std::move(member));
  }
}

Status TarReader::skip_rest() {
  uint64_t rest = stored_left_ + padding_left_;
  stored_left_ = padding_left_ = 0;
  if (rest == 0) return {};
  if (std::exchange(pushed_back_, std::nullopt)) rest -= kBlockBytes;
  auto passed = stream_->skip(rest);
  if (!passed) return passed.status().with_context(fmt::format("data of member '{}'", name_));
  if (*passed < rest)
    return bad(
        fmt::format("the archive is truncated: it ends at offset {}, inside the data of member "
                    "'{}', {} bytes early",
                    stream_->position(), name_, rest - *passed));
  return {};
}

/// One block; nothing at the end of the archive.
Result<std::optional<Block>> TarReader::read_block() {
  if (pushed_back_) return std::exchange(pushed_back_, std::nullopt);
  Block block;
  size_t filled = 0;
  while (filled < kBlockBytes) {
    TARN_ASSIGN(const auto bytes, stream_->peek(kBlockBytes));
    if (bytes.empty()) break;
    const size_t n = std::min(bytes.size(), kBlockBytes - filled);
    std::memcpy(block.data() + filled, bytes.data(), n);
    stream_->consume(n);
    filled += n;
  }
  if (filled == 0) return std::optional<Block>();
  if (filled < kBlockBytes)
    return bad(fmt::format("the archive is truncated: it ends at offset {}, inside a header block",
                           stream_->position()));
  return std::optional<Block>(block);
}

/// The headers up to and with that of the next member; nothing at the end marker.
Result<std::optional<TarReader::Headers>> TarReader::read_headers() {
  Headers headers;
  headers.offset = position();
  std::vector<std::string> records;
  for (int specials = 0;; ++specials) {
    const uint64_t offset = position();
    TARN_ASSIGN(const auto block, read_block());
    if (!block || is_zero_block(*block)) {
      if (specials > 0)
        return bad(
            fmt::format("the archive is truncated: it ends at offset {}, after special headers "
                        "that belong to a member",
                        offset));
      if (!block && !options_.allow_missing_end)
        return bad(
            fmt::format("the archive is truncated: it ends at offset {} without the two zero "
                        "blocks of a tar's end; allow a missing end to accept it",
                        offset));
      return std::optional<Headers>();
    }
    if (!has_valid_checksum(*block))
      return bad(fmt::format("{} at offset {} has a wrong checksum{}",
                             offset == 0 ? "first header" : "header", offset,
                             offset == 0 ? ": this is not a tar, or it is damaged"
                                         : fmt::format(" (after member '{}')", name_)));
    if (specials > kSpecialHeadersMax)
      return bad(fmt::format("more than {} special headers before one member, from offset {}",
                             kSpecialHeadersMax, headers.offset));
    headers.block = *block;
    const TarHeader header(headers.block);
    if (!is_special(header.type())) break;
    Status read = read_special(header, headers, records);
    if (!read.is_ok())
      return read.with_context(
          fmt::format("special header '{}' at offset {}", header.type(), offset));
  }
  TARN_TRY(headers.pax.add(global_records_));
  for (const std::string& body : records) {
    Status added = headers.pax.add(body);
    if (!added.is_ok())
      return added.with_context(fmt::format(
          "member '{}' at offset {}", printable(TarHeader(headers.block).name()), headers.offset));
  }
  return std::optional<Headers>(std::move(headers));
}

Status TarReader::read_special(const TarHeader& header, Headers& headers,
                               std::vector<std::string>& records) {
  TARN_ASSIGN(const uint64_t size, header.size());
  const char type = header.type();
  TARN_ASSIGN(std::string body, read_body(size, headers));
  switch (type) {
    case 'x':
    case 'X':
      records.push_back(std::move(body));
      return {};
    case 'g': {
      PaxRecords check;
      TARN_TRY(check.add(body));
      if (check.path || check.link_path || check.size || check.has_sparse_map ||
          check.sparse_name || check.sparse_major)
        return bad("a global pax header may not set a name, a size or a sparse map");
      if (global_records_.size() + body.size() > options_.limits.header_bytes_max)
        return {Code::kFileTooLarge, fmt::format("global pax headers exceed {} bytes",
                                                 options_.limits.header_bytes_max)};
      global_records_ += body;
      return {};
    }
    case 'L': {
      TARN_ASSIGN(headers.long_name, long_text(std::move(body)));
      return {};
    }
    case 'K': {
      TARN_ASSIGN(headers.long_link, long_text(std::move(body)));
      return {};
    }
    case 'A':
      warn(fmt::format("the ACL of Solaris at offset {} is left out", headers.offset));
      return {};
    default:  // 'V': the label of the volume.
      return {};
  }
}

Result<std::string> TarReader::read_body(uint64_t size, Headers& headers) {
  const uint64_t limit = options_.limits.header_bytes_max;
  if (size > limit - std::min(limit, headers.special_bytes))
    return {Code::kFileTooLarge,
            fmt::format("special headers of one member exceed {} bytes ({} more)", limit, size)};
  headers.special_bytes += size;
  std::string body;
  while (body.size() < size) {
    TARN_ASSIGN(const auto block, read_block());
    if (!block)
      return bad(fmt::format(
          "the archive is truncated: it ends at offset {}, inside a special header", position()));
    body.append(as_text(*block).substr(0, static_cast<size_t>(size - body.size())));
  }
  return body;
}

Status TarReader::read_trailer() {
  // The first zero block has been read (or the end is missing, and allowed).
  const uint64_t offset = position();
  uint64_t padding = 0;
  for (;;) {
    TARN_ASSIGN(const auto bytes, stream_->peek(kBlockBytes));
    if (bytes.empty()) return {};
    if (options_.ignore_trailing_data) {
      // A plain archive need not be read further; a compressed one is, for on_raw.
      if (format().is_plain()) return {};
    } else if (!is_zero_block(bytes)) {
      return bad(
          fmt::format("the archive goes on after its end marker at offset {}, with bytes that "
                      "are no padding; ignore trailing data to accept it",
                      offset - kBlockBytes));
    }
    padding += bytes.size();
    stream_->consume(bytes.size());
    if (padding > options_.limits.padding_bytes_max && !options_.ignore_trailing_data)
      return {Code::kFileTooLarge, fmt::format("more than {} bytes of padding after the end marker",
                                               options_.limits.padding_bytes_max)};
  }
}

Status TarReader::read_data(const DataSink& sink) {
  TARN_TRY(failure_);
  if (!has_data_) return {};
  const auto give = [&](uint64_t logical, uint64_t length) -> Status {
    while (length > 0) {
      const uint64_t wanted = std::min<uint64_t>(length, limits::kMiB);
      auto bytes = stream_->peek(static_cast<size_t>(wanted));
      if (!bytes) return bytes.status().with_context(fmt::format("data of member '{}'", name_));
      if (bytes->empty())
        return bad(
            fmt::format("the archive is truncated: it ends at offset {}, inside the data of "
                        "member '{}'",
                        stream_->position(), name_));
      const auto n = static_cast<size_t>(std::min<uint64_t>(bytes->size(), length));
      TARN_TRY(sink(logical, bytes->first(n)));
      stream_->consume(n);
      stored_left_ -= n;
      logical += n;
      length -= n;
      raw_bytes_.store(stream_->raw_bytes(), std::memory_order_relaxed);
    }
    return {};
  };
  if (!is_sparse_) {
    failure_ = give(0, stored_left_);
  } else {
    for (const Extent& extent : std::exchange(extents_, {})) {
      failure_ = give(extent.logical_offset, extent.length);
      if (!failure_.is_ok()) break;
    }
  }
  return failure_;
}

}  // namespace tarn::archive
