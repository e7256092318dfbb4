// The commands `sync`, `scrub`, `fsck` and `extract`.
#include <sys/stat.h>

#include <fmt/format.h>

#include "app/tree.h"
#include "app/worker_context.h"
#include "base/log.h"
#include "fs/extract.h"
#include "meta/meta.h"

namespace tarn::app {
namespace {

// What one command prints at most; a longer list helps nobody.
constexpr size_t kFindingsShownMax = 1000;

Result<Json> sync(WorkerContext& context) {
  const TimeNs started = Clock::system().monotonic();
  TARN_TRY(context.file_system.sync());
  return Json{{"seconds", static_cast<double>(Clock::system().monotonic() - started) / 1e9}};
}

/// The generation that a damage belongs to: the inode's current one.
Generation generation_of(fs::FileSystem& file_system, Ino ino) {
  const auto txn = file_system.store().begin();
  const auto row = meta::get_inode(*txn, ino);
  return row.is_ok() ? row->generation : Generation();
}

Result<Json> scrub(WorkerContext& context) {
  const TimeNs started = Clock::system().now();
  TARN_ASSIGN(const auto damages, context.file_system.content().scrub());
  std::vector<KnownDamage> known;
  Json shown = Json::array();
  for (const auto& damage : damages) {
    known.push_back({.ino = damage.ino,
                     .generation = generation_of(context.file_system, damage.ino),
                     .blob = damage.blob,
                     .offset = damage.offset,
                     .length = damage.length,
                     .what = damage.what,
                     .found = Clock::system().now()});
    log_error("scrub.damage", "ino={} blob={} offset={} length={} what={}", damage.ino.value,
              damage.blob.value, damage.offset, damage.length, damage.what);
    if (shown.size() < kFindingsShownMax)
      shown.push_back({{"ino", damage.ino.value},
                       {"blob", damage.blob.value},
                       {"offset", damage.offset},
                       {"length", damage.length},
                       {"what", damage.what}});
  }
  TARN_TRY(context.health.record_scrub(started, std::move(known)));
  const auto report = context.file_system.content().report();
  return Json{{"blobs", report.blobs},
              {"packs", report.packs},
              {"damaged_ranges", damages.size()},
              {"damage", std::move(shown)},
              {"seconds", static_cast<double>(Clock::system().now() - started) / 1e9}};
}

Result<Json> fsck(WorkerContext& context) {
  TARN_ASSIGN(const auto findings, meta::check(context.file_system.store()));
  Json shown = Json::array();
  for (const auto& finding : findings)
    if (shown.size() < kFindingsShownMax)
      shown.push_back({{"ino", finding.ino.value}, {"what", finding.what}});
  return Json{{"findings", findings.size()}, {"shown", std::move(shown)}};
}

Result<Json> extract(ControlCall& call, WorkerContext& context) {
  const fs::Caller caller = caller_of(call);
  fs::FileSystem& file_system = context.file_system;
  fs::ExtractRequest request;
  TARN_ASSIGN(request.archive_name, path_argument(call.arguments(), "archive"));
  TARN_ASSIGN(const std::string target, path_argument(call.arguments(), "target"));
  TARN_ASSIGN(request.merge, flag_argument(call.arguments(), "merge"));
  TARN_ASSIGN(request.strip_leading_slash, flag_argument(call.arguments(), "strip_leading_slash"));
  request.archive_fd = call.descriptor();
  if (request.archive_fd < 0) {
    TARN_ASSIGN(const fs::Attributes archive,
                resolve(file_system, caller, kRootIno, request.archive_name));
    request.archive = archive.ino;
  }
  TARN_ASSIGN(const fs::Attributes directory, resolve(file_system, caller, kRootIno, target));
  if (!S_ISDIR(directory.mode))
    return Status(Code::kNotDirectory, fmt::format("'{}' is not a directory", target));
  request.target = directory.ino;
  request.progress = [&call](uint64_t done, uint64_t total) {
    // A peer that is gone is noticed by is_cancelled.
    (void)call.progress(done, total).is_ok();
  };
  request.is_cancelled = [&call] { return call.is_cancelled(); };
  TARN_ASSIGN(const fs::ExtractReport report, fs::extract(file_system, caller, request));
  return Json{{"format", report.format},
              {"files", report.files},
              {"directories", report.directories},
              {"others", report.others},
              {"bytes", report.bytes},
              {"bytes_in_place", report.bytes_in_place},
              {"bytes_decompressed", report.bytes_decompressed},
              {"bytes_copied", report.bytes_copied},
              {"seconds", report.seconds}};
}

}  // namespace

void add_work_handlers(ControlHandlers& handlers, WorkerContext& context) {
  handlers["sync"] = [&context](ControlCall&) { return sync(context); };
  handlers["scrub"] = [&context](ControlCall&) { return scrub(context); };
  handlers["fsck"] = [&context](ControlCall&) { return fsck(context); };
  handlers["extract"] = [&context](ControlCall& call) { return extract(call, context); };
}

}  // namespace tarn::app
