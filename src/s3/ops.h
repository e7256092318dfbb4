// The operations of S3, one file each in ops/.
//
// Thread-safe.
#pragma once

#include "s3/call.h"

namespace tarn::s3 {

Answer list_buckets(Call& call);

Answer create_bucket(Call& call);
Answer head_bucket(Call& call);
Answer delete_bucket(Call& call);
Answer list_objects(Call& call);  // version 1
Answer list_objects_v2(Call& call);
Answer delete_objects(Call& call);
Answer list_multipart_uploads(Call& call);
/// Sub-resources of a bucket or object whose honest answer is short: location, versioning, acl ...
Answer get_bucket_location(Call& call);
Answer get_bucket_versioning(Call& call);
Answer get_acl(Call& call);
Answer get_tagging(Call& call);
Answer get_policy_status(Call& call);

Answer put_object(Call& call);
Answer get_object(Call& call);
Answer head_object(Call& call);
Answer copy_object(Call& call);
Answer delete_object(Call& call);

Answer create_multipart_upload(Call& call);
Answer upload_part(Call& call);
Answer upload_part_copy(Call& call);
Answer complete_multipart_upload(Call& call);
Answer abort_multipart_upload(Call& call);
Answer list_parts(Call& call);

// --- shared by them

/// The opened source of a copy, conditions judged.
struct CopySource {
  fs::OpenObject object;
};
/// From x-amz-copy-source.
http::Outcome<CopySource> open_copy_source(Call& call);
/// Copies a range of an open object into new content.
Result<Received> copy_bytes(Call& call, const fs::OpenObject& source, uint64_t offset,
                            uint64_t length, bool may_inline);
/// partNumber of the query, 1 to 10,000.
http::Outcome<uint32_t> part_number_of(const Call& call);
fs::Uploads::Name upload_name_of(const Call& call);
/// An XML answer.
void answer_xml(Call& call, std::string xml);
/// A count of the query between 0 and 1,000; `fallback` when absent.
http::Outcome<size_t> count_of(const Call& call, std::string_view name, size_t fallback);
/// Percent-encoded when the client asked for encoding-type=url.
std::string listed(const Call& call, std::string_view key);

}  // namespace tarn::s3
