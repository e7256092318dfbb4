// The command line of `tarn`: parses arguments and runs one command.
//
// Each command stands in app/commands/ and adds itself to the parser with a function of
// commands/commands.h; the parser chooses one, which leaves in `Invocation` what is to be run.
// Exit codes are console.h's. Belongs to the main thread.
#pragma once

#include <sys/types.h>

#include <functional>

namespace tarn::app {

struct Invocation {
  std::function<int()> run;  // set by the command that was chosen
  mode_t umask = 022;        // of the user who typed it
};

/// Parses and runs; the exit code.
int run_command_line(int argc, char** argv);

}  // namespace tarn::app
