#include "sagemaker/logs_service.h"

#include <charconv>

#include <fmt/format.h>

#include "sagemaker/request.h"

namespace tarn::sagemaker {
namespace {

using registry::TrainingJob;

constexpr const char* kGroup = "/aws/sagemaker/TrainingJobs";
constexpr size_t kEventsMax = 10'000;
constexpr size_t kStreamsMax = 50;

Json group_arn(const Place& place) {
  return fmt::format("arn:aws:logs:{}:{}:log-group:{}", place.region, place.account, kGroup);
}

std::optional<http::Fault> check_group(const Json& request) {
  std::string group = request.value("logGroupName", "");
  if (group.empty()) group = request.value("logGroupIdentifier", "");
  if (group == kGroup || group.ends_with(std::string(":") + kGroup)) return std::nullopt;
  return http::Fault{400, "ResourceNotFoundException",
                     fmt::format("The specified log group does not exist: '{}'", group)};
}

size_t limit_of(const Json& request, size_t limit_max) {
  const Json limit = request.value("limit", Json());
  if (!limit.is_number_integer() || limit.get<int64_t>() < 1) return limit_max;
  return std::min(limit_max, limit.get<size_t>());
}

bool is_within(const Json& request, int64_t time_ms) {
  const Json start = request.value("startTime", Json()), end = request.value("endTime", Json());
  if (start.is_number_integer() && time_ms < start.get<int64_t>()) return false;
  return !(end.is_number_integer() && time_ms >= end.get<int64_t>());
}

struct Token {
  bool is_forward = true;
  uint64_t offset = 0;
};
std::optional<Token> parse_token(const std::string& text) {
  Token token;
  if (!text.starts_with("f/") && !text.starts_with("b/")) return std::nullopt;
  token.is_forward = text[0] == 'f';
  const auto [end, error] =
      std::from_chars(text.data() + 2, text.data() + text.size(), token.offset);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return token;
}

/// The part of the log that a request of GetLogEvents is about.
http::Outcome<job::LogPage> page_of(const Json& request, const std::string& path) {
  Token token;
  const std::string text = request.value("nextToken", "");
  const bool from_head = request.value("startFromHead", false);
  if (!text.empty()) {
    const auto parsed = parse_token(text);
    if (!parsed) return fault("InvalidParameterException", "The specified nextToken is invalid.");
    token = *parsed;
  } else if (!from_head) {
    token = {false, UINT64_MAX};
  }
  const size_t limit = limit_of(request, kEventsMax);
  auto page = token.is_forward ? job::read_log_after(path, token.offset, limit)
                               : job::read_log_before(path, token.offset, limit);
  // A job that has not printed anything has an empty stream.
  if (page.is(Code::kNotFound)) return job::LogPage{};
  if (!page.is_ok()) return fault_of(page.status());
  return std::move(page).value();
}

/// The whole text, or each of its words, stands in the message; quotes hold words together.
bool matches(const std::string& pattern, const std::string& message) {
  if (pattern.size() > 1 && pattern.front() == '"' && pattern.back() == '"')
    return message.find(pattern.substr(1, pattern.size() - 2)) != std::string::npos;
  for (size_t begin = 0; begin < pattern.size();) {
    const size_t end = std::min(pattern.find(' ', begin), pattern.size());
    if (message.find(pattern.substr(begin, end - begin)) == std::string::npos) return false;
    begin = end + 1;
  }
  return true;
}

bool has_stream(const TrainingJob& job) {
  return job.training_started != 0;
}

}  // namespace

LogsService::LogsService(job::Runner& runner, Place place)
    : JsonService("logs", "Logs_20140328."), runner_(runner), place_(std::move(place)) {
  add("DescribeLogGroups",
      [this](const Json& request, const http::Identity&) { return describe_log_groups(request); });
  add("DescribeLogStreams",
      [this](const Json& request, const http::Identity&) { return describe_log_streams(request); });
  add("GetLogEvents",
      [this](const Json& request, const http::Identity&) { return get_log_events(request); });
  add("FilterLogEvents",
      [this](const Json& request, const http::Identity&) { return filter_log_events(request); });
}

Answer LogsService::describe_log_groups(const Json& request) {
  Json groups = Json::array();
  if (std::string(kGroup).starts_with(request.value("logGroupNamePrefix", "")))
    groups.push_back({{"logGroupName", kGroup},
                      {"arn", group_arn(place_)},
                      {"creationTime", 0},
                      {"metricFilterCount", 0},
                      {"storedBytes", 0}});
  return Json{{"logGroups", std::move(groups)}};
}

Answer LogsService::describe_log_streams(const Json& request) {
  if (auto wrong = check_group(request)) return std::unexpected(*wrong);
  auto jobs = runner_.registry().training_jobs();
  if (!jobs.is_ok()) return fault_of(jobs.status());
  const std::string prefix = request.value("logStreamNamePrefix", "");
  const std::string after = request.value("nextToken", "");
  const size_t limit = limit_of(request, kStreamsMax);
  Json streams = Json::array();
  Json answer = Json::object();
  for (const TrainingJob& job : *jobs) {
    if (!has_stream(job) || !job.log_stream.starts_with(prefix) || job.log_stream <= after)
      continue;
    if (streams.size() == limit) {
      answer["nextToken"] = streams.back()["logStreamName"];
      break;
    }
    const uint64_t size = job::log_size(runner_.log_path(job.name));
    Json stream = {{"logStreamName", job.log_stream},
                   {"creationTime", job.created / kMillisecondNs},
                   {"arn", fmt::format("{}:log-stream:{}", group_arn(place_).get<std::string>(),
                                       job.log_stream)},
                   {"uploadSequenceToken", "0"},
                   {"storedBytes", 0}};
    if (size > 0) {
      const auto first = job::read_log_after(runner_.log_path(job.name), 0, 1);
      const auto last = job::read_log_before(runner_.log_path(job.name), UINT64_MAX, 1);
      if (first.is_ok() && last.is_ok() && !first->events.empty() && !last->events.empty()) {
        stream["firstEventTimestamp"] = first->events.front().time_ms;
        stream["lastEventTimestamp"] = last->events.front().time_ms;
        stream["lastIngestionTime"] = last->events.front().time_ms;
      }
    }
    streams.push_back(std::move(stream));
  }
  answer["logStreams"] = std::move(streams);
  return answer;
}

Answer LogsService::get_log_events(const Json& request) {
  if (auto wrong = check_group(request)) return std::unexpected(*wrong);
  const auto stream = required_text(request, "logStreamName");
  if (!stream) return std::unexpected(stream.error());
  const auto job = runner_.registry().training_job(stream->substr(0, stream->find('/')));
  if (!job.is_ok() || job->log_stream != *stream || !has_stream(*job))
    return fault("ResourceNotFoundException", "The specified log stream does not exist.");
  const auto page = page_of(request, runner_.log_path(job->name));
  if (!page) return std::unexpected(page.error());
  Json events = Json::array();
  for (const job::LogEvent& event : page->events)
    if (is_within(request, event.time_ms))
      events.push_back({{"timestamp", event.time_ms},
                        {"message", event.message},
                        {"ingestionTime", event.time_ms}});
  return Json{{"events", std::move(events)},
              {"nextForwardToken", fmt::format("f/{}", page->end)},
              {"nextBackwardToken", fmt::format("b/{}", page->begin)}};
}

Answer LogsService::filter_log_events(const Json& request) {
  if (auto wrong = check_group(request)) return std::unexpected(*wrong);
  auto jobs = runner_.registry().training_jobs();
  if (!jobs.is_ok()) return fault_of(jobs.status());
  const std::string prefix = request.value("logStreamNamePrefix", "");
  const std::string pattern = request.value("filterPattern", "");
  const Json names = request.value("logStreamNames", Json::array());
  const size_t limit = limit_of(request, kEventsMax);
  // "stream offset": where the next page begins.
  const std::string token = request.value("nextToken", "");
  const size_t space = token.rfind(' ');
  uint64_t offset = 0;
  if (space != std::string::npos)
    std::from_chars(token.data() + space + 1, token.data() + token.size(), offset);
  const std::string from = token.substr(0, space == std::string::npos ? 0 : space);
  Json events = Json::array();
  Json answer = {{"searchedLogStreams", Json::array()}};
  for (const TrainingJob& job : *jobs) {
    const std::string& stream = job.log_stream;
    if (!has_stream(job) || !stream.starts_with(prefix) || stream < from) continue;
    if (!names.empty() && std::find(names.begin(), names.end(), stream) == names.end()) continue;
    uint64_t at = stream == from ? offset : 0;
    while (true) {
      const auto page = job::read_log_after(runner_.log_path(job.name), at, 1);
      if (!page.is_ok() || page->events.empty()) break;
      if (events.size() == limit) {
        answer["nextToken"] = fmt::format("{} {}", stream, at);
        answer["events"] = std::move(events);
        return answer;
      }
      const job::LogEvent& event = page->events.front();
      if (is_within(request, event.time_ms) && matches(pattern, event.message))
        events.push_back({{"logStreamName", stream},
                          {"timestamp", event.time_ms},
                          {"message", event.message},
                          {"ingestionTime", event.time_ms},
                          {"eventId", fmt::format("{}-{}", job.name, at)}});
      at = page->end;
    }
  }
  answer["events"] = std::move(events);
  return answer;
}

}  // namespace tarn::sagemaker
