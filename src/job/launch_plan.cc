#include "job/launch_plan.h"

#include "base/coding.h"

namespace tarn::job {
namespace {

void put_texts(Writer& out, const std::vector<std::string>& texts) {
  out.varint(texts.size());
  for (const std::string& text : texts) out.bytes(text);
}

std::vector<std::string> get_texts(Reader& in) {
  std::vector<std::string> texts;
  for (uint64_t left = in.varint(); left > 0 && in.is_ok(); --left) texts.emplace_back(in.bytes());
  return texts;
}

}  // namespace

std::string encode(const LaunchPlan& plan) {
  Writer out;
  out.u32(static_cast<uint32_t>(plan.parent));
  for (const std::string* text : {&plan.mount_directory, &plan.ml_directory, &plan.hidden_directory,
                                  &plan.hosts_file, &plan.working_directory})
    out.bytes(*text);
  out.varint(plan.mounts.size());
  for (const MountStep& step : plan.mounts) {
    out.u8(static_cast<uint8_t>(step.kind));
    for (const std::string* text : {&step.source, &step.target, &step.upper, &step.work})
      out.bytes(*text);
  }
  put_texts(out, plan.argv);
  put_texts(out, plan.environment);
  out.u32(plan.uid);
  out.u32(plan.gid);
  out.u32(plan.umask);
  out.varint(plan.groups.size());
  for (const uint32_t group : plan.groups) out.u32(group);
  return out.take();
}

Result<LaunchPlan> decode_launch_plan(std::string_view text) {
  Reader in(text);
  LaunchPlan plan;
  plan.parent = static_cast<pid_t>(in.u32());
  for (std::string* field : {&plan.mount_directory, &plan.ml_directory, &plan.hidden_directory,
                             &plan.hosts_file, &plan.working_directory})
    *field = std::string(in.bytes());
  for (uint64_t left = in.varint(); left > 0 && in.is_ok(); --left) {
    MountStep step;
    step.kind = static_cast<MountKind>(in.u8());
    for (std::string* field : {&step.source, &step.target, &step.upper, &step.work})
      *field = std::string(in.bytes());
    plan.mounts.push_back(std::move(step));
  }
  plan.argv = get_texts(in);
  plan.environment = get_texts(in);
  plan.uid = in.u32();
  plan.gid = in.u32();
  plan.umask = in.u32();
  for (uint64_t left = in.varint(); left > 0 && in.is_ok(); --left) plan.groups.push_back(in.u32());
  if (!in.is_ok() || !in.at_end()) return Status(Code::kCorrupt, "this is no plan of a job");
  return plan;
}

}  // namespace tarn::job
