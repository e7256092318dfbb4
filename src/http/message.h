// Requests and responses as services see them, and the interfaces at the edges of this room.
//
// A Request is complete but for its body, which is read as it arrives: a service that has not read
// it to the end (a read of 0 bytes) knows nothing of it, because length, payload hash, chunk
// signatures and checksums are judged there. A Response carries either text or a ByteSource whose
// bytes go to the socket by sendfile where they lie in files. Fault is an error as AWS clients see
// it: status, code, message. Thread rules: one request is one thread's; Services and KeyStores are
// called by many at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace tarn::http {

struct Fault {
  int http = 500;
  std::string code;     // "SignatureDoesNotMatch"
  std::string message;  // what is wrong and what to do
};
template <class T>
using Outcome = std::expected<T, Fault>;

/// Header fields in the order of arrival; names compare without case.
class Headers {
 public:
  void add(std::string name, std::string value);
  /// Replaces every field of that name.
  void set(std::string_view name, std::string value);
  /// The first field of that name.
  std::optional<std::string_view> find(std::string_view name) const;
  /// The same, empty when there is none.
  std::string_view get(std::string_view name) const { return find(name).value_or(""); }
  const std::vector<std::pair<std::string, std::string>>& all() const { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// ASCII lower case, whatever the locale.
std::string to_lower(std::string_view text);
bool equals_ignoring_case(std::string_view a, std::string_view b);

/// A request's body, decoded.
class Body {
 public:
  virtual ~Body() = default;
  /// Up to out.size() bytes; 0 only at the end, when everything about the body was found right.
  /// After a failure fault() says what the client is to be told.
  virtual Result<size_t> read(std::span<std::byte> out) = 0;
  /// Bytes in all, where the request says so ahead.
  virtual std::optional<uint64_t> size() const = 0;
  const std::optional<Fault>& fault() const { return fault_; }
  /// Checksums that the client sent and that were right, as header -> value; complete at the end.
  const std::vector<std::pair<std::string, std::string>>& checksums() const { return checksums_; }
  /// Fields after the last chunk, names in lower case; complete at the end.
  const std::vector<std::pair<std::string, std::string>>& trailers() const { return trailers_; }

 protected:
  Status fail(int http, std::string code, std::string message);
  Status fail_as(const Body& inner, Status status);

  std::optional<Fault> fault_;
  std::vector<std::pair<std::string, std::string>> checksums_, trailers_;
};

/// Reads at most `bytes_max` bytes to the end; kFileTooLarge when there are more.
Result<std::string> read_all(Body& body, size_t bytes_max);

/// On whose behalf a request runs.
struct Identity {
  std::string access_key;
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  uint32_t umask = 022;
};
struct Key {
  std::string secret;
  Identity identity;
};
class KeyStore {
 public:
  virtual ~KeyStore() = default;
  virtual std::optional<Key> find(std::string_view access_key) = 0;
};

struct Request {
  std::string method;
  std::string target;                                      // as sent
  std::string raw_path;                                    // as sent, without the query
  std::string path;                                        // decoded once
  std::vector<std::pair<std::string, std::string>> query;  // decoded
  Headers headers;
  Identity caller;
  std::string id;  // x-amz-request-id
  bool is_tls = false;
  Body* body = nullptr;

  /// The first value of that name.
  std::optional<std::string_view> parameter(std::string_view name) const;
  bool has_parameter(std::string_view name) const { return parameter(name).has_value(); }
};

/// Bytes that a response sends; positions are within the source.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> out) = 0;
  struct Extent {
    int fd = -1;
    uint64_t offset = 0, length = 0;  // length 0: only read() can tell
  };
  /// Where bytes from `offset` lie in a file, for at most `length` bytes.
  virtual Extent extent(uint64_t offset, uint64_t length) = 0;
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
  std::shared_ptr<ByteSource> source;  // instead of `body`
  uint64_t source_offset = 0, source_length = 0;
  /// Content-Length of an answer without a body (HEAD); the body's own length when absent.
  std::optional<uint64_t> stated_length;
};

/// One AWS-protocol service.
class Service {
 public:
  virtual ~Service() = default;
  /// Its name in signatures: "s3", "sagemaker".
  virtual std::string_view name() const = 0;
  virtual void handle(Request& request, Response& response) = 0;
  /// Writes a refusal in the service's own format.
  virtual void refuse(const Request& request, const Fault& fault, Response& response) = 0;
};

/// Whatever answers the requests of a Server.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void handle(Request& request, Response& response) = 0;
};

}  // namespace tarn::http
