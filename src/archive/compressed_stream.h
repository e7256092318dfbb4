// CompressedStream: the decompressed bytes of an archive, made ahead by a thread.
//
// The thread reads the Source, shows it to on_raw, decompresses, and hands blocks of 256 KiB over
// through a bounded ring of 8; it waits while the ring is full. The consumer sees the blocks
// without a copy. Memory: 2 MiB and the decoder's own. Destroying it stops the thread at the next
// block. One thread at a time uses it.
#pragma once

#include <memory>
#include <thread>

#include "archive/byte_stream.h"
#include "archive/decoder.h"
#include "archive/options.h"
#include "base/queue.h"

namespace tarn::archive {

class CompressedStream : public ByteStream {
 public:
  /// Starts the thread. `source` must outlive it.
  static Result<std::unique_ptr<CompressedStream>> open(Source& source, Compression compression,
                                                        const Options& options);
  ~CompressedStream() override;

  /// In a damaged stream gives the error of the decoder, after the blocks before the damage.
  Result<std::span<const std::byte>> peek(size_t want) override;
  void consume(size_t n) override;
  Result<uint64_t> skip(uint64_t n) override;
  uint64_t raw_bytes() const override { return input_.position(); }

 private:
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    size_t size = 0;
    Status status;  // not Ok: the stream ends here
  };

  CompressedStream(Source& source, const Options& options);
  void run();
  Status check_ratio(uint64_t decoded) const;

  Options options_;
  RawInput input_;
  std::unique_ptr<Decoder> decoder_;
  BoundedQueue<Block> filled_, empty_;
  Block block_;
  size_t used_ = 0;  // of block_
  bool is_finished_ = false;
  Status failure_;
  std::thread thread_;
};

}  // namespace tarn::archive
