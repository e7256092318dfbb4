// The launcher: the process between a worker of Tarn and the program of a job.
//
//   worker -> launcher -> init (process 1 of the job's PID namespace) -> program
//
// It makes the job's mount namespace (a user namespace too when it is not root): /opt/ml is the
// job's directory, each channel a mount in it, ROOT is empty, everything else of the machine is
// read-only but /opt/ml, /tmp, /var/tmp and /dev. Init forwards SIGTERM to the program, reaps
// everything and reports how the program ended. When the worker dies, so does all of it: each dies
// with its parent, and a PID namespace with its process 1. A job of uid 0 runs as root of a user
// namespace of its own, without privileges outside; no job can gain any (no_new_privs).
//
// What it writes to kStatusFd, one line each: "S" the program runs; "E text" it could not be
// started; "X code" it exited; "K signal" it was killed. SIGTERM is forwarded; SIGUSR1 kills.
// One call a process, before any thread is made.
#pragma once

namespace tarn::job {

inline constexpr int kPlanFd = 3, kStatusFd = 4;
// The hidden command of `tarn` that calls run_launcher.
inline constexpr const char* kLauncherCommand = "job-launch";

/// Reads the LaunchPlan at kPlanFd and runs it to its end; the exit code of the process.
int run_launcher();

}  // namespace tarn::job
