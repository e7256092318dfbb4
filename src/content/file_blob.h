// BlobFile: a File that is exactly one local blob from offset 0.
//
// Read-only or for writing; a private copy under an Overlay descriptor is one too. Thread-safe as
// pread and pwrite are.
#pragma once

#include "content/files.h"

namespace tarn::content {

class BlobFile final : public File {
 public:
  BlobFile(SourcesRef sources, LocalBlobRef blob, bool is_writable, Descriptor descriptor)
      : sources_(std::move(sources)),
        blob_(std::move(blob)),
        is_writable_(is_writable),
        descriptor_(std::move(descriptor)) {}

  Result<size_t> read(uint64_t offset, std::span<std::byte> out) override;
  Result<size_t> write(uint64_t offset, std::span<const std::byte> data) override;
  Status truncate(uint64_t size) override;
  Status allocate(int mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> seek(uint64_t offset, int whence) override;
  Result<FileStat> stat() override { return blob_->stat(); }
  Status sync() override;
  Status set_times(std::optional<TimeNs> atime, std::optional<TimeNs> mtime) override;
  bool is_writable() const override { return is_writable_; }
  LocalFileRef local() const override;
  Descriptor descriptor() const override { return descriptor_; }
  Extent extent(uint64_t offset, uint64_t length) override;

  const LocalBlobRef& blob() const { return blob_; }

 private:
  Status check_writable() const;

  const SourcesRef sources_;
  const LocalBlobRef blob_;
  const bool is_writable_;
  const Descriptor descriptor_;
};

/// futimens; absent times stay.
Status set_file_times(int fd, std::optional<TimeNs> atime, std::optional<TimeNs> mtime);

}  // namespace tarn::content
