#include "app/cli.h"

#include <sys/stat.h>

#include <csignal>
#include <cstdio>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/console.h"
#include "base/log.h"

namespace tarn::app {
namespace {

mode_t current_umask() {
  const mode_t mask = umask(0);
  umask(mask);
  return mask;
}

/// The command whose arguments were wrong, or the program itself.
const CLI::App& innermost(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : innermost(*chosen.front());
}

/// A first word that is neither an option nor a command; CLI11 would only say that one is missing.
bool is_unknown_command(const CLI::App& app, int argc, char** argv) {
  return argc > 1 && argv[1][0] != '-' && app.get_subcommands().empty();
}

int report_parse_error(const CLI::App& app, const CLI::ParseError& error) {
  // Help that was asked for also arrives as an exception; CLI11 prints it and answers 0.
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
  const CLI::App& at = innermost(app);
  const std::string name = &at == &app ? "tarn" : "tarn " + at.get_name();
  fmt::print(stderr, "{}: {}\nsee {} --help\n", name, error.what(), name);
  return kWrongUsage;
}

}  // namespace

int run_command_line(int argc, char** argv) {
  // A reader of our output that went away is told by the write's error.
  std::signal(SIGPIPE, SIG_IGN);
  // Commands speak for themselves; `serve` sets the level of its settings.
  log_set_level(LogLevel::kWarn);
  Invocation invocation;
  invocation.umask = current_umask();
  CLI::App app("Tarn keeps training data in one place and lets everything reach it there.", "tarn");
  app.require_subcommand(1);
  app.set_version_flag("--version", "tarn " TARN_VERSION);
  app.get_formatter()->column_width(36);
  add_init(app, invocation);
  add_serve(app, invocation);
  add_worker(app, invocation);
  add_env(app, invocation);
  add_run(app, invocation);
  add_status(app, invocation);
  add_doctor(app, invocation);
  add_sync(app, invocation);
  add_digest(app, invocation);
  add_verify(app, invocation);
  add_extract(app, invocation);
  add_scrub(app, invocation);
  add_fsck(app, invocation);
  add_config(app, invocation);
  add_dataset(app, invocation);
  add_preview(app, invocation);
  add_pipeline(app, invocation);
  add_version(app, invocation);
  app.footer("exit codes: 0 done, 1 failed, 2 wrong usage, 3 no running Tarn to talk to");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (is_unknown_command(app, argc, argv)) {
      fmt::print(stderr, "tarn: there is no command '{}'\nsee tarn --help\n", argv[1]);
      return kWrongUsage;
    }
    return report_parse_error(app, error);
  }
  const int code = invocation.run();
  if (std::fflush(stdout) != 0 && code == kDone) return kFailed;
  return code;
}

}  // namespace tarn::app
