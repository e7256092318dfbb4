// CRC-32 (zlib's), CRC-32C and CRC-64/NVME as plain integers.
//
// Each function continues from the CRC of the bytes before, 0 for none: crc32c(b, crc32c(a)) is
// the CRC of a followed by b. `combine` gives the same from two CRCs and the second's length
// without reading a byte, so parts can be done in any order and in parallel. Long inputs are folded
// by carry-less multiplication (Gopal et al., "Fast CRC Computation for Generic Polynomials Using
// PCLMULQDQ", Intel 2009), others by tables. Thread rules: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tarn::digest {

/// Reflected, polynomial 0x04C11DB7, initial value and final xor all ones; "123456789" gives
/// 0xCBF43926.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc = 0);
/// The same with polynomial 0x1EDC6F41 (Castagnoli, RFC 3720); "123456789" gives 0xE3069283.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);
/// The same in 64 bits with polynomial 0xAD93D23594C93659 (NVM Command Set 1.0, section 5.2.1.3.4;
/// S3's x-amz-checksum-crc64nvme); "123456789" gives 0xAE8B14860A799888.
uint64_t crc64nvme(std::span<const std::byte> bytes, uint64_t crc = 0);

/// The CRC of a followed by b, from the CRC of each and b's length in bytes. About as many
/// multiplications (of some 100 ns) as length_b has bits set.
uint32_t crc32_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);
uint64_t crc64nvme_combine(uint64_t crc_a, uint64_t crc_b, uint64_t length_b);

}  // namespace tarn::digest
