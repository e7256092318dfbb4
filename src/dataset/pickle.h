// parse_pickle: reads a Python pickle without Python, and without running what is in it.
//
// Reads protocols 0 to 5 as far as data sets use them: numbers, byte strings and texts of Python 2
// and 3, lists, tuples, dicts, sets, and numpy arrays (C and Fortran order, protocol 5's in-band
// buffers, Python 2 arrays that Python 3 wrote again). A pickle names functions to call; only
// those of the list in pickle_globals.cc are known, every other is refused by its name. Array data
// and strings are views of the input, which must outlive the Document. Memory is bounded: see
// PickleLimits. Source of the format: Lib/pickletools.py of CPython, PEP 307, 3154 and 574.
// Thread rules: a Document is immutable once parsed; parse_pickle is thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "dataset/array.h"

namespace tarn::dataset {

struct Value;
struct AllowedGlobal;

struct None {};
struct Text {
  std::string_view utf8;
};
/// A Python 2 str, or bytes or bytearray of Python 3.
struct Bytes {
  std::string_view view;
};
struct List {
  std::vector<const Value*> items;
};
struct Tuple {
  std::vector<const Value*> items;
};
struct Set {
  std::vector<const Value*> items;
};
struct Dict {
  std::vector<std::pair<const Value*, const Value*>> items;
  /// The value of the text or byte string `key`, or null. Of two equal keys the later counts.
  const Value* find(std::string_view key) const;
};
/// A function or class that the pickle names and that stands on the list.
struct Global {
  const AllowedGlobal* entry = nullptr;
};

/// A node of the tree. Values may be shared, but none contains itself.
struct Value {
  std::variant<None, bool, int64_t, double, Text, Bytes, List, Tuple, Set, Dict, Array*, Dtype,
               Global>
      data;

  template <class T>
  const T* get_if() const {
    return std::get_if<T>(&data);
  }
  /// The array, or null.
  const Array* array() const {
    Array* const* held = std::get_if<Array*>(&data);
    return held == nullptr ? nullptr : *held;
  }
  /// The integer (a bool counts as 0 or 1), or nothing.
  std::optional<int64_t> integer() const;
  /// The bytes of a Text or Bytes, or nothing.
  std::optional<std::string_view> string() const;
  /// The items of a list, tuple or set; empty for anything else.
  std::span<const Value* const> items() const;
  /// "None", "bool", "int", "float", "str", "bytes", "list", "tuple", "set", "dict", "ndarray",
  /// "dtype" or "global".
  std::string_view type_name() const;
};

/// What a pickle may ask for. Every value, mark, entry of the memo and copy of a reference counts
/// as one of `values_max` and costs less than 100 bytes; so memory grows with the input's length,
/// never with numbers that stand in it. Strings that have to be decoded are extra: at most
/// four times the input's length, and `decoded_bytes_max`.
struct PickleLimits {
  uint64_t values_max = 8'000'000;  // a CIFAR-10 batch has 60,000
  uint64_t depth_max = 64;          // walkers may be recursive
  uint64_t decoded_bytes_max = uint64_t{2} << 30;
};

class Document {
 public:
  struct Store;

  explicit Document(std::unique_ptr<Store> store);
  Document(Document&& other) noexcept;
  Document& operator=(Document&& other) noexcept;
  ~Document();

  const Value& root() const;
  /// The protocol the pickle says it has; 0 when it says nothing.
  int protocol() const;
  /// Bytes up to and with the pickle's STOP; what follows was not looked at.
  uint64_t bytes_read() const;

 private:
  std::unique_ptr<Store> store_;
};

/// Parses the pickle at the beginning of `bytes`, which the result refers to. BadFormat, with the
/// offset, for anything that is damaged, beyond a limit, or refused.
Result<Document> parse_pickle(std::span<const std::byte> bytes, const PickleLimits& limits = {});

}  // namespace tarn::dataset
