// Registry: the resources of the SageMaker API as typed records that survive a restart.
//
// Over the key-value store, under prefix 'R': "R" kind "/" name. Every call is one transaction and
// durable when it returns. `update` runs its function on the record as it is, again when another
// writer came between. Errors: kExists, kNotFound, kPreconditionFailed (a move that the state
// machine refuses), those of kv. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kv/kv.h"
#include "registry/image_profile.h"
#include "registry/training_job.h"

namespace tarn::registry {

class Registry {
 public:
  /// `store` outlives it.
  explicit Registry(kv::Store& store) : store_(store) {}

  /// kExists when there is a job of that name, ended or not.
  Status create(const TrainingJob& job);
  Result<TrainingJob> training_job(std::string_view name);
  /// All, in the order of their names.
  Result<std::vector<TrainingJob>> training_jobs();
  /// Applies `change`, which may run several times and is not applied when it fails; the record as
  /// it then is.
  Result<TrainingJob> update(std::string_view name,
                             const std::function<Status(TrainingJob&)>& change);

  /// Adds a profile or replaces the one with the same pattern.
  Status put_profile(const ImageProfile& profile);
  Status remove_profile(std::string_view pattern);
  /// Those put, by pattern, then the built-in ones whose pattern was not put.
  Result<std::vector<ImageProfile>> profiles();

 private:
  kv::Store& store_;
};

}  // namespace tarn::registry
