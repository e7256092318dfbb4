// FUSE_INIT: what is asked of the kernel, what was agreed, and how the answer is made.
//
// `plan_answer` is the rule as a pure function; `negotiate` reads the kernel's first request from a
// fresh descriptor, answers it and returns what was agreed. It must be done before the descriptor
// is cloned. Negotiated is a plain value that is kept in shared memory, so that a worker that takes
// a mount over knows what its predecessor agreed to. Thread rules: plain functions; one negotiate
// a descriptor.
#pragma once

#include <cstdint>
#include <string>

#include "base/limits.h"
#include "base/status.h"
#include "mount/fuse_kernel.h"

namespace tarn::mount {

struct InitOptions {
  bool has_passthrough = true;
  uint32_t max_readahead_bytes = 8 * limits::kMiB;
  uint16_t max_background = 128;
  uint16_t congestion_threshold = 96;
};

/// Everything Tarn asks for when the kernel offers it.
uint64_t wanted_flags(const InitOptions& options);

/// What both sides agreed to. Fixed layout: it lies in shared memory.
struct Negotiated {
  uint32_t major = 0;
  uint32_t minor = 0;
  uint64_t offered = 0;  // the kernel's flags
  uint64_t flags = 0;    // the common ones
  uint32_t max_write_bytes = 0;
  uint32_t max_readahead_bytes = 0;
  uint32_t max_pages = 0;
  uint32_t max_stack_depth = 0;
  uint32_t max_background = 0;
  uint32_t congestion_threshold = 0;

  bool has(uint64_t flag) const { return (flags & flag) != 0; }
};
static_assert(sizeof(Negotiated) == 48);

struct InitAnswer {
  wire::InitOut out;
  Negotiated negotiated;
};
/// The answer to the kernel's INIT. kNotSupported for a protocol before 7.31 (Linux 5.4) or another
/// major version.
Result<InitAnswer> plan_answer(const wire::InitIn& in, const InitOptions& options);

/// Waits up to `timeout_ms` for the kernel's INIT on `fd` and answers it.
Result<Negotiated> negotiate(int fd, const InitOptions& options, int timeout_ms = 10'000);

/// Names of the flags that are set, in the kernel's words, separated by spaces; bits without a name
/// as "bit41".
std::string flag_names(uint64_t flags);
/// One line for people: version, sizes, names of the flags.
std::string describe(const Negotiated& negotiated);

}  // namespace tarn::mount
