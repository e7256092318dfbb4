#include "http/signature.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "base/file.h"
#include "digest/digest.h"
#include "http/date.h"
#include "http/hash.h"
#include "http/uri.h"

namespace tarn::http {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr TimeNs kSkewMax = 15 * 60 * kSecondNs;
constexpr uint64_t kExpiresMax = 7 * 24 * 3600;  // as S3 has it
constexpr size_t kDerivedKeysMax = 256;

std::unexpected<Fault> fault(int http, std::string code, std::string message) {
  return std::unexpected(Fault{http, std::move(code), std::move(message)});
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

/// "KEY/20130524/us-east-1/s3/aws4_request" into the claim.
bool read_credential(std::string_view text, SignatureClaim& claim) {
  // An access key may hold '/', so the scope is what the last four slashes divide.
  const auto parts = split(text, '/');
  if (parts.size() < 5 || parts.back() != "aws4_request") return false;
  const size_t n = parts.size();
  claim.service = parts[n - 2];
  claim.region = parts[n - 3];
  claim.date = parts[n - 4];
  const size_t scope_size = claim.date.size() + claim.region.size() + claim.service.size() +
                            std::string_view("aws4_request").size() + 4;
  claim.access_key = text.substr(0, text.size() - scope_size);
  return claim.date.size() == 8 && !claim.access_key.empty();
}

Outcome<std::optional<SignatureClaim>> read_authorization(const Request& request,
                                                          std::string_view text) {
  if (text.starts_with("AWS ")) {
    return fault(400, "InvalidRequest",
                 "signature version 2 is not supported: use AWS4-HMAC-SHA256");
  }
  if (!text.starts_with(kAlgorithm)) {
    return fault(400, "InvalidArgument",
                 fmt::format("Authorization must begin with {}; it begins with '{}'", kAlgorithm,
                             text.substr(0, text.find(' '))));
  }
  SignatureClaim claim;
  for (std::string_view part : split(text.substr(kAlgorithm.size()), ',')) {
    part = trim(part);
    if (part.starts_with("Credential=")) {
      if (!read_credential(part.substr(11), claim)) {
        return fault(400, "AuthorizationHeaderMalformed",
                     "Credential must be KEY/DATE/REGION/SERVICE/aws4_request");
      }
    } else if (part.starts_with("SignedHeaders=")) {
      claim.signed_headers = part.substr(14);
    } else if (part.starts_with("Signature=")) {
      claim.signature = part.substr(10);
    }
  }
  if (claim.access_key.empty() || claim.signed_headers.empty() || claim.signature.empty()) {
    return fault(400, "AuthorizationHeaderMalformed",
                 "Authorization needs Credential, SignedHeaders and Signature");
  }
  claim.amz_date = request.headers.get("x-amz-date");
  if (claim.amz_date.empty()) {
    if (auto date = parse_http_date(request.headers.get("date"))) {
      claim.amz_date = format_amz_date(*date);
    }
  }
  return claim;
}

Outcome<std::optional<SignatureClaim>> read_presigned(const Request& request) {
  auto get = [&](std::string_view name) {
    return std::string(request.parameter(name).value_or(""));
  };
  SignatureClaim claim;
  claim.is_presigned = true;
  if (get("X-Amz-Algorithm") != kAlgorithm) {
    return fault(400, "AuthorizationQueryParametersError",
                 fmt::format("X-Amz-Algorithm must be {}", kAlgorithm));
  }
  if (!read_credential(get("X-Amz-Credential"), claim)) {
    return fault(400, "AuthorizationQueryParametersError",
                 "X-Amz-Credential must be KEY/DATE/REGION/SERVICE/aws4_request");
  }
  claim.amz_date = get("X-Amz-Date");
  claim.signed_headers = get("X-Amz-SignedHeaders");
  claim.signature = get("X-Amz-Signature");
  const std::string expires = get("X-Amz-Expires");
  const auto [end, error] =
      std::from_chars(expires.data(), expires.data() + expires.size(), claim.expires_s);
  if (error != std::errc{} || end != expires.data() + expires.size() ||
      claim.expires_s > kExpiresMax) {
    return fault(
        400, "AuthorizationQueryParametersError",
        fmt::format("X-Amz-Expires is '{}'; it must be 0 to {} seconds", expires, kExpiresMax));
  }
  return claim;
}

Outcome<std::optional<SignatureClaim>> read_presigned_v2(const Request& request) {
  SignatureClaim claim;
  claim.is_presigned = claim.is_version_2 = true;
  claim.service = "s3";
  claim.access_key = *request.parameter("AWSAccessKeyId");
  claim.signature = *request.parameter("Signature");
  const std::string_view expires = request.parameter("Expires").value_or("");
  const auto [end, error] =
      std::from_chars(expires.data(), expires.data() + expires.size(), claim.expires_s);
  if (error != std::errc{} || end != expires.data() + expires.size()) {
    return fault(403, "AccessDenied", fmt::format("Expires is '{}', not a time", expires));
  }
  return claim;
}

std::string canonical_query(const Request& request, bool is_presigned) {
  std::vector<std::pair<std::string, std::string>> items;
  for (const auto& [name, value] : request.query) {
    if (is_presigned && name == "X-Amz-Signature") continue;
    items.emplace_back(percent_encode(name, Slashes::kEncode),
                       percent_encode(value, Slashes::kEncode));
  }
  std::ranges::sort(items);
  std::string text;
  for (const auto& [name, value] : items) {
    if (!text.empty()) text += '&';
    text += name;
    text += '=';
    text += value;
  }
  return text;
}

/// Trimmed, with runs of spaces made one.
void append_canonical_value(std::string& out, std::string_view value) {
  value = trim(value);
  bool was_space = false;
  for (char c : value) {
    if (c == ' ' && was_space) continue;
    was_space = c == ' ';
    out += c;
  }
}

Outcome<PayloadRule> payload_rule(std::string_view payload, const SignatureClaim& claim) {
  PayloadRule rule;
  if (payload == "UNSIGNED-PAYLOAD" || (claim.is_presigned && payload.empty())) return rule;
  if (payload.starts_with("STREAMING-")) {
    rule.has_trailer = payload.ends_with("-TRAILER");
    if (payload == "STREAMING-UNSIGNED-PAYLOAD-TRAILER") {
      rule.kind = PayloadRule::Kind::kChunkedUnsigned;
      return rule;
    }
    if (payload == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" ||
        payload == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER") {
      rule.kind = PayloadRule::Kind::kChunkedSigned;
      rule.scope = claim.scope();
      rule.amz_date = claim.amz_date;
      rule.seed_signature = claim.signature;
      return rule;
    }
    return fault(501, "NotImplemented",
                 fmt::format("x-amz-content-sha256: {} is not supported", payload));
  }
  if (payload.size() != 64 ||
      payload.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
    return fault(400, "InvalidArgument",
                 "x-amz-content-sha256 must be a SHA-256 in hexadecimal, UNSIGNED-PAYLOAD or "
                 "STREAMING-...");
  }
  rule.kind = PayloadRule::Kind::kHashed;
  rule.sha256 = to_lower(payload);
  return rule;
}

}  // namespace

Outcome<std::optional<SignatureClaim>> read_claim(const Request& request) {
  if (const auto text = request.headers.find("authorization")) {
    return read_authorization(request, *text);
  }
  if (request.has_parameter("X-Amz-Signature") || request.has_parameter("X-Amz-Credential")) {
    return read_presigned(request);
  }
  if (request.has_parameter("Signature") && request.has_parameter("AWSAccessKeyId")) {
    return read_presigned_v2(request);
  }
  return std::optional<SignatureClaim>();
}

std::string canonical_request(const Request& request, const SignatureClaim& claim,
                              std::string_view payload) {
  std::string text = request.method + "\n";
  // S3 signs the path encoded once, every other service what it sends encoded again.
  text += claim.service == "s3" ? percent_encode(request.path, Slashes::kKeep)
                                : percent_encode(request.raw_path, Slashes::kKeep);
  text += '\n';
  text += canonical_query(request, claim.is_presigned);
  text += '\n';
  for (std::string_view name : split(claim.signed_headers, ';')) {
    text += name;
    text += ':';
    bool is_first = true;
    for (const auto& [field, value] : request.headers.all()) {
      if (!equals_ignoring_case(field, name)) continue;
      if (!is_first) text += ',';
      is_first = false;
      append_canonical_value(text, value);
    }
    text += '\n';
  }
  text += '\n';
  text += claim.signed_headers;
  text += '\n';
  text += payload;
  return text;
}

std::string derive_signing_key(std::string_view secret, const SignatureClaim& claim) {
  std::string key = "AWS4";
  key += secret;
  for (std::string_view part :
       {std::string_view(claim.date), std::string_view(claim.region),
        std::string_view(claim.service), std::string_view("aws4_request")}) {
    key = hmac_sha256(key, part);
  }
  return key;
}

std::string sign(std::string_view signing_key, const SignatureClaim& claim,
                 std::string_view canonical) {
  return to_hex(hmac_sha256(signing_key, fmt::format("{}\n{}\n{}\n{}", kAlgorithm, claim.amz_date,
                                                     claim.scope(), sha256_hex(canonical))));
}

std::string Verifier::signing_key(const std::string& secret, const SignatureClaim& claim) {
  // The secret is part of the key: a renewed secret must not find the old one's.
  const std::tuple name{secret, claim.date, claim.region, claim.service};
  {
    MutexLock lock(mutex_);
    if (auto it = derived_.find(name); it != derived_.end()) return it->second;
  }
  std::string key = derive_signing_key(secret, claim);
  MutexLock lock(mutex_);
  if (derived_.size() >= kDerivedKeysMax) derived_.clear();
  derived_.emplace(name, key);
  return key;
}

std::optional<Fault> Verifier::check_time(const SignatureClaim& claim) {
  const auto signed_at = parse_amz_date(claim.amz_date);
  if (!signed_at) {
    return Fault{403, "AccessDenied", "the request has no valid x-amz-date (YYYYMMDDTHHMMSSZ)"};
  }
  if (claim.amz_date.substr(0, 8) != claim.date) {
    return Fault{403, "SignatureDoesNotMatch",
                 fmt::format("the credential's date {} is not that of x-amz-date {}", claim.date,
                             claim.amz_date)};
  }
  const TimeNs now = clock_.now();
  if (claim.is_presigned) {
    if (*signed_at > now + kSkewMax) {
      return Fault{403, "AccessDenied", "the request is not valid yet: check this machine's clock"};
    }
    if (now > *signed_at + static_cast<TimeNs>(claim.expires_s) * kSecondNs) {
      return Fault{403, "AccessDenied", "the request has expired: make a new presigned URL"};
    }
    return std::nullopt;
  }
  if (std::max(now - *signed_at, *signed_at - now) > kSkewMax) {
    return Fault{403, "RequestTimeTooSkewed",
                 fmt::format("the request was signed at {} and it is {} here: more than 15 minutes "
                             "apart; set the clock right",
                             claim.amz_date, format_amz_date(now))};
  }
  return std::nullopt;
}

std::string text_to_sign_v2(const Request& request, const SignatureClaim& claim) {
  // Parameters that name a part of the resource are signed, in the order of their names.
  static constexpr std::array<std::string_view, 26> kSigned = {"acl",
                                                               "cors",
                                                               "delete",
                                                               "lifecycle",
                                                               "location",
                                                               "logging",
                                                               "notification",
                                                               "partNumber",
                                                               "policy",
                                                               "requestPayment",
                                                               "response-cache-control",
                                                               "response-content-disposition",
                                                               "response-content-encoding",
                                                               "response-content-language",
                                                               "response-content-type",
                                                               "response-expires",
                                                               "restore",
                                                               "tagging",
                                                               "torrent",
                                                               "uploadId",
                                                               "uploads",
                                                               "versionId",
                                                               "versioning",
                                                               "versions",
                                                               "website",
                                                               "append"};
  std::string text =
      fmt::format("{}\n{}\n{}\n{}\n", request.method, request.headers.get("content-md5"),
                  request.headers.get("content-type"), claim.expires_s);
  std::map<std::string, std::string> amazon;
  for (const auto& [field, value] : request.headers.all()) {
    std::string name = to_lower(field);
    if (!name.starts_with("x-amz-")) continue;
    std::string& joined = amazon[name];
    if (!joined.empty()) joined += ',';
    joined += trim(value);
  }
  for (const auto& [name, value] : amazon) text += name + ":" + value + "\n";
  text += request.raw_path;
  Query resource;
  for (const auto& [name, value] : request.query) {
    if (std::ranges::find(kSigned, name) != kSigned.end()) resource.emplace_back(name, value);
  }
  std::ranges::sort(resource);
  char separator = '?';
  for (const auto& [name, value] : resource) {
    text += std::exchange(separator, '&');
    text += name;
    if (!value.empty()) text += "=" + value;
  }
  return text;
}

Outcome<Verified> Verifier::verify_v2(const Request& request, const SignatureClaim& claim,
                                      const Key& key) {
  if (clock_.now() / kSecondNs > static_cast<TimeNs>(claim.expires_s)) {
    return fault(403, "AccessDenied", "the request has expired: make a new presigned URL");
  }
  const std::string bytes = hmac_sha1(key.secret, text_to_sign_v2(request, claim));
  const std::string is = digest::Digest(digest::Algorithm::kSha1, as_bytes(bytes)).base64();
  if (!equals_in_constant_time(is, claim.signature)) {
    return fault(
        403, "SignatureDoesNotMatch",
        fmt::format("the URL's signature is not that of access key '{}'", claim.access_key));
  }
  return Verified{key.identity, PayloadRule{}};
}

Outcome<Verified> Verifier::verify(const Request& request, const SignatureClaim& claim,
                                   std::string_view body_sha256) {
  const auto key = keys_.find(claim.access_key);
  if (!key) {
    return fault(403, "InvalidAccessKeyId",
                 fmt::format("this Tarn has no access key '{}': `tarn env` prints one it has",
                             claim.access_key));
  }
  if (claim.is_version_2) return verify_v2(request, claim, *key);
  if (auto wrong = check_time(claim)) return std::unexpected(std::move(*wrong));
  const auto names = split(claim.signed_headers, ';');
  if (std::ranges::find(names, "host") == names.end()) {
    return fault(403, "AccessDenied", "the header 'host' must be signed");
  }
  std::string payload(request.headers.get("x-amz-content-sha256"));
  if (payload.empty() && claim.is_presigned) payload = "UNSIGNED-PAYLOAD";
  if (payload.empty()) {
    if (body_sha256.empty()) {
      return fault(400, "InvalidRequest", "the header x-amz-content-sha256 is missing");
    }
    payload = body_sha256;
  }
  auto rule = payload_rule(payload, claim);
  if (!rule) return std::unexpected(std::move(rule).error());
  const std::string signing = signing_key(key->secret, claim);
  const std::string canonical = canonical_request(request, claim, payload);
  if (!equals_in_constant_time(sign(signing, claim, canonical), claim.signature)) {
    return fault(403, "SignatureDoesNotMatch",
                 fmt::format("the signature is not that of access key '{}': check the secret key "
                             "and that nothing on the way changed the request",
                             claim.access_key));
  }
  rule->signing_key = signing;
  return Verified{key->identity, std::move(*rule)};
}

}  // namespace tarn::http
