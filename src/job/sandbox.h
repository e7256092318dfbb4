// The job's view of the machine: namespaces and mounts. Internal to the launcher.
//
// Each function works on the calling process, which must have one thread. Errors name the mount
// that failed.
#pragma once

#include "base/status.h"
#include "job/launch_plan.h"

namespace tarn::job {

/// New mount and PID namespaces (the next child is process 1), in a new user namespace when this
/// process is not root, and all mounts of `plan`.
Status enter_sandbox(const LaunchPlan& plan);
/// In process 1: a /proc of this PID namespace.
void mount_proc();
/// In the program's process, last: the plan's user without any privilege.
Status drop_privileges(const LaunchPlan& plan);

}  // namespace tarn::job
