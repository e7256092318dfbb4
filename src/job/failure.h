// Why a job's program failed, in words for FailureReason.
//
// Plain functions; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "job/process.h"
#include "registry/image_profile.h"
#include "registry/training_job.h"

namespace tarn::job {

// The API's own limit.
inline constexpr size_t kFailureReasonBytesMax = 1024;

/// The start of /opt/ml/output/failure; empty when there is none.
std::string read_failure_file(const std::string& path);
/// `said` (what the program left in output/failure) when there is something; else how the program
/// ended and its last line. A Python module that the profile's interpreter lacks is named together
/// with the profile. At most kFailureReasonBytesMax bytes.
std::string explain_failure(const registry::TrainingJob& job, const registry::ImageProfile& profile,
                            const Ending& ending, const std::string& said,
                            const std::vector<std::string>& last_lines);

}  // namespace tarn::job
