// StsService and IamService: the little of them that SageMaker's clients ask for.
//
// The query protocol: a form with Action, an answer in XML. STS says who a key is; IAM denies
// everything, in the words that the SDK takes as "go on without". Thread-safe.
#pragma once

#include "http/message.h"
#include "sagemaker/describe.h"

namespace tarn::sagemaker {

class QueryService : public http::Service {
 public:
  QueryService(std::string_view name, std::string_view xml_namespace)
      : name_(name), xml_namespace_(xml_namespace) {}
  std::string_view name() const override { return name_; }
  void handle(http::Request& request, http::Response& response) override;
  void refuse(const http::Request& request, const http::Fault& fault,
              http::Response& response) override;

 protected:
  /// The inside of <ACTIONResult>.
  virtual http::Outcome<std::string> run(const std::string& action,
                                         const http::Identity& caller) = 0;

 private:
  http::Outcome<std::string> action_of(http::Request& request);
  std::string_view name_, xml_namespace_;
};

class StsService final : public QueryService {
 public:
  explicit StsService(Place place)
      : QueryService("sts", "https://sts.amazonaws.com/doc/2011-06-15/"),
        place_(std::move(place)) {}

 private:
  http::Outcome<std::string> run(const std::string& action, const http::Identity& caller) override;
  const Place place_;
};

class IamService final : public QueryService {
 public:
  IamService() : QueryService("iam", "https://iam.amazonaws.com/doc/2010-05-08/") {}

 private:
  http::Outcome<std::string> run(const std::string& action, const http::Identity& caller) override;
};

}  // namespace tarn::sagemaker
