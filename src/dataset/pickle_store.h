// The memory of a pickle while and after it is parsed. Internal to the room.
//
// All values live in one arena and refer to each other by plain pointers, so that a pickle that
// shares values, nests them deeply or ties them into a ring costs no more than its values and is
// torn down without recursion. Every allocation that depends on the input is counted against the
// limits here. Thread rules: one thread while parsing.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include <fmt/format.h>

#include "dataset/pickle.h"

namespace tarn::dataset {

struct Document::Store {
  Store(const PickleLimits& asked, uint64_t input_bytes)
      : limits(asked),
        decoded_bytes_max(std::min(asked.decoded_bytes_max, 4 * input_bytes + 4096)) {}

  /// A new value, counted.
  template <class T>
  Result<Value*> make(T data) {
    TARN_TRY(charge(1));
    return &values.emplace_back(Value{std::move(data)});
  }
  /// A new array, counted.
  Result<Value*> make_array() {
    TARN_TRY(charge(2));
    return &values.emplace_back(Value{&arrays.emplace_back()});
  }
  /// Keeps a string that is not in the input as it stands.
  Result<std::string_view> keep(std::string decoded) {
    decoded_bytes += decoded.size();
    if (decoded_bytes > decoded_bytes_max) {
      return Status(Code::kBadFormat,
                    fmt::format("strings decode to over {} bytes", decoded_bytes_max));
    }
    return std::string_view(strings.emplace_back(std::move(decoded)));
  }
  /// Counts `count` values, or pointers to values that one operation copies.
  Status charge(uint64_t count) {
    charged += count;
    if (charged <= limits.values_max) return Status::ok();
    return Status(Code::kBadFormat, fmt::format("over {} values", limits.values_max));
  }

  PickleLimits limits;
  uint64_t decoded_bytes_max;
  std::deque<Value> values;
  std::deque<Array> arrays;
  std::deque<std::string> strings;
  uint64_t charged = 0, decoded_bytes = 0;
  const Value* root = nullptr;
  int protocol = 0;
  uint64_t bytes_read = 0;
};

}  // namespace tarn::dataset
