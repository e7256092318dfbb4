// CHECK and DCHECK: broken invariants end the process with a message.
//
// CHECK is always on; DCHECK only in debug builds. Neither is for user input, nor for what a disk,
// a peer or an archive contains: those get a Status. CHECK(condition, message) takes an optional
// std::string message.
#pragma once

#include <string>

namespace tarn::detail {
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& message = {});
}

#define CHECK(condition, ...)   \
  (static_cast<bool>(condition) \
       ? void()                 \
       : ::tarn::detail::check_failed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__))

#ifdef NDEBUG
#define DCHECK(condition, ...) void()
#else
#define DCHECK(condition, ...) CHECK(condition __VA_OPT__(, ) __VA_ARGS__)
#endif
