#include "digest/md5_lanes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

#include "base/check.h"
#include "digest/cpu_level.h"
#include "digest/md5_kernels.h"
#include "digest/md5_plan.h"
#include "digest/md5_stream.h"

namespace tarn::digest {
namespace {

constexpr uint32_t kInitialWords[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
// 0x80 and the length in bits: what a last block must have room for beside the message.
constexpr size_t kTrailerBytes = 9;

uint32_t little_endian(uint32_t v) {
  return std::endian::native == std::endian::little ? v : __builtin_bswap32(v);
}

/// A stream's place between calls of the kernels. `edge` holds what lies across two chunks, and at
/// the end the padding; lanes point into it, so slots do not move.
struct Slot {
  size_t job = 0;
  Md5Pull pull;
  std::span<const std::byte> rest;
  uint64_t length = 0;
  size_t edge_bytes = 0;
  bool is_pull = false;
  bool is_at_end = false;
  alignas(64) std::array<std::byte, 2 * kMd5BlockBytes> edge;
};

}  // namespace

struct Md5Lanes::State {
  std::span<const Md5Kernel> kernels;
  size_t lanes_max = 1;
  size_t active = 0;
  Md5States words;
  // By lane; lanes [0, active) are in use and `active` moves down when a stream ends.
  std::array<const std::byte*, kMd5LanesMax> at{};
  std::array<size_t, kMd5LanesMax> blocks{};
  std::array<uint8_t, kMd5LanesMax> slot_of{};
  std::array<Slot, kMd5LanesMax> slots;
  std::vector<uint8_t> free_slots;
  std::vector<std::optional<Result<Digest>>> results;

  Slot& slot(size_t lane) { return slots[slot_of[lane]]; }

