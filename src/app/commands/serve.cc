// tarn serve ROOT: the program itself, in the foreground; and the hidden command of its worker.
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/config.h"
#include "app/console.h"
#include "app/machine.h"
#include "app/mount_point.h"
#include "app/root_setup.h"
#include "app/serve.h"
#include "app/services.h"
#include "base/log.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  SettingOverrides overrides;
};

/// A root to serve: made now when there is none. Its absolute path.
Result<std::string> prepare_root(const std::string& root, const SettingOverrides& overrides,
                                 mode_t umask) {
  TARN_ASSIGN(const RootState state, inspect_root(root));
  if (state == RootState::kForeign)
    return Status(
        Code::kBadFormat,
        fmt::format(
            "'{}' is not a Tarn's: it holds other files and no superblock of Tarn's; choose "
            "a folder that is missing or empty",
            root));
  InitOptions init{.settings = {}, .ballast_bytes = 0, .umask = umask};
  if (state != RootState::kTarn) {
    // Nothing is made for settings that cannot be served.
    TARN_ASSIGN(const LoadedSettings loaded, load_settings("", overrides));
    TARN_TRY(Services::check(loaded.values));
    TARN_TRY(initialise_root(root, init));
    fmt::print(stderr, "tarn: made a new Tarn in {0}, its key is in {0}/credentials\n", root);
  } else {
    TARN_TRY(ensure_root_files(root, init));
  }
  char resolved[PATH_MAX];
  if (realpath(root.c_str(), resolved) == nullptr) return last_errno(fmt::format("'{}'", root));
  return std::string(resolved);
}

/// The argument or TARN_ROOT; never a mount one happens to stand in.
Result<std::string> root_to_serve(const Options& options) {
  if (options.root.has_value()) return *options.root;
  if (const char* variable = std::getenv("TARN_ROOT"); variable != nullptr && *variable != '\0')
    return std::string(variable);
  return Status(Code::kInvalidArgument, "name the ROOT to serve, or set TARN_ROOT");
}

struct Prepared {
  std::string root;
  Settings settings;
  ServeLock lock;
};

/// Everything that can be wrong and can be known before anything is served.
Result<Prepared> prepare(const Options& options, mode_t user_umask) {
  TARN_ASSIGN(const std::string named, root_to_serve(options));
  SettingOverrides overrides = options.overrides;
  overrides.environment = process_environment();
  TARN_ASSIGN(const std::string root, prepare_root(named, overrides, user_umask));
  TARN_ASSIGN(LoadedSettings loaded, load_settings(root, overrides));
  TARN_TRY(Services::check(loaded.values));
  TARN_ASSIGN(ServeLock lock, ServeLock::take(root));
  // What Tarn writes into ROOT is its own; the modes of the files it serves are in the metadata.
  umask(077);
  TARN_TRY(start_log(root, loaded.values, true));
  TARN_ASSIGN(const uint64_t files, raise_open_file_limit(loaded.values.open_files));
  for (const std::string& warning : loaded.warnings) log_warn("config.variable", "{}", warning);
  std::string& directory = loaded.values.mount_directory;
  if (!directory.empty()) {
    TARN_ASSIGN(directory, prepare_mount_point(directory, root));
    TARN_TRY(check_fuse_device());
  }
  log_info("serve.start", "version={} root=\"{}\" open_files={} uid={}", TARN_VERSION, root, files,
           geteuid());
  return Prepared{root, std::move(loaded.values), std::move(lock)};
}

int run(const Options& options, mode_t user_umask) {
  const auto prepared = prepare(options, user_umask);
  if (!prepared.is_ok()) {
    const bool is_usage = prepared.is(Code::kInvalidArgument) || prepared.is(Code::kNotSupported);
    return is_usage ? refuse(prepared.status()) : finish(prepared.status());
  }
  return serve(prepared->root, prepared->settings);
}

void add_options(CLI::App& command, const std::shared_ptr<Options>& options) {
  const auto text = [&](const char* name, const char* key, const char* help) {
    return command.add_option_function<std::string>(
        name, [options, key](const std::string& value) { options->overrides.flags[key] = value; },
        help);
  };
  const auto flag = [&](const char* name, const char* key, const char* value, const char* help) {
    command.add_flag_callback(
        name, [options, key, value] { options->overrides.flags[key] = value; }, help);
  };
  command.add_option("ROOT", options->root, "the root; made when missing or empty");
  text("--mount", "mount.directory", "mount on this empty directory")->type_name("DIR");
  text("--listen", "http.listen", "plain HTTP endpoint")->type_name("HOST:PORT");
  text("--tls", "http.tls", "TLS endpoint")->type_name("HOST:PORT");
  flag("--insecure", "http.insecure", "true", "allow plain HTTP on other addresses");
  flag("--no-passthrough", "mount.passthrough", "false",
       "serve every byte, even where the kernel could read it itself");
  flag("--no-allow-other", "mount.allow_other", "false", "let only this user reach the mount");
  text("--threads", "mount.threads", "threads that answer the kernel")->type_name("N");
  text("--log-level", "log.level", "debug, info, warn or error")->type_name("LEVEL");
}

}  // namespace

void add_serve(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("serve", "run Tarn on a root, in the foreground, until it is stopped");
  add_options(*command, options);
  command->callback([options, &invocation] {
    invocation.run = [options, &invocation] { return run(*options, invocation.umask); };
  });
}

void add_worker(CLI::App& app, Invocation& invocation) {
  const auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("worker", "what a keeper starts")->group("");
  command->add_option("WORDS", *words)->required()->expected(3);
  command->callback([words, &invocation] {
    invocation.run = [words] {
      return finish(serve_as_worker((*words)[0], (*words)[1], (*words)[2]));
    };
  });
}

}  // namespace tarn::app
