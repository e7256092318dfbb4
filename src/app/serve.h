// Serving a prepared ROOT: a keeper, and the worker that it starts.
//
// `serve` is the keeper's side: it runs until a signal or the end of the mount. The keeper starts
// this program again as the hidden command `worker`, which `serve_as_worker` is; what it was told
// travels as arguments, so that a tarn.toml that was changed meanwhile cannot keep a worker from
// taking over. Call either once, from the main thread, before other threads exist.
#pragma once

#include <string>

#include "app/config.h"
#include "base/status.h"

namespace tarn::app {

/// `root` and settings.mount_directory are absolute and prepared (root_setup.h, mount_point.h).
/// Prints one line to standard output when everything answers. The exit code of the program.
int serve(const std::string& root, const Settings& settings);

/// The worker of a keeper; `encoded_settings` and `inheritance` as serve made them.
Status serve_as_worker(const std::string& root, const std::string& encoded_settings,
                       const std::string& inheritance);

/// Settings as one word and back; only what differs from the built-in values is in it.
std::string encode_settings(const Settings& settings);
Result<Settings> decode_settings(const std::string& text);

/// Level and file of the log, as the settings say. An overlong file is moved aside, but only by the
/// keeper (`may_move`): a worker of the same root writes into it as well.
Status start_log(const std::string& root, const Settings& settings, bool may_move);

}  // namespace tarn::app
