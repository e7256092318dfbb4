// Request bodies into new content.
#include <algorithm>
#include <thread>
#include <vector>

#include "base/limits.h"
#include "base/queue.h"
#include "base/worker_pool.h"
#include "s3/call.h"

namespace tarn::s3 {
namespace {

constexpr size_t kBufferBytes = 256 * limits::kKiB;
constexpr size_t kBuffers = 8;
// From here on a second thread pays for itself: it digests and writes while this one receives.
constexpr uint64_t kPipelineBytes = 4 * limits::kMiB;

/// Fills `out` as far as the body goes; a full buffer makes the fewest writes.
Result<size_t> fill(http::Body& body, std::span<std::byte> out) {
  size_t filled = 0;
  while (filled < out.size()) {
    TARN_ASSIGN(const size_t n, body.read(out.subspan(filled)));
    if (n == 0) break;
    filled += n;
  }
  return filled;
}

Status receive_alone(http::Body& body, content::Incoming& incoming) {
  // One byte more than the body has, so that its end is seen in the same pass.
  const uint64_t wanted = body.size() ? *body.size() + 1 : kBufferBytes;
  std::vector<std::byte> buffer(std::min<uint64_t>(kBufferBytes, wanted));
  while (true) {
    TARN_ASSIGN(const size_t n, fill(body, buffer));
    if (n > 0) TARN_TRY(incoming.append(std::span(buffer).first(n)));
    if (n < buffer.size()) return {};
  }
}

/// This thread receives, another appends; buffers go round between them.
class Pipeline {
 public:
  explicit Pipeline(content::Incoming& incoming) : incoming_(incoming) {
    for (size_t i = 0; i < kBuffers; ++i) (void)empty_.try_push(Buffer(kBufferBytes));
    appender_ = std::thread([this] { append_loop(); });
  }
  ~Pipeline() { join(); }

  Status run(http::Body& body) {
    Status received = receive_all(body);
    join();
    return received.is_ok() ? outcome_ : received;
  }

 private:
  using Buffer = std::vector<std::byte>;

  Status receive_all(http::Body& body) {
    while (true) {
      auto buffer = empty_.pop();
      if (!buffer) return {};  // the appender gave up; its outcome tells why
      buffer->resize(kBufferBytes);
      TARN_ASSIGN(const size_t n, fill(body, *buffer));
      const bool is_last = n < buffer->size();
      buffer->resize(n);
      if (n > 0 && !full_.push(std::move(*buffer))) return {};
      if (is_last) return {};
    }
  }

  void append_loop() {
    set_thread_name("s3-append");
    while (auto buffer = full_.pop()) {
      outcome_ = incoming_.append(*buffer);
      if (!outcome_.is_ok()) {
        full_.close();
        empty_.close();
        return;
      }
      (void)empty_.try_push(std::move(*buffer));
    }
  }

  void join() {
    full_.close();
    if (appender_.joinable()) appender_.join();
  }

  content::Incoming& incoming_;
  BoundedQueue<Buffer> full_{"s3.full_buffers", 920, kBuffers};
  BoundedQueue<Buffer> empty_{"s3.empty_buffers", 921, kBuffers};
  Status outcome_;  // the appender's, until it is joined
  std::thread appender_;
};

}  // namespace

Result<Received> receive(Call& call, bool may_inline) {
  http::Body& body = *call.request.body;
  Received received;
  TARN_ASSIGN(received.incoming, call.file_system.content().begin_incoming(body.size()));
  if (may_inline) received.incoming->allow_inline();
  if (body.size().value_or(0) >= kPipelineBytes) {
    TARN_TRY(Pipeline(*received.incoming).run(body));
  } else {
    TARN_TRY(receive_alone(body, *received.incoming));
  }
  TARN_ASSIGN(received.content, received.incoming->finish());
  return received;
}

}  // namespace tarn::s3
