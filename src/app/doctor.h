// What is missing on this machine for Tarn, what that costs, and the command that mends it.
//
// Looks only; works without a running program. Plain functions; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tarn::app {

enum class Finding : uint8_t {
  kGood,
  kSlower,   // works, but slower or with less: detail says how
  kMissing,  // something does not work at all
};
std::string_view finding_name(Finding finding);

struct Check {
  std::string name;
  Finding finding = Finding::kGood;
  std::string detail = {};  // what was found
  std::string mend = {};    // a command or a change; empty when there is nothing to do
};

/// Every check of the machine and, when `root` is given, of that root.
std::vector<Check> examine_machine(const std::optional<std::string>& root);

}  // namespace tarn::app
