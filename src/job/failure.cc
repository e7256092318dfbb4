#include "job/failure.h"

#include <fcntl.h>
#include <string.h>

#include <csignal>

#include <fmt/format.h>

#include "job/s3_uri.h"
#include "job/toolkit.h"

namespace tarn::job {
namespace {

constexpr std::string_view kMissingModule = "ModuleNotFoundError: No module named '";

std::string missing_module(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    const size_t at = line.find(kMissingModule);
    if (at == std::string::npos) continue;
    const std::string rest = line.substr(at + kMissingModule.size());
    return rest.substr(0, rest.find('\''));
  }
  return {};
}

std::string how_it_ended(const Ending& ending) {
  switch (ending.kind) {
    case Ending::Kind::kExited:
      return fmt::format("exit code: {}", ending.value);
    case Ending::Kind::kKilled:
      return fmt::format("killed by signal {} ({})", ending.value, strsignal(ending.value));
    case Ending::Kind::kNotStarted:
      return ending.message;
    case Ending::Kind::kLost:
      break;
  }
  return "the job's processes were killed from outside (by the system when memory runs out, or by "
         "hand)";
}

}  // namespace

std::string read_failure_file(const std::string& path) {
  // The job may have left a link or a pipe there.
  const auto file = open_at(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file.is_ok()) return {};
  std::string text(kFailureReasonBytesMax * 4, '\0');
  const auto got = read_at(file->get(), 0, std::as_writable_bytes(std::span(text)));
  if (!got.is_ok()) return {};
  text.resize(*got);
  return clean_text(text, kFailureReasonBytesMax);
}

std::string explain_failure(const registry::TrainingJob& job, const registry::ImageProfile& profile,
                            const Ending& ending, const std::string& said,
                            const std::vector<std::string>& last_lines) {
  if (!said.empty()) return clean_text(said, kFailureReasonBytesMax);
  if (ending.kind == Ending::Kind::kNotStarted)
    return clean_text("ClientError: the program could not be started: " + ending.message,
                      kFailureReasonBytesMax);
  std::string text = "AlgorithmError: ";
  if (const std::string module = missing_module(last_lines); !module.empty()) {
    text += fmt::format(
        "image '{}' is run by the host profile '{}', {}, which has no module '{}'; install the "
        "module for that interpreter, or map the image to another one with tarn image map PATTERN "
        "--python PATH; ",
        job.image, profile.pattern, profile.path, module);
  } else if (!last_lines.empty()) {
    text += fmt::format("the program's last line: {}; ", last_lines.back());
  }
  // The end must stand there even when the last line is long.
  const std::string end = how_it_ended(ending);
  return clean_text(text, kFailureReasonBytesMax - std::min<size_t>(end.size(), 512)) + end;
}

}  // namespace tarn::job
