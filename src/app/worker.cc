#include "app/worker.h"

#include <malloc.h>
#include <unistd.h>

#include <thread>

#include <fmt/format.h>

#include "app/control_server.h"
#include "app/health.h"
#include "app/keeper_link.h"
#include "app/machine.h"
#include "app/mount_point.h"
#include "app/mount_table.h"
#include "app/services.h"
#include "app/worker_context.h"
#include "base/log.h"
#include "fs/fs.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "mount/session.h"

namespace tarn::app {
namespace {

// glibc gives every thread its own arena; with some dozens of threads their slack is most of the
// memory.
constexpr int kMallocArenas = 4;
constexpr TimeNs kDyingWorkerNs = 5 * kSecondNs;

Json mode(std::string state, std::string why = "", std::string change = "") {
  return {{"state", std::move(state)}, {"why", std::move(why)}, {"change", std::move(change)}};
}

Json passthrough_mode(const mount::Session::Report& report, const Settings& settings) {
  if (!settings.passthrough)
    return mode("off", "switched off by mount.passthrough", "start without --no-passthrough");
  if (report.is_passthrough_on) return mode("on", report.passthrough_reason);
  const std::string change =
      may_administer() ? "tarn doctor tells what the kernel lacks" : "run tarn serve as root";
  return mode("off", report.passthrough_reason, change);
}

/// Whether other users reach the mount, by the kernel's own word.
Json shared_mode(const Settings& settings) {
  const auto table = read_mount_table();
  const MountEntry* entry = table.is_ok() ? mount_at(*table, settings.mount_directory) : nullptr;
  if (entry == nullptr) return mode("unknown", "the mount is not in /proc/self/mountinfo");
  if (("," + entry->options + ",").find(",allow_other,") != std::string::npos)
    return mode("on", "every user of this machine may use it, as its permissions say");
  if (!settings.allow_other)
    return mode("off", "switched off by mount.allow_other", "start without --no-allow-other");
  return mode("off", "only the user who serves may use it: /etc/fuse.conf lacks user_allow_other",
              "as root: echo user_allow_other >> /etc/fuse.conf");
}

/// What the lack of a mount means.
Json without_mount() {
  const Status device = check_fuse_device();
  return {{"state", "none asked for"},
          {"channels", mode("copied", "without a mount jobs get copies of their inputs",
                            device.is_ok() ? "start with --mount DIR"
                                           : "tarn doctor tells what this machine lacks")}};
}

/// The part of `tarn status` that is the mount's.
Json mount_report(const mount::Session& session, const Settings& settings) {
  const mount::Session::Report report = session.report();
  return {
      {"state", "mounted"},
      {"shared", shared_mode(settings)},
      {"channel", mode(report.channel, fmt::format("{} queues", report.queues))},
      {"io_uring", mode("not used", "this version speaks to the kernel over /dev/fuse")},
      {"passthrough", passthrough_mode(report, settings)},
      {"take_over",
       report.is_resend_on
           ? mode("on", "the kernel sends again what a dead worker left unanswered")
           : mode("off", "the kernel cannot send requests again: a worker's crash ends the mount",
                  "Linux 6.9 or later")},
      {"negotiated", report.negotiated}};
}

/// Everything a worker runs, in the order of its start; `close` goes the other way.
class Worker {
 public:
  explicit Worker(WorkerOptions options) : options_(std::move(options)) {}

  Status open() {
    started_ = Clock::system().now();
    TARN_TRY(open_root());
    TARN_TRY(open_store());
    TARN_TRY(create_session());
    TARN_TRY(open_file_system());
    health_ = std::make_unique<Health>(options_.root);
    fill_context();
    TARN_ASSIGN(services_, Services::start(*context_));
    ControlHandlers handlers = make_handlers(*context_);
    services_->add_handlers(handlers);
    TARN_ASSIGN(control_, ControlServer::start(options_.root, std::move(handlers)));
    if (session_ != nullptr) TARN_TRY(session_->start(*file_system_));
    warn_of_full_disk();
    log_info("worker.ready", "root=\"{}\" pid={} mount=\"{}\" last_end={} take_over={}",
             options_.root, getpid(), context_->mount_directory,
             static_cast<int>(root_->last_end()), options_.inheritance.is_take_over);
    return {};
  }

  Status serve() {
    const std::string& directory = context_->mount_directory;
    TARN_TRY(tell_ready(options_.inheritance,
                        fmt::format("tarn is ready: root {}, {}", options_.root,
                                    directory.empty() ? "no mount" : "mounted on " + directory)));
    TARN_ASSIGN(const WorkerEnd end, wait_for_end(options_.inheritance,
                                                  session_ != nullptr ? session_->ended_fd() : -1));
    log_info("worker.ending", "cause={}",
             end == WorkerEnd::kAsked        ? "asked"
             : end == WorkerEnd::kKeeperGone ? "keeper_gone"
                                             : "unmounted");
    return {};
  }

