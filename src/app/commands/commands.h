// The commands of `tarn`, one file each: every function adds its subcommand to the parser.
//
// A command's callback only stores what is to be run in the Invocation; the work is done after
// parsing ended, so that wrong usage never does half of it.
#pragma once

#include "app/cli.h"

namespace CLI {
class App;
}

namespace tarn::app {

void add_init(CLI::App& app, Invocation& invocation);
void add_serve(CLI::App& app, Invocation& invocation);
void add_worker(CLI::App& app, Invocation& invocation);
void add_env(CLI::App& app, Invocation& invocation);
void add_run(CLI::App& app, Invocation& invocation);
void add_status(CLI::App& app, Invocation& invocation);
void add_doctor(CLI::App& app, Invocation& invocation);
void add_sync(CLI::App& app, Invocation& invocation);
void add_digest(CLI::App& app, Invocation& invocation);
void add_verify(CLI::App& app, Invocation& invocation);
void add_extract(CLI::App& app, Invocation& invocation);
void add_scrub(CLI::App& app, Invocation& invocation);
void add_fsck(CLI::App& app, Invocation& invocation);
void add_config(CLI::App& app, Invocation& invocation);
void add_dataset(CLI::App& app, Invocation& invocation);
void add_preview(CLI::App& app, Invocation& invocation);
void add_pipeline(CLI::App& app, Invocation& invocation);
void add_version(CLI::App& app, Invocation& invocation);

}  // namespace tarn::app
