// digest_bench [--json FILE]: MD5 of many streams against OpenSSL's of one, and the CRCs against
// zlib's crc32, at every level of SIMD that this processor has.
//
// Streams are 256 KiB each unless a figure's name says otherwise: with 32 of them more than the
// second-level cache, and alike for both sides, since OpenSSL hashes the same streams one after
// the other.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>
#include <vector>

#include <openssl/evp.h>
#include <zlib.h>

#include "base/check.h"
#include "digest/cpu_level.h"
#include "digest/crc.h"
#include "digest/digest.h"
#include "digest/md5_lanes.h"
#include "pairs.h"

namespace tarn::bench {
namespace {

using digest::Level;
using Bytes = std::span<const std::byte>;

constexpr size_t kKiB = 1024;
constexpr size_t kStreamBytes = 256 * kKiB;
// One measurement goes over at least this much, so that it takes some tens of milliseconds.
constexpr size_t kBytesAMeasurement = 32 * kKiB * kKiB;

std::vector<Bytes> split(Bytes data, size_t streams, size_t stream_bytes) {
  std::vector<Bytes> out;
  for (size_t i = 0; i < streams; ++i) out.push_back(data.subspan(i * stream_bytes, stream_bytes));
  return out;
}

/// GB/s of `work` over the bytes of `streams`, repeated up to kBytesAMeasurement.
template <class Work>
double speed(const std::vector<Bytes>& streams, Work&& work) {
  size_t bytes = streams.size() * streams.front().size();
  size_t rounds = std::max<size_t>(1, kBytesAMeasurement / bytes);
  double seconds = cpu_seconds_of([&] {
    for (size_t i = 0; i < rounds; ++i) work();
  });
  return static_cast<double>(bytes * rounds) / seconds / 1e9;
}

double openssl_speed(const std::vector<Bytes>& streams) {
  unsigned char out[EVP_MAX_MD_SIZE];
  return speed(streams, [&] {
    for (Bytes stream : streams) {
      CHECK(EVP_Digest(stream.data(), stream.size(), out, nullptr, EVP_md5(), nullptr) == 1);
    }
  });
}

Figure md5_figure(Level level, const std::vector<Bytes>& streams, std::string name) {
  digest::ScopedLevelCap cap(level);
  return measure_pairs(
      std::move(name), "GB/s",
      [&] {
        return speed(streams, [&] { CHECK(digest::md5_many(streams).size() == streams.size()); });
      },
      [&] { return openssl_speed(streams); });
}

template <class Crc>
Figure crc_figure(Level level, Bytes data, std::string name, Crc&& crc) {
  digest::ScopedLevelCap cap(level);
  std::vector<Bytes> one = {data};
  // Kept, so that no call can be left out.
  volatile uint64_t sink = 0;
  return measure_pairs(
      std::move(name), "GB/s", [&] { return speed(one, [&] { sink = sink ^ crc(data); }); },
      [&] {
        return speed(one, [&] {
          sink = sink ^ ::crc32(0, reinterpret_cast<const Bytef*>(data.data()),
                                static_cast<uInt>(data.size()));
        });
      });
}

std::vector<Figure> measure() {
  std::vector<std::byte> memory(32 * kKiB * kKiB);
  std::mt19937_64 random(1);
  for (std::byte& b : memory) b = static_cast<std::byte>(random());
  Bytes data = memory;

  std::vector<Figure> figures;
  for (Level level : digest::supported_levels()) {
    for (size_t streams : {32u, 16u, 8u, 6u, 1u}) {
      figures.push_back(md5_figure(level, split(data, streams, kStreamBytes),
                                   fmt::format("md5_{}_{}_streams", level_name(level), streams)));
    }
    figures.push_back(md5_figure(level, split(data, 32, 64 * kKiB),
                                 fmt::format("md5_{}_32_streams_64k", level_name(level))));
    figures.push_back(md5_figure(level, split(data, 32, 1024 * kKiB),
                                 fmt::format("md5_{}_32_streams_1m", level_name(level))));
    figures.push_back(md5_figure(level, split(data, 3000, kKiB),
                                 fmt::format("md5_{}_3000_files_1k", level_name(level))));
  }
  for (Level level : digest::supported_levels()) {
    Bytes chunk = data.first(kStreamBytes);
    figures.push_back(crc_figure(level, chunk, fmt::format("crc32_{}", level_name(level)),
                                 [](Bytes b) { return digest::crc32(b); }));
    figures.push_back(crc_figure(level, chunk, fmt::format("crc32c_{}", level_name(level)),
                                 [](Bytes b) { return digest::crc32c(b); }));
    figures.push_back(crc_figure(level, chunk, fmt::format("crc64nvme_{}", level_name(level)),
                                 [](Bytes b) { return digest::crc64nvme(b); }));
  }
  return figures;
}

}  // namespace
}  // namespace tarn::bench

int main(int argc, char** argv) {
  std::string json;
  if (argc == 3 && std::string_view(argv[1]) == "--json") {
    json = argv[2];
  } else if (argc != 1) {
    std::fputs("usage: digest_bench [--json FILE]\n", stderr);
    return 2;
  }
  std::vector<tarn::bench::Figure> figures = tarn::bench::measure();
  tarn::bench::print_figures(figures);
  if (json.empty()) return 0;
  tarn::Status status = tarn::bench::write_figures(json, figures);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}