  size_t begin(std::span<const std::byte> bytes, Md5Pull pull);
  void advance(size_t lane);
  bool take_blocks(size_t lane);
  void pad(size_t lane);
  void end(size_t lane, Result<Digest> result);
  Digest digest(size_t lane) const;
  void run_once();
};

size_t Md5Lanes::State::begin(std::span<const std::byte> bytes, Md5Pull pull) {
  while (active == lanes_max) run_once();
  size_t job = results.size();
  results.emplace_back();
  size_t lane = active++;
  slot_of[lane] = free_slots.back();
  free_slots.pop_back();
  Slot& s = slot(lane);
  s.job = job;
  s.is_pull = static_cast<bool>(pull);
  s.pull = std::move(pull);
  s.rest = bytes;
  s.length = bytes.size();
  s.edge_bytes = 0;
  s.is_at_end = false;
  blocks[lane] = 0;
  for (size_t w = 0; w < 4; ++w) words.word[w][lane] = kInitialWords[w];
  advance(lane);
  return job;
}

/// Gives a lane without blocks its next ones, or ends its stream.
void Md5Lanes::State::advance(size_t lane) {
  Slot& s = slot(lane);
  if (s.is_at_end) {
    end(lane, digest(lane));
    return;
  }
  while (!take_blocks(lane)) {
    if (!s.is_pull) {
      pad(lane);
      return;
    }
    Result<std::span<const std::byte>> chunk = s.pull();
    if (!chunk.is_ok()) {
      end(lane, chunk.status());
      return;
    }
    if (chunk->empty()) {
      pad(lane);
      return;
    }
    s.rest = *chunk;
    s.length += chunk->size();
  }
}

/// Whole blocks from the edge, or else from the chunk itself; false when less than a block is left,
/// which is then in the edge.
bool Md5Lanes::State::take_blocks(size_t lane) {
  Slot& s = slot(lane);
  bool is_edge = s.edge_bytes != 0;
  if (is_edge || s.rest.size() < kMd5BlockBytes) {
    size_t count = std::min(kMd5BlockBytes - s.edge_bytes, s.rest.size());
    if (count != 0) std::memcpy(s.edge.data() + s.edge_bytes, s.rest.data(), count);
    s.edge_bytes += count;
    s.rest = s.rest.subspan(count);
    if (s.edge_bytes < kMd5BlockBytes) return false;
    s.edge_bytes = 0;
    at[lane] = s.edge.data();
    blocks[lane] = 1;
    return true;
  }
  at[lane] = s.rest.data();
  blocks[lane] = s.rest.size() / kMd5BlockBytes;
  s.rest = s.rest.subspan(blocks[lane] * kMd5BlockBytes);
  return true;
}

void Md5Lanes::State::pad(size_t lane) {
  Slot& s = slot(lane);
  size_t count = s.edge_bytes + kTrailerBytes <= kMd5BlockBytes ? 1 : 2;
  size_t padded = count * kMd5BlockBytes;
  std::memset(s.edge.data() + s.edge_bytes, 0, padded - s.edge_bytes);
  s.edge[s.edge_bytes] = std::byte{0x80};
  uint64_t bits = s.length * 8;
  for (size_t i = 0; i < 8; ++i) s.edge[padded - 8 + i] = static_cast<std::byte>(bits >> (8 * i));
  s.is_at_end = true;
  at[lane] = s.edge.data();
  blocks[lane] = count;
}

/// Frees the lane; the last one in use moves into its place.
void Md5Lanes::State::end(size_t lane, Result<Digest> result) {
  Slot& s = slot(lane);
  results[s.job].emplace(std::move(result));
  s.pull = nullptr;
  free_slots.push_back(slot_of[lane]);
  size_t last = --active;
  at[lane] = at[last];
  blocks[lane] = blocks[last];
  slot_of[lane] = slot_of[last];
  for (size_t w = 0; w < 4; ++w) words.word[w][lane] = words.word[w][last];
}

Digest Md5Lanes::State::digest(size_t lane) const {
  std::array<uint32_t, 4> out;
  for (size_t w = 0; w < 4; ++w) out[w] = little_endian(words.word[w][lane]);
  return {Algorithm::kMd5, std::as_bytes(std::span(out))};
}

/// Runs as many blocks as every stream in flight has ready, then refills the lanes that ran out.
void Md5Lanes::State::run_once() {
  const Md5Kernel* kernel = kernels.data();
  while (kernel->width < active) ++kernel;
  size_t count = *std::min_element(blocks.begin(), blocks.begin() + active);
  // A lane that nobody uses hashes the first lane's bytes once more, for nothing.
  for (size_t lane = active; lane < kernel->width; ++lane) at[lane] = at[0];
  kernel->run(words, at.data(), count);
  for (size_t lane = 0; lane < active; ++lane) {
    at[lane] += count * kMd5BlockBytes;
    blocks[lane] -= count;
  }
  // Downwards, since the lane that `end` moves into a freed place has been seen by then.
  for (size_t lane = active; lane-- > 0;) {
    if (blocks[lane] == 0) advance(lane);
  }
}

Md5Lanes::Md5Lanes(size_t lanes_max) : state_(std::make_unique<State>()) {
  CHECK(lanes_max >= 1 && lanes_max <= kMd5LanesMax);
  state_->kernels = md5_kernels(active_level());
  state_->lanes_max = std::min(lanes_max, state_->kernels.back().width);
  for (size_t i = 0; i < state_->lanes_max; ++i) {
    state_->free_slots.push_back(static_cast<uint8_t>(i));
  }
}

Md5Lanes::~Md5Lanes() = default;

size_t Md5Lanes::lanes() const {
  return state_->lanes_max;
}

size_t Md5Lanes::submit(std::span<const std::byte> bytes) {
  return state_->begin(bytes, nullptr);
}

size_t Md5Lanes::submit(Md5Pull pull) {
  CHECK(pull != nullptr);
  return state_->begin({}, std::move(pull));
}

std::vector<Result<Digest>> Md5Lanes::finish() {
  while (state_->active != 0) state_->run_once();
  std::vector<Result<Digest>> out;
  out.reserve(state_->results.size());
  for (std::optional<Result<Digest>>& result : state_->results) out.push_back(*std::move(result));
  state_->results.clear();
  return out;
}

Md5Plan plan_md5(std::span<const uint64_t> lengths) {
  Md5Plan plan;
  plan.order.resize(lengths.size());
  std::iota(plan.order.begin(), plan.order.end(), size_t{0});
  std::ranges::stable_sort(plan.order, std::greater<>(), [&](size_t i) { return lengths[i]; });
  if (lengths.empty()) return plan;
  auto total = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), uint64_t{0}));
  auto longest = static_cast<double>(lengths[plan.order.front()]);
  double best_time = 0;
  for (const Md5Kernel& kernel : md5_kernels(active_level())) {
    // No run ends before all bytes have passed, nor before the longest stream has in its one lane.
    auto width = static_cast<double>(kernel.width);
    double time = std::max(total, longest * width) / kernel.speed;
    if (plan.lanes == 0 || time < best_time) {
      plan.lanes = kernel.width;
      best_time = time;
    }
    if (kernel.width >= lengths.size()) break;
  }
  return plan;
}

std::vector<Digest> md5_many(std::span<const std::span<const std::byte>> streams) {
  if (streams.size() == 1) return {md5(streams.front())};
  std::vector<uint64_t> lengths;
  for (std::span<const std::byte> stream : streams) lengths.push_back(stream.size());
  Md5Plan plan = plan_md5(lengths);
  std::vector<Digest> out(streams.size(), Digest(Algorithm::kMd5, std::array<std::byte, 16>{}));
  if (streams.empty()) return out;
  Md5Lanes lanes(plan.lanes);
  for (size_t i : plan.order) lanes.submit(streams[i]);
  std::vector<Result<Digest>> results = lanes.finish();
  for (size_t job = 0; job < results.size(); ++job) out[plan.order[job]] = *results[job];
  return out;
}

}  // namespace tarn::digest
