// Array: a numpy array as it stands in a file.
//
// The items are not copied and keep their byte order: `data` is a view of somebody else's bytes, in
// C order (last index fastest) or Fortran order (first index fastest). Dtype is what numpy calls
// the type of an item. A digest of an array is taken over its bytes in C order, so that it depends
// on the values only (numpy: hashlib.md5(a.tobytes())). Thread rules: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "digest/digest.h"

namespace tarn::dataset {

enum class DtypeKind : char {
  kBool = 'b',
  kInt = 'i',
  kUint = 'u',
  kFloat = 'f',
  kComplex = 'c',
  kBytes = 'S',
  kText = 'U',
};

struct Dtype {
  DtypeKind kind = DtypeKind::kUint;
  bool is_big_endian = false;
  uint32_t item_bytes = 1;

  /// From numpy's code: "u1", "<f4", "|S10", "U5". BadFormat for codes of objects, dates and
  /// records, which a data set does not need.
  static Result<Dtype> parse(std::string_view code);
  /// As str(dtype) in numpy: "uint8", "float32", ">f4", "|S10", "<U5".
  std::string name() const;
  bool operator==(const Dtype&) const = default;
};

inline constexpr size_t kDimensionsMax = 32;  // numpy's own limit until 2.0

struct Array {
  Dtype dtype;
  std::vector<uint64_t> shape;
  bool is_fortran = false;
  std::span<const std::byte> data;

  /// True when `data` as it stands is in C order.
  bool is_c_order() const { return !is_fortran || shape.size() < 2; }
};

/// The bytes of an array of that shape; BadFormat beyond kDimensionsMax dimensions or 2^63 bytes.
Result<uint64_t> array_bytes(const Dtype& dtype, std::span<const uint64_t> shape);
/// A copy of the array's bytes in C order.
std::vector<std::byte> copy_in_c_order(const Array& array);
/// The MD5 of the array's bytes in C order; holds at most 1 MiB and one row.
digest::Digest md5_in_c_order(const Array& array);

}  // namespace tarn::dataset
