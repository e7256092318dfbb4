#include "registry/image_profile.h"

#include <fnmatch.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/coding.h"

namespace tarn::registry {
namespace {

constexpr uint8_t kFormat = 1;
// The API's own limit on an image name.
constexpr size_t kPatternBytesMax = 255;

std::ptrdiff_t literal_characters(const std::string& pattern) {
  return std::count_if(pattern.begin(), pattern.end(), [](char c) { return c != '*' && c != '?'; });
}

}  // namespace

std::optional<ImageProfile> find_profile(const std::vector<ImageProfile>& profiles,
                                         std::string_view image) {
  std::optional<ImageProfile> best;
  for (const ImageProfile& profile : profiles) {
    if (fnmatch(profile.pattern.c_str(), std::string(image).c_str(), 0) != 0) continue;
    if (!best || literal_characters(profile.pattern) > literal_characters(best->pattern))
      best = profile;
  }
  return best;
}

Status check_profile(const ImageProfile& profile) {
  if (profile.pattern.empty() || profile.pattern.size() > kPatternBytesMax)
    return {Code::kInvalidArgument,
            fmt::format("an image pattern has 1 to {} bytes, '{}' has {}", kPatternBytesMax,
                        profile.pattern, profile.pattern.size())};
  if (!profile.path.starts_with('/'))
    return {Code::kInvalidArgument,
            fmt::format("'{}' is no absolute path of a program", profile.path)};
  return {};
}

std::string encode(const ImageProfile& profile) {
  Writer out;
  out.u8(kFormat);
  out.u8(static_cast<uint8_t>(profile.kind));
  out.bytes(profile.pattern);
  out.bytes(profile.path);
  return out.take();
}

Result<ImageProfile> decode_image_profile(std::string_view row) {
  Reader in(row);
  const uint8_t format = in.u8(), kind = in.u8();
  ImageProfile profile;
  profile.pattern = std::string(in.bytes());
  profile.path = std::string(in.bytes());
  if (!in.is_ok() || format != kFormat || kind > static_cast<uint8_t>(ProfileKind::kProgram))
    return Status(Code::kCorrupt, "the row of an image profile is damaged");
  profile.kind = static_cast<ProfileKind>(kind);
  return profile;
}

}  // namespace tarn::registry