  /// Ends what was opened, as far as it was. The first failure is returned, the rest is still done.
  Status close() {
    Status first;
    const auto keep = [&](Status status) {
      if (!status.is_ok()) log_error("worker.close", "error={}", status.to_string());
      if (first.is_ok()) first = std::move(status);
    };
    if (control_ != nullptr) control_->stop();
    if (services_ != nullptr) services_->stop();
    if (session_ != nullptr) session_->stop();
    if (file_system_ != nullptr) {
      keep(file_system_->close());
      control_.reset();
      services_.reset();
      file_system_.reset();
      // Not clean unless all of it is on disk: recovery then looks for what is missing.
      if (first.is_ok()) keep(root_->mark_clean());
    }
    session_.reset();
    store_.reset();
    root_.reset();
    return first;
  }

 private:
  /// The keeper holds ROOT's serve.lock, so who still has the superblock is a worker that is just
  /// dying.
  Status open_root() {
    const TimeNs deadline = Clock::system().monotonic() + kDyingWorkerNs;
    while (true) {
      auto opened = content::Root::open(options_.root);
      if (opened.is_ok()) {
        root_ = std::move(opened).value();
        return {};
      }
      if (!opened.is(Code::kBusy) || Clock::system().monotonic() > deadline) return opened.status();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  Status open_store() {
    const auto open = [&] {
      return kv::open_rocks({.path = options_.root + "/meta",
                             .cache_bytes = options_.settings.metadata_cache_bytes,
                             .memtable_bytes = options_.settings.memtable_bytes},
                            meta::merge_function());
    };
    auto opened = open();
    if (opened.is(Code::kNoSpace)) {
      // On a full disk: the reserve is there for this.
      TARN_TRY(root_->release_ballast());
      opened = open();
    }
    TARN_ASSIGN(store_, std::move(opened));
    return {};
  }

  void warn_of_full_disk() {
    const auto use = disk_use(options_.root);
    const auto space = root_->space();
    if (!use.is_ok() || !space.is_ok()) return;
    const std::string warning = nearly_full_warning(*use, 2 * space->ballast_bytes);
    if (!warning.empty()) log_warn("disk", "the disk under {} is {}", options_.root, warning);
  }

  Status create_session() {
    const WorkerInheritance& inheritance = options_.inheritance;
    TARN_ASSIGN(auto shared, mount::SharedState::open(UniqueFd(inheritance.state_fd)));
    shared_ = std::make_unique<mount::SharedState>(std::move(shared));
    workers_before_ = (*shared_)->worker_starts;
    if (inheritance.fuse_fds.empty()) return {};
    mount::SessionOptions options;
    for (const int fd : inheritance.fuse_fds) options.fds.emplace_back(fd);
    options.is_take_over = inheritance.is_take_over;
    TARN_ASSIGN(session_, mount::Session::create(std::move(options), *shared_));
    return {};
  }

  Status open_file_system() {
    fs::FsOptions options;
    options.handle_table_fd = options_.inheritance.handles_fd;
    options.is_take_over = options_.inheritance.is_take_over;
    if (session_ != nullptr) {
      if (options_.settings.passthrough) options.attacher = &session_->passthrough();
      options.connection = session_->connection();
      TARN_ASSIGN(holder_, KeeperHolder::open(options_.inheritance.kept_fd,
                                              options_.inheritance.is_take_over));
      options.holder = holder_.get();
    }
    TARN_ASSIGN(file_system_, fs::FileSystem::open(*root_, *store_, options, geteuid(), getegid()));
    if (session_ != nullptr && options.is_take_over) {
      // The rest was the dead worker's pool and what it kept open: as long as that is registered,
      // the kernel holds its blocks, removed or not.
      const size_t closed = session_->passthrough().close_others(file_system_->attachments());
      log_info("worker.backing_closed", "count={}", closed);
    }
    return {};
  }

  void fill_context() {
    context_.reset(new WorkerContext{.root = *root_,
                                     .file_system = *file_system_,
                                     .health = *health_,
                                     .settings = options_.settings,
                                     .mount_directory = {},
                                     .mount_status = {},
                                     .keeper_pid = getppid(),
                                     .workers_before = workers_before_,
                                     .started = started_});
    context_->mount_status = without_mount;
    if (session_ == nullptr) return;
    context_->mount_directory = options_.settings.mount_directory;
    context_->mount_status = [this] { return mount_report(*session_, options_.settings); };
  }

  WorkerOptions options_;
  TimeNs started_ = 0;
  uint64_t workers_before_ = 0;
  std::unique_ptr<content::Root> root_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<mount::SharedState> shared_;
  std::unique_ptr<mount::Session> session_;
  std::unique_ptr<KeeperHolder> holder_;
  std::unique_ptr<fs::FileSystem> file_system_;
  std::unique_ptr<Health> health_;
  std::unique_ptr<WorkerContext> context_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<ControlServer> control_;
};

}  // namespace

Status run_worker(WorkerOptions options) {
  mallopt(M_ARENA_MAX, kMallocArenas);
  Worker worker(std::move(options));
  Status outcome = worker.open();
  if (outcome.is_ok()) outcome = worker.serve();
  const Status closed = worker.close();
  return outcome.is_ok() ? closed : outcome;
}

}  // namespace tarn::app
