// Removes what a job left, whatever modes its directories have.
//
// A job, and the kernel's overlay, leave directories that even their owner may not read; root
// passes over that, anybody else has to change the modes first. Nothing may use the tree meanwhile.
// Plain function; thread-safe.
#pragma once

#include <string>

#include "base/status.h"

namespace tarn::job {

/// Removes `path` and all below it, without following links. Ok when it is not there; else the
/// first failure.
Status remove_tree(const std::string& path);

}  // namespace tarn::job
