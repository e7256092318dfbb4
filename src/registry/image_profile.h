// ImageProfile: which program of this machine stands for a container image.
//
// A pattern ('*' and '?', over the whole image name) is mapped either to a Python interpreter, for
// which the executor plays the training toolkit, or to a program that follows the container
// contract and is called with the argument `train`. Plain values; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tarn::registry {

enum class ProfileKind : uint8_t { kPython, kProgram };

struct ImageProfile {
  std::string pattern;
  ProfileKind kind = ProfileKind::kPython;
  std::string path;  // absolute
  bool operator==(const ImageProfile&) const = default;
};

/// The profile of `image`: of those whose pattern matches, the one with the most characters that
/// are not wild; among equals the first.
std::optional<ImageProfile> find_profile(const std::vector<ImageProfile>& profiles,
                                         std::string_view image);
/// kInvalidArgument for an empty pattern or one over 255 bytes, or a path that is not absolute.
Status check_profile(const ImageProfile& profile);

std::string encode(const ImageProfile& profile);
Result<ImageProfile> decode_image_profile(std::string_view row);

}  // namespace tarn::registry
