// tarn status: how the running program works, and why so.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "app/commands/commands.h"
#include "app/commands/talk.h"
#include "app/console.h"
#include "app/machine.h"

namespace tarn::app {
namespace {

struct Options {
  std::optional<std::string> root;
  bool as_json = false;
};

uint64_t number(const Json& json, const char* name) {
  return json.value(name, uint64_t{0});
}

void line(const char* name, const std::string& text) {
  print(fmt::format("{:<12} {}\n", name, text));
}

std::string memory(const Json& processes, const char* name) {
  const auto found = processes.find(name);
  return found != processes.end() && found->is_number_unsigned()
             ? human_bytes(found->get<uint64_t>())
             : "unknown";
}

void show_processes(const Json& processes) {
  line("worker",
       fmt::format("pid {}, {} ({}), up {}, {} workers before it", number(processes, "worker_pid"),
                   memory(processes, "worker_memory_bytes"), processes.value("user", ""),
                   human_seconds(number(processes, "uptime_s")),
                   number(processes, "workers_before")));
  if (processes.contains("keeper_pid"))
    line("keeper", fmt::format("pid {}, {}", number(processes, "keeper_pid"),
                               memory(processes, "keeper_memory_bytes")));
}

/// Every mode the mount reports is an object {"state", "why", "change"}; the rest are plain values.
void show_mount(const Json& mount) {
  const std::string directory = mount.value("directory", "");
  line("mount", directory.empty() ? "none" : directory);
  for (const auto& [name, value] : mount.items()) {
    if (name == "directory") continue;
    if (!value.is_object()) {
      line(("  " + name).c_str(), value.is_string() ? value.get<std::string>() : to_line(value));
      continue;
    }
    std::string text = value.value("state", "");
    if (const std::string why = value.value("why", ""); !why.empty()) text += ": " + why;
    if (const std::string change = value.value("change", ""); !change.empty())
      text += " (to change it: " + change + ")";
    line(("  " + name).c_str(), text);
  }
}

void show_store(const Json& store, const Json& content, const Json& open) {
  line("metadata",
       fmt::format("{}: {} transactions, {} rows, {} of log, {} syncs, {} conflicts",
                   store.value("engine", ""), number(store, "transactions"),
                   number(store, "rows_written"), human_bytes(number(store, "wal_bytes")),
                   number(store, "syncs"), number(store, "conflicts")));
  line("content", fmt::format("{} blobs, {} packs, {} new files ready, {} waiting to settle",
                              number(content, "blobs"), number(content, "packs"),
                              number(content, "pool_ready"), number(content, "queued")));
  line("open", fmt::format("{} handles, {} files direct, {} served, {} pending",
                           number(open, "handles"), number(open, "inodes_direct"),
                           number(open, "inodes_served"), number(open, "pending")));
}

void show_health(const Json& health) {
  const Json scrubbed = health.value("last_scrub_ns", Json());
  line("health", fmt::format("{}; {} damaged ranges, {} files dropped at recovery, last scrub {}",
                             health.value("state", ""), number(health, "damaged_ranges"),
                             number(health, "dropped_at_recovery"),
                             scrubbed.is_number() ? utc_time(scrubbed.get<int64_t>()) : "never"));
  for (const Json& item : health.value("damage", Json::array()))
    line("  damage", fmt::format("inode {}, blob {}, offset {}, {} bytes: {}", number(item, "ino"),
                                 number(item, "blob"), number(item, "offset"),
                                 number(item, "length"), item.value("what", "")));
}

int run(const Options& options) {
  const auto result = call_root(options.root, "status");
  if (!result.is_ok()) return finish(result.status());
  const Json& status = result.value();
  if (options.as_json) {
    print(to_line(status) + "\n");
    return kDone;
  }
  line("tarn",
       fmt::format("{} on Linux {}", status.value("version", ""), status.value("kernel", "")));
  line("root", fmt::format("{} ({}, before: {})", status.value("root", ""),
                           status.value("uuid", ""), status.value("last_end", "")));
  show_processes(status.value("processes", Json::object()));
  show_mount(status.value("mount", Json::object()));
  const Json capacity = status.value("capacity", Json::object());
  line("capacity",
       fmt::format("{} free of {}, {} of ballast; writes {}",
                   human_bytes(number(capacity, "bytes_free")),
                   human_bytes(number(capacity, "bytes_total")),
                   human_bytes(number(capacity, "ballast_bytes")), capacity.value("writes", "")));
  if (const std::string warning = capacity.value("warning", ""); !warning.empty())
    line("  warning", "the disk is " + warning);
  show_store(status.value("kv", Json::object()), status.value("content", Json::object()),
             status.value("open", Json::object()));
  show_health(status.value("health", Json::object()));
  return kDone;
}

}  // namespace

void add_status(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("status", "show modes and why, capacity, health");
  command->add_option("ROOT", options->root, "default: TARN_ROOT, or the mount one stands in");
  command->add_flag("--json", options->as_json, "as one line of JSON");
  command->callback(
      [options, &invocation] { invocation.run = [options] { return run(*options); }; });
}

}  // namespace tarn::app
