#include "kv/kv.h"

#include <gtest/gtest.h>

namespace tarn::kv {
namespace {

std::optional<std::string> concatenate(std::string_view, std::optional<std::string_view> existing,
                                       const std::vector<std::string_view>& operands) {
  std::string out(existing.value_or(""));
  for (std::string_view operand : operands) out.append(operand);
  return out;
}

TEST(Memory, CommitsAndConflicts) {
  auto store = open_memory(concatenate);
  ASSERT_TRUE(transact(*store, [](Transaction& t) {
                t.put("a", "1");
                t.merge("m", "x");
                t.append_log("first");
                return Status();
              }).is_ok());
  auto one = store->begin(), two = store->begin();
  EXPECT_EQ(one->get_tracked("b").value(), std::nullopt);
  two->put_blind("b", "2");
  two->merge("m", "y");
  EXPECT_EQ(two->get("m").value(), "xy");
  Stamp stamp = two->commit().value();
  EXPECT_EQ(stamp, store->head());
  one->put("c", "3");
  EXPECT_EQ(one->commit().code(), Code::kConflict);
}

}  // namespace
}  // namespace tarn::kv
