#include "archive/path.h"

#include <iterator>

#include <fmt/format.h>

#include "base/limits.h"

namespace tarn::archive {

Result<std::string> normalise_path(std::string_view name, LeadingSlash leading_slash) {
  if (name.size() > kPathBytesMax)
    return {Code::kNameTooLong, fmt::format("name '{}' has {} bytes, the limit is {}",
                                            printable(name), name.size(), kPathBytesMax)};
  if (name.find('\0') != std::string_view::npos)
    return {Code::kInvalidArgument, fmt::format("name '{}' contains a NUL byte", printable(name))};
  if (name.starts_with('/') && leading_slash == LeadingSlash::kRefuse)
    return {
        Code::kInvalidArgument,
        fmt::format("name '{}' is absolute; allow stripping the leading '/' to extract it below "
                    "the target directory",
                    printable(name))};
  std::string path;
  path.reserve(name.size());
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = name.find('/', begin);
    if (end == std::string_view::npos) end = name.size();
    const std::string_view segment = name.substr(begin, end - begin);
    begin = end + 1;
    if (segment.empty() || segment == ".") continue;
    if (segment == "..")
      return {Code::kInvalidArgument, fmt::format("name '{}' has a '..' segment", printable(name))};
    if (segment.size() > limits::kNameBytesMax)
      return {Code::kNameTooLong,
              fmt::format("name '{}' has a segment of {} bytes, the limit is {}", printable(name),
                          segment.size(), limits::kNameBytesMax)};
    if (!path.empty()) path.push_back('/');
    path.append(segment);
  }
  return path;
}

std::string printable(std::string_view name) {
  constexpr size_t kBytesShown = 200;
  std::string text;
  for (const char c : name.substr(0, kBytesShown)) {
    if (c >= ' ' && c <= '~' && c != '\\' && c != '\'')
      text.push_back(c);
    else
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", static_cast<unsigned char>(c));
  }
  if (name.size() > kBytesShown) text += "...";
  return text;
}

std::string_view parent_path(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

}  // namespace tarn::archive
