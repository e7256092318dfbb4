// A certificate of one's own, for a TLS listener that was given none.
//
// Clients must be told to trust it (AWS_CA_BUNDLE). Plain function.
#pragma once

#include <string>

#include "base/status.h"

namespace tarn::http {

struct CertificateFiles {
  std::string certificate, key;  // paths of PEM files
};
/// DIRECTORY/cert.pem and key.pem (0600), made if missing: P-256, self-signed, valid ten years for
/// `host`, localhost and 127.0.0.1.
Result<CertificateFiles> ensure_certificate(const std::string& directory, const std::string& host);

}  // namespace tarn::http
