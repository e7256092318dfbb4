#include "digest/md5_stream.h"

#include <new>

// OpenSSL 3 calls these functions deprecated in favour of EVP; the header says why they stay.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/md5.h>

#include "digest/md5_kernels.h"

namespace tarn::digest {
namespace {

static_assert(sizeof(MD5_CTX) <= 96 && alignof(MD5_CTX) <= 8);

MD5_CTX* as_context(std::array<std::byte, 96>& room) {
  return std::launder(reinterpret_cast<MD5_CTX*>(room.data()));
}

}  // namespace

Md5Stream::Md5Stream() {
  MD5_Init(new (context_.data()) MD5_CTX);
}

void Md5Stream::update(std::span<const std::byte> bytes) {
  MD5_Update(as_context(context_), bytes.data(), bytes.size());
}

Digest Md5Stream::finish() {
  std::array<std::byte, MD5_DIGEST_LENGTH> bytes;
  MD5_Final(reinterpret_cast<unsigned char*>(bytes.data()), as_context(context_));
  MD5_Init(as_context(context_));
  return {Algorithm::kMd5, bytes};
}

void md5_blocks_openssl(Md5States& states, const std::byte* const* lanes, size_t blocks) {
  MD5_CTX context = {};
  context.A = states.word[0][0];
  context.B = states.word[1][0];
  context.C = states.word[2][0];
  context.D = states.word[3][0];
  MD5_Update(&context, lanes[0], blocks * kMd5BlockBytes);
  states.word[0][0] = context.A;
  states.word[1][0] = context.B;
  states.word[2][0] = context.C;
  states.word[3][0] = context.D;
}

}  // namespace tarn::digest
