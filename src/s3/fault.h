// From Status to the errors of S3, and their XML.
//
// Plain functions; thread-safe.
#pragma once

#include "s3/call.h"

namespace tarn::s3 {

/// S3's error for what an operation answered. Looks whether the bucket is there, to tell NoSuchKey
/// from NoSuchBucket.
http::Fault fault_of(Call& call, const Answer& answer);
/// <Error> with Code, Message, Resource and RequestId.
std::string error_xml(const http::Fault& fault, std::string_view resource,
                      std::string_view request_id);

}  // namespace tarn::s3
