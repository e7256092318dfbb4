#include "sagemaker/query_services.h"

#include <fmt/format.h>

#include "http/uri.h"

namespace tarn::sagemaker {
namespace {

constexpr size_t kFormBytesMax = size_t{1} << 20;

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::unexpected<http::Fault> unknown(std::string_view service, const std::string& action) {
  return std::unexpected(http::Fault{
      400, "InvalidAction",
      fmt::format("UnknownOperation: Tarn does not have the operation {} of {}", action, service)});
}

}  // namespace

http::Outcome<std::string> QueryService::action_of(http::Request& request) {
  if (const auto action = request.parameter("Action")) return std::string(*action);
  if (request.body == nullptr) return unknown(name_, "");
  const auto body = http::read_all(*request.body, kFormBytesMax);
  if (!body.is_ok()) {
    if (request.body->fault()) return std::unexpected(*request.body->fault());
    return fault_of(body.status());
  }
  if (const auto form = http::parse_query(*body))
    for (const auto& [name, value] : *form)
      if (name == "Action") return value;
  return unknown(name_, "");
}

void QueryService::handle(http::Request& request, http::Response& response) {
  const auto action = action_of(request);
  if (!action) return refuse(request, action.error(), response);
  const auto result = run(*action, request.caller);
  if (!result) return refuse(request, result.error(), response);
  response.status = 200;
  response.headers.set("Content-Type", "text/xml");
  response.headers.set("x-amzn-RequestId", request.id);
  response.body = fmt::format(
      "<{0}Response xmlns=\"{1}\"><{0}Result>{2}</{0}Result><ResponseMetadata>"
      "<RequestId>{3}</RequestId></ResponseMetadata></{0}Response>",
      *action, xml_namespace_, *result, escape(request.id));
}

void QueryService::refuse(const http::Request& request, const http::Fault& fault,
                          http::Response& response) {
  response.status = fault.http;
  response.headers.set("Content-Type", "text/xml");
  response.headers.set("x-amzn-RequestId", request.id);
  response.body = fmt::format(
      "<ErrorResponse xmlns=\"{}\"><Error><Type>{}</Type><Code>{}</Code><Message>{}</Message>"
      "</Error><RequestId>{}</RequestId></ErrorResponse>",
      xml_namespace_, fault.http < 500 ? "Sender" : "Receiver", escape(fault.code),
      escape(fault.message), escape(request.id));
}

http::Outcome<std::string> StsService::run(const std::string& action,
                                           const http::Identity& caller) {
  if (action != "GetCallerIdentity") return unknown(name(), action);
  // The form of an assumed role is the one that the SDK makes a role of.
  return fmt::format(
      "<Arn>arn:aws:sts::{}:assumed-role/TarnRole/uid-{}</Arn><UserId>{}:uid-{}</UserId>"
      "<Account>{}</Account>",
      place_.account, caller.uid, escape(caller.access_key), caller.uid, place_.account);
}

http::Outcome<std::string> IamService::run(const std::string& action,
                                           const http::Identity& caller) {
  if (action != "SimulatePrincipalPolicy" && action != "GetRole") return unknown(name(), action);
  return std::unexpected(http::Fault{
      403, "AccessDenied",
      fmt::format("User: uid {} is not authorized to perform: iam:{} (Tarn has no policies; jobs "
                  "run as the user of their key)",
                  caller.uid, action)});
}

}  // namespace tarn::sagemaker
