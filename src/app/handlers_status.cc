// The command `status`: how the running program works, and why so.
#include <sys/stat.h>
#include <unistd.h>

#include "app/machine.h"
#include "app/worker_context.h"

namespace tarn::app {
namespace {

Json memory_of(pid_t pid) {
  const auto bytes = resident_bytes(pid);
  return bytes.has_value() ? Json(*bytes) : Json();
}

Json capacity(WorkerContext& context, const fs::StatFs& space, const content::Root::Space& disk) {
  const auto use = disk_use(context.root.path());
  return {{"bytes_total", space.blocks * space.block_bytes},
          {"bytes_free", space.blocks_free * space.block_bytes},
          {"files_total", space.files},
          {"files_free", space.files_free},
          {"ballast_bytes", disk.ballast_bytes},
          {"is_low", disk.is_low},
          {"percent_used", use.is_ok() ? Json(use->percent_used) : Json()},
          {"warning", use.is_ok() ? nearly_full_warning(*use, 2 * disk.ballast_bytes) : ""},
          {"writes", context.root.check_may_write().is_ok() ? "accepted" : "refused: disk full"}};
}

Json store_report(kv::Store& store) {
  const kv::Statistics s = store.statistics();
  return {{"engine", store.engine()}, {"transactions", s.transactions},
          {"conflicts", s.conflicts}, {"rows_written", s.rows_written},
          {"wal_bytes", s.wal_bytes}, {"syncs", s.syncs},
          {"reads", s.reads},         {"head", store.head().value}};
}

Json content_report(content::Content& content) {
  const auto r = content.report();
  return {{"blobs", r.blobs},
          {"packs", r.packs},
          {"pool_ready", r.pool_ready},
          {"queued", r.queued},
          {"recovered", r.recovered},
          {"dropped_at_recovery", r.dropped_at_recovery},
          {"bytes_written", r.bytes_written}};
}

Json health_report(const WorkerContext& context, const content::Content::Report& report) {
  const auto damage = context.health.damage();
  Json list = Json::array();
  // The first hundred tell what happened; all of them are in ROOT/health.json.
  for (size_t i = 0; i < damage.size() && i < 100; ++i)
    list.push_back({{"ino", damage[i].ino.value},
                    {"blob", damage[i].blob.value},
                    {"offset", damage[i].offset},
                    {"length", damage[i].length},
                    {"what", damage[i].what}});
  const auto scrubbed = context.health.last_scrub();
  return {{"state", damage.empty() && report.dropped_at_recovery == 0 ? "good" : "damaged"},
          {"damaged_ranges", damage.size()},
          {"damage", std::move(list)},
          {"last_scrub_ns", scrubbed.has_value() ? Json(*scrubbed) : Json()},
          {"dropped_at_recovery", report.dropped_at_recovery}};
}

Json processes(const WorkerContext& context) {
  return {{"worker_pid", getpid()},
          {"worker_memory_bytes", memory_of(getpid())},
          {"user", geteuid() == 0 ? "root" : "ordinary user"},
          {"uid", geteuid()},
          {"workers_before", context.workers_before},
          {"uptime_s", (Clock::system().now() - context.started) / kSecondNs},
          {"keeper_pid", context.keeper_pid},
          {"keeper_memory_bytes", memory_of(context.keeper_pid)}};
}

const char* last_end_name(content::LastEnd end) {
  switch (end) {
    case content::LastEnd::kFresh:
      return "never served before";
    case content::LastEnd::kClean:
      return "ended cleanly";
    case content::LastEnd::kProcessDied:
      return "the program died";
    case content::LastEnd::kMachineDied:
      return "the machine went down";
  }
  return "unknown";
}

Result<Json> status(WorkerContext& context) {
  TARN_ASSIGN(const fs::StatFs space, context.file_system.statfs());
  TARN_ASSIGN(const content::Root::Space disk, context.root.space());
  const auto open = context.file_system.open_counts();
  Json mount = context.mount_status ? context.mount_status() : Json{{"state", "none asked for"}};
  mount["directory"] = to_wire(context.mount_directory);
  content::Content& content = context.file_system.content();
  return Json{{"version", TARN_VERSION},
              {"kernel", kernel_release()},
              {"root", to_wire(context.root.path())},
              {"uuid", context.root.uuid()},
              {"last_end", last_end_name(context.root.last_end())},
              {"processes", processes(context)},
              {"mount", std::move(mount)},
              {"capacity", capacity(context, space, disk)},
              {"kv", store_report(context.file_system.store())},
              {"open",
               {{"handles", open.handles},
                {"inodes_direct", open.inodes_direct},
                {"inodes_served", open.inodes_served},
                {"pending", open.pending}}},
              {"content", content_report(content)},
              {"health", health_report(context, content.report())}};
}

}  // namespace

void add_status_handler(ControlHandlers& handlers, WorkerContext& context) {
  handlers["status"] = [&context](ControlCall&) { return status(context); };
}

fs::Caller caller_of(const ControlCall& call) {
  const Peer& peer = call.peer();
  fs::Caller caller;
  caller.uid = peer.uid;
  caller.gid = peer.gid;
  caller.groups = peer.groups;
  caller.umask = peer.umask;
  return caller;
}

ControlHandlers make_handlers(WorkerContext& context) {
  ControlHandlers handlers;
  add_status_handler(handlers, context);
  add_digest_handlers(handlers, context);
  add_work_handlers(handlers, context);
  return handlers;
}

}  // namespace tarn::app
