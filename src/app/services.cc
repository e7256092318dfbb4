#include "app/services.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "app/endpoint.h"
#include "app/job_services.h"
#include "app/key_store.h"
#include "app/machine.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/certificate.h"
#include "http/router.h"
#include "http/server.h"
#include "s3/service.h"

namespace tarn::app {
namespace {

bool is_own_address(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// The file system's and the store's part of /_tarn/metrics.
std::string more_metrics(fs::FileSystem& file_system) {
  const kv::Statistics store = file_system.store().statistics();
  const content::Content::Report content = file_system.content().report();
  const fs::FileSystem::OpenCounts open = file_system.open_counts();
  std::string text;
  for (const auto& [name, kind, value] :
       {std::tuple{"tarn_kv_transactions_total", "counter", store.transactions},
        std::tuple{"tarn_kv_conflicts_total", "counter", store.conflicts},
        std::tuple{"tarn_kv_syncs_total", "counter", store.syncs},
        std::tuple{"tarn_kv_wal_bytes_total", "counter", store.wal_bytes},
        std::tuple{"tarn_content_bytes_written_total", "counter", content.bytes_written},
        std::tuple{"tarn_content_blobs", "gauge", content.blobs},
        std::tuple{"tarn_content_packs", "gauge", content.packs},
        std::tuple{"tarn_content_waiting_to_settle", "gauge", content.queued},
        std::tuple{"tarn_fs_open_handles", "gauge", open.handles}}) {
    text += fmt::format("# TYPE {0} {1}\n{0} {2}\n", name, kind, value);
  }
  return text;
}

class ServicesImpl final : public Services {
 public:
  explicit ServicesImpl(WorkerContext& context) : context_(context), s3_(context.file_system) {}
  ~ServicesImpl() override { stop(); }

  Status open() {
    const Settings& settings = context_.settings;
    const std::string& root = context_.root.path();
    const bool has_listener = !settings.listen.empty() || !settings.tls.empty();
    if (has_listener) {
      TARN_ASSIGN(keys_, CredentialsKeyStore::open(root));
    }
    TARN_ASSIGN(jobs_, JobServices::open(context_, keys_.get()));
    if (!has_listener) return {};
    router_ = std::make_unique<http::Router>(
        *keys_, Clock::system(),
        [file_system = &context_.file_system] { return more_metrics(*file_system); });
    router_->add(s3_);
    jobs_->add_to(*router_);
    http::ServerOptions options;
    std::vector<HostPort> wanted;
    if (!settings.listen.empty()) {
      TARN_ASSIGN(const HostPort where, parse_host_port(settings.listen));
      options.addresses.push_back({where.host, where.port, nullptr});
      wanted.push_back(where);
    }
    if (!settings.tls.empty()) {
      TARN_ASSIGN(const HostPort where, parse_host_port(settings.tls));
      TARN_ASSIGN(const auto files, http::ensure_certificate(root + "/tls", where.host));
      TARN_ASSIGN(auto tls, http::TlsContext::open(files.certificate, files.key));
      options.addresses.push_back({where.host, where.port, std::move(tls)});
      wanted.push_back(where);
    }
    auto server = http::Server::start(std::move(options), *router_);
    if (server.is(Code::kBusy)) {
      for (const HostPort& where : wanted) {
        if (port_holder(where)) return Status(Code::kBusy, port_in_use_message(where));
      }
    }
    TARN_ASSIGN(server_, std::move(server));
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i].port = server_->port(i);
    const HostPort& first = wanted.front();
    const bool is_any = first.host == "0.0.0.0" || first.host == "::" || first.host.empty();
    std::string host = is_any ? "127.0.0.1" : first.host;
    if (host.find(':') != std::string::npos) host = "[" + host + "]";
    const std::string url =
        fmt::format("{}://{}:{}", settings.listen.empty() ? "https" : "http", host, first.port);
    jobs_->set_endpoint(url);
    TARN_TRY(write_endpoint(root, url));
    log_info("http.ready", "url={} listeners={}", url, wanted.size());
    return {};
  }

  void add_handlers(ControlHandlers& handlers) override { jobs_->add_handlers(handlers); }

  void stop() override {
    if (server_) {
      remove_endpoint(context_.root.path());
      server_->stop();
      server_.reset();
    }
    if (jobs_) jobs_->close();
  }

 private:
  WorkerContext& context_;
  s3::S3Service s3_;
  std::unique_ptr<CredentialsKeyStore> keys_;
  std::unique_ptr<JobServices> jobs_;
  std::unique_ptr<http::Router> router_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace

Status Services::check(const Settings& settings) {
  if (settings.listen.empty() || settings.insecure) return {};
  TARN_ASSIGN(const HostPort where, parse_host_port(settings.listen));
  if (is_own_address(where.host)) return {};
  return Status(Code::kInvalidArgument,
                fmt::format("--listen {}: keys and data would cross the network unencrypted; use "
                            "--tls {}, or add --insecure",
                            settings.listen, settings.listen));
}

Result<std::unique_ptr<Services>> Services::start(WorkerContext& context) {
  TARN_TRY(check(context.settings));
  auto services = std::make_unique<ServicesImpl>(context);
  TARN_TRY(services->open());
  return std::unique_ptr<Services>(std::move(services));
}

}  // namespace tarn::app
