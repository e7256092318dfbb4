// S3Service: the S3 protocol over the file system's objects.
//
// A bucket is a top-level directory, a key a path below it; what an operation does to files is
// fs::Objects' and fs::Uploads' business, this room reads requests and writes answers. Path style
// only. Operations that Tarn lacks answer NotImplemented and name themselves. Thread-safe.
#pragma once

#include "fs/objects.h"
#include "fs/uploads.h"
#include "http/message.h"

namespace tarn::s3 {

class S3Service final : public http::Service {
 public:
  explicit S3Service(fs::FileSystem& file_system)
      : file_system_(file_system), objects_(file_system), uploads_(file_system) {}
  std::string_view name() const override { return "s3"; }
  void handle(http::Request& request, http::Response& response) override;
  void refuse(const http::Request& request, const http::Fault& fault,
              http::Response& response) override;

 private:
  fs::FileSystem& file_system_;
  fs::Objects objects_;
  fs::Uploads uploads_;
};

}  // namespace tarn::s3
