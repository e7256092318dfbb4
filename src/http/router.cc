#include "http/router.h"

#include <fmt/format.h>

#include "base/log.h"
#include "http/body.h"
#include "http/hash.h"

namespace tarn::http {
namespace {

/// Lends a body to an owner that will not outlive it.
class BorrowedBody final : public Body {
 public:
  explicit BorrowedBody(Body& body) : body_(body) {}
  Result<size_t> read(std::span<std::byte> out) override {
    auto n = body_.read(out);
    if (!n.is_ok()) return fail_as(body_, n.status());
    return n;
  }
  std::optional<uint64_t> size() const override { return body_.size(); }

 private:
  Body& body_;
};

}  // namespace

Router::Router(KeyStore& keys, Clock& clock, std::function<std::string()> more_metrics)
    : verifier_(keys, clock), admin_(metrics_, std::move(more_metrics)) {}

void Router::add(Service& service, std::string target_prefix) {
  routes_.push_back({&service, std::move(target_prefix)});
}

Service* Router::find(const Request& request, const SignatureClaim* claim) {
  if (claim != nullptr) {
    for (const Route& route : routes_) {
      if (route.service->name() == claim->service) return route.service;
    }
    return nullptr;
  }
  const std::string_view target = request.headers.get("x-amz-target");
  for (const Route& route : routes_) {
    if (!route.target_prefix.empty() && target.starts_with(route.target_prefix)) {
      return route.service;
    }
  }
  return routes_.front().service;
}

std::optional<Fault> Router::serve(Request& request, Service& service,
                                   const std::optional<SignatureClaim>& claim, Response& response) {
  if (!claim) {
    return Fault{403, "AccessDenied",
                 "the request is not signed: `eval $(tarn env)` gives a client this Tarn's keys"};
  }
  Body& raw = *request.body;
  std::unique_ptr<Body> body;
  std::string sha256;
  if (&service != routes_.front().service) {
    auto text = read_all(raw, kSmallBodyBytesMax);
    if (!text.is_ok()) {
      if (raw.fault()) return raw.fault();
      return Fault{413, "RequestEntityTooLarge", std::string(text.status().message())};
    }
    sha256 = sha256_hex(*text);
    body = std::make_unique<TextBody>(std::move(*text));
  } else {
    body = std::make_unique<BorrowedBody>(raw);
  }
  auto verified = verifier_.verify(request, *claim, sha256);
  if (!verified) return std::move(verified).error();
  request.caller = std::move(verified->identity);
  auto layered = make_body(request, std::move(body), verified->payload);
  if (!layered) return std::move(layered).error();
  request.body = layered->get();
  service.handle(request, response);
  request.body = &raw;
  return std::nullopt;
}

void Router::handle(Request& request, Response& response) {
  if (Admin::is_admin_path(request.path)) return admin_.handle(request, response);
  const TimeNs started = Clock::system().monotonic();
  auto claim = read_claim(request);
  const bool is_claimed = claim && claim->has_value();
  Service* service = find(request, is_claimed ? &**claim : nullptr);
  std::optional<Fault> fault;
  if (!claim) {
    fault = claim.error();
  } else if (service == nullptr) {
    fault = Fault{501, "NotImplemented",
                  fmt::format("this Tarn has no service '{}'", (*claim)->service)};
  }
  if (service == nullptr) service = routes_.front().service;
  if (!fault) fault = serve(request, *service, *claim, response);
  if (fault) {
    response = Response();
    service->refuse(request, *fault, response);
    if (fault->http == 403) {
      log_info("http.refused", "method={} path=\"{}\" code={}", request.method, request.path,
               fault->code);
    }
  }
  const uint64_t bytes_out = response.source ? response.source_length : response.body.size();
  const TimeNs took = Clock::system().monotonic() - started;
  metrics_.count_request(std::string(service->name()), response.status, took,
                         request.body->size().value_or(0), bytes_out);
  if (response.status >= 500) {
    log_warn("http.failed", "method={} target=\"{}\" status={}", request.method, request.target,
             response.status);
  } else {
    log_debug("http.request", "method={} target=\"{}\" status={} us={}", request.method,
              request.target, response.status, took / 1000);
  }
}

}  // namespace tarn::http
