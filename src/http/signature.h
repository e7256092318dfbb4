// AWS Signature Version 4: who signed a request, and whether the signature is right.
//
// Verifier judges the header form (Authorization), the presigned form (X-Amz-* in the query) and
// what they say of the body: a SHA-256, none, or chunks with or without signatures and trailers.
// Version 2 is known only as boto3 still presigns URLs with it.
// The key derived for a day, region and service is kept (bounded), so that a request costs one
// HMAC. Any region is accepted; a clock more than 15 minutes off is not. Rules: AWS General
// Reference, "Create a signed AWS API request", and S3's "sigv4-streaming". Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "base/mutex.h"
#include "http/message.h"

namespace tarn::http {

/// What a request says about its signature; nothing of it is proved.
struct SignatureClaim {
  std::string access_key, date, region, service;  // date: YYYYMMDD
  std::string amz_date;                           // YYYYMMDDTHHMMSSZ
  std::string signed_headers;                     // "host;x-amz-date"
  std::string signature;
  bool is_presigned = false;
  uint64_t expires_s = 0;  // presigned only
  /// Signature version 2 in a query, the form of presigned URLs that boto3 makes unless told
  /// otherwise: `signature` is base64, `expires_s` a time of day in seconds since the epoch.
  bool is_version_2 = false;

  std::string scope() const { return date + "/" + region + "/" + service + "/aws4_request"; }
};

/// Nothing when the request is not signed; a Fault when its signature cannot be read.
Outcome<std::optional<SignatureClaim>> read_claim(const Request& request);

/// How the body is to be read, after the signature was found right.
struct PayloadRule {
  enum class Kind : uint8_t { kHashed, kUnsigned, kChunkedSigned, kChunkedUnsigned };
  Kind kind = Kind::kUnsigned;
  std::string sha256;  // kHashed: lower-case hexadecimal
  bool has_trailer = false;
  // For signed chunks:
  std::string signing_key, scope, amz_date, seed_signature;
};

struct Verified {
  Identity identity;
  PayloadRule payload;
};

/// The text whose hash is signed. `payload` is what x-amz-content-sha256 says.
std::string canonical_request(const Request& request, const SignatureClaim& claim,
                              std::string_view payload);
/// The 32 bytes that sign for one day, region and service.
std::string derive_signing_key(std::string_view secret, const SignatureClaim& claim);
/// Signature of a canonical request, hexadecimal.
std::string sign(std::string_view signing_key, const SignatureClaim& claim,
                 std::string_view canonical);

/// The text that signature version 2 signs (S3 User Guide, "Signing and authenticating REST
/// requests", query string form).
std::string text_to_sign_v2(const Request& request, const SignatureClaim& claim);

class Verifier {
 public:
  Verifier(KeyStore& keys, Clock& clock) : keys_(keys), clock_(clock) {}
  /// `body_sha256` (hexadecimal) stands for a missing x-amz-content-sha256: services other than S3
  /// sign the hash of their small bodies without stating it.
  Outcome<Verified> verify(const Request& request, const SignatureClaim& claim,
                           std::string_view body_sha256 = {});

 private:
  std::string signing_key(const std::string& secret, const SignatureClaim& claim);
  std::optional<Fault> check_time(const SignatureClaim& claim);
  Outcome<Verified> verify_v2(const Request& request, const SignatureClaim& claim, const Key& key);

  KeyStore& keys_;
  Clock& clock_;
  Mutex mutex_{"http.signing_keys", 910};
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::string> derived_;
};

}  // namespace tarn::http
