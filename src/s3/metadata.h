// An object's metadata between requests, extended attributes and responses.
//
// Kept: the content headers, Expires and x-amz-meta-*; checksums as the client proved them. Plain
// functions; thread-safe.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "s3/call.h"

namespace tarn::s3 {

using Metadata = std::vector<std::pair<std::string, std::string>>;

/// Names in lower case. A Fault for more than 2 KiB of user metadata, and for headers that ask for
/// what Tarn does not do (SSE-C, tagging, object lock).
http::Outcome<Metadata> metadata_of(const http::Headers& headers);
/// ETag, Last-Modified, Content-Type and the rest; `response-*` of the query win. Checksums only
/// when the client asked for them and gets the whole object.
void describe(const Call& call, const fs::ObjectInfo& info, bool with_checksums);

}  // namespace tarn::s3
