// MD5 of one stream, by OpenSSL. Internal to the room: callers use digest.h.
//
// OpenSSL's own MD5 functions are used instead of EVP: their state can begin in the middle of a
// stream, which md5_lanes needs, they allocate nothing, and they work where OpenSSL's providers
// are set up without MD5 (FIPS mode), which matters because an S3 ETag is no security. Thread
// rules: a plain value.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "digest/digest.h"

namespace tarn::digest {

class Md5Stream {
 public:
  Md5Stream();
  void update(std::span<const std::byte> bytes);
  /// The digest of all bytes since the beginning; the next update begins a new stream.
  Digest finish();

 private:
  // Room for OpenSSL's MD5_CTX; md5_stream.cc asserts the size.
  alignas(8) std::array<std::byte, 96> context_;
};

}  // namespace tarn::digest
