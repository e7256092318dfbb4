// JsonService: the AWS JSON 1.1 protocol under the SageMaker and Logs services.
//
// The operation stands in X-Amz-Target, the request and the answer are JSON documents, an error is
// HTTP 400 with {"__type", "Message"}. A service registers its operations; one that it lacks
// answers UnknownOperationException and names itself. Thread-safe once made.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "http/message.h"

namespace tarn::sagemaker {

using Json = nlohmann::json;
/// An answer, or the error that the client sees.
using Answer = http::Outcome<Json>;
using Operation = std::function<Answer(const Json& request, const http::Identity& caller)>;

/// {400, code, message} as a failed Answer.
std::unexpected<http::Fault> fault(std::string code, std::string message);
/// A Status of Tarn's own as an error of the API.
std::unexpected<http::Fault> fault_of(const Status& status);
/// Seconds since the epoch, as JSON 1.1 writes times.
double api_time(TimeNs time);

// The limit of the API on a request's document is below this.
inline constexpr size_t kDocumentBytesMax = size_t{4} << 20;

class JsonService : public http::Service {
 public:
  /// `name` is the signing name, `target_prefix` what stands before the operation, with its dot.
  JsonService(std::string_view name, std::string_view target_prefix)
      : name_(name), target_prefix_(target_prefix) {}
  std::string_view name() const override { return name_; }
  std::string_view target_prefix() const { return target_prefix_; }
  void handle(http::Request& request, http::Response& response) override;
  void refuse(const http::Request& request, const http::Fault& fault,
              http::Response& response) override;

 protected:
  void add(std::string operation, Operation run) { operations_[std::move(operation)] = run; }

 private:
  Answer answer(http::Request& request);
  std::string_view name_, target_prefix_;
  std::map<std::string, Operation, std::less<>> operations_;
};

}  // namespace tarn::sagemaker
