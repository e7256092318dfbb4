// Strong identifiers: what must not be mixed up has a type of its own.
//
// Each is a 64-bit number with explicit construction, ordering, hashing and fmt support through
// `.value`. 0 is never handed out and means "none".
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace tarn {

template <class Tag>
struct Id {
  uint64_t value = 0;

  constexpr Id() = default;
  constexpr explicit Id(uint64_t v) : value(v) {}
  constexpr explicit operator bool() const { return value != 0; }
  constexpr auto operator<=>(const Id&) const = default;
};

using Ino = Id<struct InoTag>;  ///< inode number, also the kernel's node id; never reused
using Generation = Id<struct GenerationTag>;  ///< version of one inode's bytes, from 1
using BlobId = Id<struct BlobTag>;            ///< file in blobs/ or packs/; never reused
using Fh = Id<struct FhTag>;                  ///< open file handle
using Stamp = Id<struct StampTag>;            ///< position in the order of commits

inline constexpr Ino kRootIno{1};

}  // namespace tarn

template <class Tag>
struct std::hash<tarn::Id<Tag>> {
  size_t operator()(tarn::Id<Tag> id) const noexcept {
    // Fibonacci hashing: neighbours must not share buckets of power-of-two tables.
    return static_cast<size_t>(id.value * 0x9E3779B97F4A7C15ull);
  }
};
