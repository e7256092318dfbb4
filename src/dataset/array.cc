#include "dataset/array.h"

#include <charconv>
#include <cstring>
#include <functional>
#include <limits>

#include <fmt/format.h>

namespace tarn::dataset {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;

bool is_size_of(DtypeKind kind, uint32_t item_bytes) {
  switch (kind) {
    case DtypeKind::kBool:
      return item_bytes == 1;
    case DtypeKind::kInt:
    case DtypeKind::kUint:
      return item_bytes == 1 || item_bytes == 2 || item_bytes == 4 || item_bytes == 8;
    case DtypeKind::kFloat:
      return item_bytes == 2 || item_bytes == 4 || item_bytes == 8 || item_bytes == 16;
    case DtypeKind::kComplex:
      return item_bytes == 8 || item_bytes == 16 || item_bytes == 32;
    case DtypeKind::kBytes:
      return true;
    case DtypeKind::kText:
      return item_bytes % 4 == 0;
  }
  return false;
}

using Sink = std::function<void(std::span<const std::byte>)>;

/// Hands a Fortran array's bytes to `sink` in C order, about a block at a time.
void walk_in_c_order(const Array& array, const Sink& sink) {
  if (array.data.empty()) return;
  const size_t item = array.dtype.item_bytes;
  const size_t dimensions = array.shape.size();
  std::vector<size_t> strides(dimensions), index(dimensions);
  size_t stride = item;
  for (size_t d = 0; d < dimensions; ++d) {
    strides[d] = stride;
    stride *= array.shape[d];
  }
  const size_t last = dimensions - 1;
  std::vector<std::byte> block;
  block.reserve(kBlockBytes + array.shape[last] * item);
  for (bool more = true; more;) {
    size_t at = 0;
    for (size_t d = 0; d < last; ++d) at += index[d] * strides[d];
    const size_t filled = block.size();
    block.resize(filled + array.shape[last] * item);
    std::byte* out = block.data() + filled;
    for (uint64_t i = 0; i < array.shape[last]; ++i, at += strides[last], out += item) {
      std::memcpy(out, array.data.data() + at, item);
    }
    if (block.size() >= kBlockBytes) {
      sink(block);
      block.clear();
    }
    // The next index of all dimensions but the last, as an odometer counts.
    more = false;
    for (size_t d = last; d-- > 0;) {
      if (++index[d] < array.shape[d]) {
        more = true;
        break;
      }
      index[d] = 0;
    }
  }
  sink(block);
}

}  // namespace

Result<Dtype> Dtype::parse(std::string_view code) {
  Dtype out;
  std::string_view rest = code;
  if (!rest.empty() && std::string_view("<>|=").find(rest.front()) != std::string_view::npos) {
    out.is_big_endian = rest.front() == '>';
    rest.remove_prefix(1);
  }
  if (rest.empty() || std::string_view("biufcSU").find(rest.front()) == std::string_view::npos) {
    return Status(Code::kBadFormat,
                  fmt::format("items of type '{}' are refused; a data set's are of kind "
                              "b, i, u, f, c, S or U",
                              code.substr(0, 40)));
  }
  out.kind = static_cast<DtypeKind>(rest.front());
  const char* end = rest.data() + rest.size();
  const auto [at, error] = std::from_chars(rest.data() + 1, end, out.item_bytes);
  // numpy counts the characters of a text, of four bytes each.
  constexpr uint32_t kItemBytesMax = 1u << 28;
  if (error != std::errc() || at != end || out.item_bytes > kItemBytesMax) {
    return Status(Code::kBadFormat, fmt::format("item type '{}' has no size", code.substr(0, 40)));
  }
  if (out.kind == DtypeKind::kText) out.item_bytes *= 4;
  if (!is_size_of(out.kind, out.item_bytes)) {
    return Status(Code::kBadFormat,
                  fmt::format("no item type '{}' has {} bytes", code, out.item_bytes));
  }
  return out;
}

std::string Dtype::name() const {
  const char order = is_big_endian ? '>' : '<';
  if (kind == DtypeKind::kBytes) return fmt::format("|S{}", item_bytes);
  if (kind == DtypeKind::kText) return fmt::format("{}U{}", order, item_bytes / 4);
  if (is_big_endian && item_bytes > 1) {
    return fmt::format(">{}{}", static_cast<char>(kind), item_bytes);
  }
  switch (kind) {
    case DtypeKind::kBool:
      return "bool";
    case DtypeKind::kInt:
      return fmt::format("int{}", item_bytes * 8);
    case DtypeKind::kUint:
      return fmt::format("uint{}", item_bytes * 8);
    case DtypeKind::kFloat:
      return fmt::format("float{}", item_bytes * 8);
    default:
      return fmt::format("complex{}", item_bytes * 8);
  }
}

Result<uint64_t> array_bytes(const Dtype& dtype, std::span<const uint64_t> shape) {
  if (shape.size() > kDimensionsMax) {
    return Status(Code::kBadFormat, fmt::format("an array of {} dimensions, the limit is {}",
                                                shape.size(), kDimensionsMax));
  }
  constexpr auto kBytesMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  // Zeros first, so that they do not hide a product that is too large for the strides.
  uint64_t bytes = dtype.item_bytes;
  bool is_empty = bytes == 0;
  for (const uint64_t length : shape) {
    if (length == 0) {
      is_empty = true;
    } else if (bytes != 0 && length > kBytesMax / bytes) {
      return Status(Code::kBadFormat,
                    fmt::format("an array's shape has {} in it and 2^63 bytes or more", length));
    } else {
      bytes *= length;
    }
  }
  return is_empty ? 0 : bytes;
}

std::vector<std::byte> copy_in_c_order(const Array& array) {
  std::vector<std::byte> out;
  out.reserve(array.data.size());
  const Sink append = [&](std::span<const std::byte> part) {
    out.insert(out.end(), part.begin(), part.end());
  };
  if (array.is_c_order()) {
    append(array.data);
  } else {
    walk_in_c_order(array, append);
  }
  return out;
}

digest::Digest md5_in_c_order(const Array& array) {
  if (array.is_c_order()) return digest::md5(array.data);
  digest::MultiDigest md5({digest::Algorithm::kMd5});
  walk_in_c_order(array, [&](std::span<const std::byte> part) { md5.update(part); });
  return md5.finish()[digest::Algorithm::kMd5];
}

}  // namespace tarn::dataset
