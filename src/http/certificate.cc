#include "http/certificate.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <ctime>
#include <functional>
#include <memory>

#include <fmt/format.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/file.h"

namespace tarn::http {
namespace {

constexpr long kTenYearsSeconds = 10L * 365 * 24 * 3600;

std::string pem(const std::function<int(BIO*)>& write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), &BIO_free);
  if (write(bio.get()) != 1) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(size)};
}

bool add_extension(X509* certificate, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()), &X509_EXTENSION_free);
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

std::string names_of(const std::string& host) {
  std::string names = "DNS:localhost,IP:127.0.0.1,IP:::1";
  in6_addr address;
  const bool is_address = inet_pton(AF_INET, host.c_str(), &address) == 1 ||
                          inet_pton(AF_INET6, host.c_str(), &address) == 1;
  if (!host.empty()) names += fmt::format(",{}:{}", is_address ? "IP" : "DNS", host);
  return names;
}

}  // namespace

Result<CertificateFiles> ensure_certificate(const std::string& directory, const std::string& host) {
  CertificateFiles files{directory + "/cert.pem", directory + "/key.pem"};
  if (::access(files.certificate.c_str(), F_OK) == 0 && ::access(files.key.c_str(), F_OK) == 0) {
    return files;
  }
  TARN_TRY(make_directories(directory, 0700));
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                &EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), &X509_free);
  if (!key || !certificate) return Status(Code::kInternal, "cannot make a certificate's key");
  X509* x = certificate.get();
  X509_set_version(x, X509_VERSION_3);
  ASN1_INTEGER_set_int64(X509_get_serialNumber(x), ::time(nullptr));
  X509_gmtime_adj(X509_getm_notBefore(x), -24 * 3600);
  X509_gmtime_adj(X509_getm_notAfter(x), kTenYearsSeconds);
  X509_set_pubkey(x, key.get());
  X509_NAME* name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("tarn"), -1, -1, 0);
  X509_set_issuer_name(x, name);
  const bool is_signed = add_extension(x, NID_subject_alt_name, names_of(host)) &&
                         add_extension(x, NID_basic_constraints, "critical,CA:TRUE") &&
                         X509_sign(x, key.get(), EVP_sha256()) > 0;
  if (!is_signed) {
    return Status(Code::kInvalidArgument, fmt::format("cannot make a certificate for '{}'", host));
  }
  TARN_TRY(replace_file(files.key, pem([&](BIO* bio) {
                          return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0,
                                                          nullptr, nullptr);
                        }),
                        0600));
  TARN_TRY(replace_file(files.certificate,
                        pem([&](BIO* bio) { return PEM_write_bio_X509(bio, x); }), 0644));
  return files;
}

}  // namespace tarn::http
