// tarn digest PATH...: digests of files, as stored when they were written.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"
#include "app/manifest.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  std::vector<std::string> paths;
  bool is_recursive = false, as_json = false;
  bool sha256 = false, crc64nvme = false, etag = false;

  const char* chosen() const {
    return sha256 ? "sha256" : crc64nvme ? "crc64nvme" : etag ? "etag" : "md5";
  }
};

/// "dir" and "a/b" -> "dir/a/b"; a file itself has an empty second part.
std::string shown_path(const std::string& typed, const std::string& below) {
  if (below.empty()) return typed;
  return typed.ends_with('/') ? typed + below : typed + "/" + below;
}

void show_items(const Options& options, const std::string& typed, const Json& items) {
  for (const Json& item : items) {
    const auto below = from_wire(item.value("path", ""));
    const std::string path = shown_path(typed, below.is_ok() ? below.value() : "");
    if (const auto error = item.find("error"); error != item.end())
      fmt::print(stderr, "tarn: {}: {}\n", path, status_from_json(*error).message());
    if (options.as_json) {
      Json line = item;
      line["path"] = path;
      print(to_line(line) + "\n");
    } else if (!item.contains("error")) {
      print(format_manifest_line(item.value(options.chosen(), ""), path));
    }
  }
}

int run(const Options& options) {
  const auto surroundings = Surroundings::system(options.root);
  if (!surroundings.is_ok()) return finish(surroundings.status());
  const auto targets = locate_all(surroundings.value(), options.paths);
  if (!targets.is_ok()) return refuse(targets.status());
  auto client = ControlClient::connect(targets->front().root);
  if (!client.is_ok()) return finish(client.status());
  int code = kDone;
  for (size_t i = 0; i < options.paths.size(); ++i) {
    Json arguments = {{"path", to_wire((*targets)[i].inside)}, {"recursive", options.is_recursive}};
    // SHA-256 is computed only when asked for; the others are stored with the file anyway.
    if (options.as_json)
      for (const char* name : {"md5", "crc64nvme", "etag"}) arguments[name] = true;
    arguments[options.chosen()] = true;
    const auto result =
        client->call("digest", arguments, {.progress = {}, .items = [&](const Json& items) {
                                             show_items(options, options.paths[i], items);
                                           }});
    // A path that is not there says nothing about the others.
    const Status status = result.status().with_context(options.paths[i]);
    code = std::max(code, finish(status));
    if (result.is_ok() && result->value("failed", uint64_t{0}) > 0)
      code = std::max<int>(code, kFailed);
    if (status.is(Code::kUnavailable)) return code;
  }
  return code;
}

}  // namespace

void add_digest(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("digest", "print digests of files, computed once and kept");
  command->add_option("PATH", options->paths, "under a mount, tarn:/path or s3://bucket/key")
      ->required();
  command->add_option("--root", options->root, "ROOT of the running Tarn");
  command->add_flag("-r,--recursive", options->is_recursive, "go into directories");
  auto* sha256 = command->add_flag("--sha256", options->sha256, "SHA-256 in place of MD5");
  auto* crc = command->add_flag("--crc64nvme", options->crc64nvme, "CRC-64/NVME in place of MD5");
  auto* etag = command->add_flag("--etag", options->etag, "S3's ETag in place of MD5");
  crc->excludes(etag);
  sha256->excludes(crc)->excludes(etag);
  command->add_flag("--json", options->as_json, "one line of JSON a file, with all digests");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
