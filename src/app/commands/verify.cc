// tarn verify PATH: compares a tree with a manifest from outside, or says since when it is
// unchanged.
#include <sys/stat.h>

#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"
#include "app/machine.h"
#include "app/manifest.h"

namespace tarn::app {
namespace {

// A manifest of ten million files is about this large.
constexpr size_t kManifestBytesMax = size_t{2} << 30;
// Lines a request: a few hundred KB, far below the limit of a frame.
constexpr size_t kLinesARequest = 10'000;

struct Options {
  std::optional<std::string> root;
  std::string path;
  std::string manifest;
  bool is_reread = false, as_json = false;
};

struct Outcome {
  uint64_t checked = 0, matched = 0, bytes = 0;
  Json failures = Json::array();
};

void show_failures(const Options& options, const Json& items, Json& kept) {
  for (const Json& item : items) {
    const auto path = from_wire(item.value("path", ""));
    if (options.as_json) {
      kept.push_back(item);
    } else {
      print(fmt::format("{}: {}: {}\n", path.is_ok() && !path->empty() ? *path : options.path,
                        item.value("outcome", ""), item.value("detail", "")));
    }
  }
}

Result<Outcome> compare(ControlClient& client, const Options& options, const std::string& inside,
                        const std::vector<ManifestLine>& lines) {
  Outcome outcome;
  Progress progress("verifying");
  for (size_t begin = 0; begin < lines.size(); begin += kLinesARequest) {
    Json entries = Json::array();
    for (size_t i = begin; i < std::min(begin + kLinesARequest, lines.size()); ++i)
      entries.push_back({lines[i].hex, to_wire(lines[i].path)});
    const ControlClient::Observer observer{
        .progress = [&](uint64_t, uint64_t) { progress.update(outcome.bytes, 0); },
        .items = [&](const Json& items) { show_failures(options, items, outcome.failures); }};
    TARN_ASSIGN(const Json result, client.call("verify",
                                               {{"path", to_wire(inside)},
                                                {"entries", std::move(entries)},
                                                {"reread", options.is_reread}},
                                               observer));
    outcome.checked += result.value("checked", uint64_t{0});
    outcome.matched += result.value("matched", uint64_t{0});
    outcome.bytes += result.value("bytes", uint64_t{0});
  }
  return outcome;
}

int verify_with_manifest(ControlClient& client, const Options& options, const std::string& inside) {
  const auto text = read_file(options.manifest, kManifestBytesMax);
  if (!text.is_ok()) return finish(text.status());
  const auto lines = parse_manifest(text.value());
  if (!lines.is_ok()) return finish(lines.status().with_context(options.manifest));
  if (lines->empty())
    return finish({Code::kBadFormat, fmt::format("'{}' lists no file", options.manifest)});
  const auto outcome = compare(client, options, inside, lines.value());
  if (!outcome.is_ok()) return finish(outcome.status());
  const uint64_t failed = outcome->checked - outcome->matched;
  if (options.as_json) {
    print(to_line({{"checked", outcome->checked},
                   {"matched", outcome->matched},
                   {"bytes", outcome->bytes},
                   {"reread", options.is_reread},
                   {"failures", outcome->failures}}) +
          "\n");
  } else {
    print(fmt::format("{} of {} files ({}) agree with {}, {}\n", outcome->matched, outcome->checked,
                      human_bytes(outcome->bytes), options.manifest,
                      options.is_reread ? "every byte read again" : "by stored digests"));
  }
  return failed == 0 ? kDone : kFailed;
}

int verify_alone(ControlClient& client, const Options& options, const std::string& inside) {
  Json failures = Json::array();
  auto result = client.call("check", {{"path", to_wire(inside)}, {"reread", options.is_reread}},
                            {.progress = {}, .items = [&](const Json& items) {
                               show_failures(options, items, failures);
                             }});
  if (!result.is_ok()) return finish(result.status());
  const uint64_t unsound = result->value("unsound", uint64_t{0});
  if (options.as_json) {
    (*result)["failures"] = std::move(failures);
    print(to_line(result.value()) + "\n");
    return unsound == 0 ? kDone : kFailed;
  }
  const uint64_t files = result->value("files", uint64_t{0});
  const Json& read_back = (*result)["read_back_ns"];
  const std::string when = read_back.is_number()
                               ? "last read back at " + utc_time(read_back.get<int64_t>())
                               : std::string("never read back");
  print(fmt::format("{} of {} files ({}) unchanged since ingest, {}\n", files - unsound, files,
                    human_bytes(result->value("bytes", uint64_t{0})), when));
  const uint64_t newer = result->value("not_read_back", uint64_t{0});
  if (newer > 0 && read_back.is_number())
    print(fmt::format("{} of them changed after that\n", newer));
  return unsound == 0 ? kDone : kFailed;
}

int run(const Options& options) {
  const auto surroundings = Surroundings::system(options.root);
  if (!surroundings.is_ok()) return finish(surroundings.status());
  const auto target = locate(surroundings.value(), options.path);
  if (!target.is_ok()) return refuse(target.status());
  auto client = ControlClient::connect(target->root);
  if (!client.is_ok()) return finish(client.status());
  return options.manifest.empty() ? verify_alone(client.value(), options, target->inside)
                                  : verify_with_manifest(client.value(), options, target->inside);
}

}  // namespace

void add_verify(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("verify", "compare files with a manifest, or with what was stored");
  command->add_option("PATH", options->path, "a file or directory; a manifest's names are below it")
      ->required();
  command->add_option("--manifest", options->manifest, "lines of md5sum or sha256sum");
  command->add_flag("--reread", options->is_reread, "read every byte from the disk again");
  command->add_option("--root", options->root, "ROOT of the running Tarn");
  command->add_flag("--json", options->as_json, "as one line of JSON");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
