#include "registry/training_job.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/coding.h"

namespace tarn::registry {
namespace {

constexpr uint8_t kFormat = 1;
// A row with more elements in one list than this is damaged.
constexpr uint64_t kElementsMax = 100'000;

constexpr std::array<std::string_view, 5> kStates = {"InProgress", "Stopping", "Completed",
                                                     "Failed", "Stopped"};
constexpr std::array<std::string_view, 9> kPhases = {
    "Starting",  "Downloading", "Training", "Uploading",          "Stopping",
    "Completed", "Failed",      "Stopped",  "MaxRuntimeExceeded",
};

bool may_follow(JobPhase from, JobPhase to) {
  using enum JobPhase;
  switch (to) {
    case kStarting:
      return false;
    case kDownloading:
      return from == kStarting;
    case kTraining:
      return from == kStarting || from == kDownloading;
    case kUploading:
      return from == kTraining || from == kStopping;
    case kStopping:
      return from == kStarting || from == kDownloading || from == kTraining;
    case kCompleted:
      return from == kUploading;
    case kFailed:
      return true;
    case kStopped:
    case kMaxRuntimeExceeded:
      return from == kStopping || from == kUploading;
  }
  return false;
}

JobState state_after(JobState before, JobPhase phase) {
  switch (phase) {
    case JobPhase::kStopping:
      return JobState::kStopping;
    case JobPhase::kCompleted:
      return JobState::kCompleted;
    case JobPhase::kFailed:
      return JobState::kFailed;
    case JobPhase::kStopped:
    case JobPhase::kMaxRuntimeExceeded:
      return JobState::kStopped;
    default:
      return before;
  }
}

template <class List, class Put>
void put_list(Writer& out, const List& list, const Put& put) {
  out.varint(list.size());
  for (const auto& item : list) put(item);
}

template <class Get>
void get_list(Reader& in, const Get& get) {
  const uint64_t count = std::min(in.varint(), kElementsMax);
  for (uint64_t i = 0; i < count && in.is_ok(); ++i) get();
}

std::string get_text(Reader& in) {
  return std::string(in.bytes());
}

template <class Enum>
Enum get_enum(Reader& in, Enum last) {
  return static_cast<Enum>(std::min(in.u8(), static_cast<uint8_t>(last)));
}

void put_texts(Writer& out, const std::vector<std::string>& texts) {
  put_list(out, texts, [&](const std::string& text) { out.bytes(text); });
}
std::vector<std::string> get_texts(Reader& in) {
  std::vector<std::string> texts;
  get_list(in, [&] { texts.push_back(get_text(in)); });
  return texts;
}

template <class Pairs>
void put_pairs(Writer& out, const Pairs& pairs) {
  put_list(out, pairs, [&](const auto& pair) {
    out.bytes(pair.first);
    out.bytes(pair.second);
  });
}

void put_owner(Writer& out, const Owner& owner) {
  out.bytes(owner.access_key);
  out.u32(owner.uid);
  out.u32(owner.gid);
  put_list(out, owner.groups, [&](uint32_t group) { out.u32(group); });
  out.u32(owner.umask);
}
Owner get_owner(Reader& in) {
  Owner owner;
  owner.access_key = get_text(in);
  owner.uid = in.u32();
  owner.gid = in.u32();
  get_list(in, [&] { owner.groups.push_back(in.u32()); });
  owner.umask = in.u32();
  return owner;
}

void put_channel(Writer& out, const Channel& channel) {
  out.u8(static_cast<uint8_t>(channel.kind));
  out.u8(static_cast<uint8_t>(channel.mode));
  for (const std::string* text :
       {&channel.name, &channel.bucket, &channel.prefix, &channel.content_type,
        &channel.distribution, &channel.record_wrapper, &channel.uri})
    out.bytes(*text);
}
Channel get_channel(Reader& in) {
  Channel channel;
  channel.kind = get_enum(in, ChannelKind::kFileSystemReadWrite);
  channel.mode = get_enum(in, InputMode::kFastFile);
  for (std::string* text : {&channel.name, &channel.bucket, &channel.prefix, &channel.content_type,
                            &channel.distribution, &channel.record_wrapper, &channel.uri})
    *text = get_text(in);
  return channel;
}

void put_report(Writer& out, const JobReport& report) {
  put_list(out, report.channels, [&](const ChannelReport& channel) {
    out.bytes(channel.name);
    out.bytes(channel.how);
    out.varint(channel.bytes_copied);
    out.varint(channel.files_copied);
    out.varint(channel.changes);
  });
  out.varint(report.script_bytes_copied);
  put_list(out, report.stages, [&](const auto& stage) {
    out.bytes(stage.first);
    out.i64(stage.second);
  });
  out.varint(report.log_lines);
  out.varint(report.log_bytes_dropped);
  put_texts(out, report.notes);
}
JobReport get_report(Reader& in) {
  JobReport report;
  get_list(in, [&] {
    ChannelReport channel;
    channel.name = get_text(in);
    channel.how = get_text(in);
    channel.bytes_copied = in.varint();
    channel.files_copied = in.varint();
    channel.changes = in.varint();
    report.channels.push_back(std::move(channel));
  });
  report.script_bytes_copied = in.varint();
  get_list(in, [&] {
    std::string name = get_text(in);
    report.stages.emplace_back(std::move(name), in.i64());
  });
  report.log_lines = in.varint();
  report.log_bytes_dropped = in.varint();
  report.notes = get_texts(in);
  return report;
}

}  // namespace

std::string_view state_name(JobState state) {
  return kStates[static_cast<size_t>(state)];
}

std::string_view phase_name(JobPhase phase) {
  return kPhases[static_cast<size_t>(phase)];
}

void begin(TrainingJob& job, TimeNs now, std::string message) {
  job.created = job.modified = now;
  job.state = JobState::kInProgress;
  job.phase = JobPhase::kStarting;
  job.transitions = {{JobPhase::kStarting, now, 0, std::move(message)}};
}

Status advance(TrainingJob& job, JobPhase phase, TimeNs now, std::string message) {
  if (has_ended(job.state))
    return {Code::kPreconditionFailed,
            fmt::format("the training job is in status {}", state_name(job.state))};
  if (!may_follow(job.phase, phase))
    return {Code::kPreconditionFailed, fmt::format("a job that is {} cannot become {}",
                                                   phase_name(job.phase), phase_name(phase))};
  if (!job.transitions.empty()) job.transitions.back().end = now;
  job.state = state_after(job.state, phase);
  job.phase = phase;
  job.modified = now;
  job.transitions.push_back({phase, now, has_ended(job.state) ? now : 0, std::move(message)});
  return {};
}

std::string encode(const TrainingJob& job) {
  Writer out;
  out.u8(kFormat);
  out.bytes(job.name);
  out.bytes(job.request);
  put_pairs(out, job.tags);
  put_owner(out, job.owner);
  out.bytes(job.image);
  put_texts(out, job.entrypoint);
  put_texts(out, job.arguments);
  put_pairs(out, job.hyperparameters);
  put_pairs(out, job.environment);
  put_list(out, job.channels, [&](const Channel& channel) { put_channel(out, channel); });
  out.bytes(job.output_uri);
  out.u8(job.is_output_compressed ? 1 : 0);
  out.bytes(job.instance_type);
  out.bytes(job.checkpoint_uri);
  out.bytes(job.checkpoint_path);
  out.u64(job.runtime_seconds_max);
  out.u8(static_cast<uint8_t>(job.state));
  out.u8(static_cast<uint8_t>(job.phase));
  put_list(out, job.transitions, [&](const Transition& transition) {
    out.u8(static_cast<uint8_t>(transition.phase));
    out.i64(transition.start);
    out.i64(transition.end);
    out.bytes(transition.message);
  });
  out.bytes(job.failure_reason);
  for (const TimeNs time : {job.created, job.modified, job.training_started, job.training_ended})
    out.i64(time);
  out.bytes(job.model_uri);
  out.bytes(job.log_stream);
  put_report(out, job.report);
  return out.take();
}

Result<TrainingJob> decode_training_job(std::string_view row) {
  Reader in(row);
  if (const uint8_t format = in.u8(); format != kFormat)
    return Status(Code::kCorrupt,
                  fmt::format("a training job's row has format {}, not {}", format, kFormat));
  TrainingJob job;
  job.name = get_text(in);
  job.request = get_text(in);
  const auto pair = [&] {
    std::string first = get_text(in);
    return std::pair(std::move(first), get_text(in));
  };
  get_list(in, [&] { job.tags.push_back(pair()); });
  job.owner = get_owner(in);
  job.image = get_text(in);
  job.entrypoint = get_texts(in);
  job.arguments = get_texts(in);
  get_list(in, [&] { job.hyperparameters.insert(pair()); });
  get_list(in, [&] { job.environment.insert(pair()); });
  get_list(in, [&] { job.channels.push_back(get_channel(in)); });
  job.output_uri = get_text(in);
  job.is_output_compressed = in.u8() != 0;
  job.instance_type = get_text(in);
  job.checkpoint_uri = get_text(in);
  job.checkpoint_path = get_text(in);
  job.runtime_seconds_max = in.u64();
  job.state = get_enum(in, JobState::kStopped);
  job.phase = get_enum(in, JobPhase::kMaxRuntimeExceeded);
  get_list(in, [&] {
    Transition transition;
    transition.phase = get_enum(in, JobPhase::kMaxRuntimeExceeded);
    transition.start = in.i64();
    transition.end = in.i64();
    transition.message = get_text(in);
    job.transitions.push_back(std::move(transition));
  });
  job.failure_reason = get_text(in);
  for (TimeNs* time : {&job.created, &job.modified, &job.training_started, &job.training_ended})
    *time = in.i64();
  job.model_uri = get_text(in);
  job.log_stream = get_text(in);
  job.report = get_report(in);
  if (!in.is_ok())
    return Status(Code::kCorrupt,
                  fmt::format("the row of training job '{}' ends too early", job.name));
  return job;
}

}  // namespace tarn::registry
