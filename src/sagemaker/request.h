// CreateTrainingJob's document, validated and turned into a job.
//
// What the API requires is required, what Tarn cannot do is refused with words that say so, and
// everything else is accepted and kept. Plain functions; thread-safe.
#pragma once

#include <string>

#include "registry/training_job.h"
#include "sagemaker/json_service.h"

namespace tarn::sagemaker {

/// A ValidationException names the member, its value and the rule. `mount_directory` is where
/// file:// URIs may lead; empty: nowhere.
http::Outcome<registry::TrainingJob> read_training_job(const Json& request,
                                                       const http::Identity& caller,
                                                       const std::string& mount_directory);
/// A required member that is a text; a ValidationException names it when it is missing.
http::Outcome<std::string> required_text(const Json& object, const char* member,
                                         const std::string& where = "");

}  // namespace tarn::sagemaker
