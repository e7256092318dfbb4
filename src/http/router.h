// Router: judges a request's signature and hands it to the service it is for.
//
// The service is told by the signature's scope, else by X-Amz-Target or Smithy paths that a service
// claims, else it is the default (the first added: S3). Refusals are written by the service itself,
// so that every client sees errors in its own protocol. Services other than the default get a body
// that is all here (at most kSmallBodyBytesMax), because their signatures cover its hash without
// stating it. Thread-safe after the last `add`.
#pragma once

#include <memory>
#include <vector>

#include "http/admin.h"
#include "http/signature.h"

namespace tarn::http {

inline constexpr size_t kSmallBodyBytesMax = size_t{64} << 20;

class Router final : public Handler {
 public:
  Router(KeyStore& keys, Clock& clock, std::function<std::string()> more_metrics = {});
  /// Not owned. `target_prefix`: of X-Amz-Target ("SageMaker."), may be empty.
  void add(Service& service, std::string target_prefix = {});
  void handle(Request& request, Response& response) override;
  Metrics& metrics() { return metrics_; }

 private:
  struct Route {
    Service* service;
    std::string target_prefix;
  };
  Service* find(const Request& request, const SignatureClaim* claim);
  std::optional<Fault> serve(Request& request, Service& service,
                             const std::optional<SignatureClaim>& claim, Response& response);

  Verifier verifier_;
  std::vector<Route> routes_;
  Metrics metrics_;
  Admin admin_;
};

}  // namespace tarn::http
