// In which order, and in how many lanes, to hash streams of known lengths. Internal to the room.
//
// A wider kernel moves more bytes a second but each single stream more slowly; with one long stream
// among short ones the long one decides when the run ends. Thread rules: a pure function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tarn::digest {

struct Md5Plan {
  // Indexes of the streams, longest first.
  std::vector<size_t> order;
  // For Md5Lanes; 0 when there are no streams.
  size_t lanes = 0;
};

/// The plan that should end first at the active level.
Md5Plan plan_md5(std::span<const uint64_t> lengths);

}  // namespace tarn::digest
