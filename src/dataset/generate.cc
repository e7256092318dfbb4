#include "dataset/generate.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <future>
#include <semaphore>
#include <thread>

#include <fmt/format.h>

#include "base/file.h"
#include "dataset/cifar10.h"
#include "dataset/gzip_pieces.h"
#include "dataset/look_alike.h"
#include "dataset/pickle_writer.h"
#include "digest/digest.h"

namespace tarn::dataset {
namespace {

constexpr std::string_view kFolder = "cifar-10-batches-py";
constexpr uint64_t kTarBlock = 512, kTarRecord = 20 * kTarBlock;
constexpr uint64_t kBatchesACopy = 5;

/// The header of a regular file in a ustar archive (POSIX.1-1988): mode 0644, root, time 0.
std::string tar_header(const std::string& name, uint64_t bytes) {
  std::string header(kTarBlock, '\0');
  const auto put = [&](size_t at, std::string_view text) {
    std::memcpy(header.data() + at, text.data(), text.size());
  };
  put(0, name);
  put(100, "0000644");
  put(108, "0000000");
  put(116, "0000000");
  put(124, fmt::format("{:011o}", bytes));
  put(136, "00000000000");
  put(148, "        ");
  put(156, "0");
  put(257, "ustar");
  put(263, "00");
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  // Six digits, a null, and the blank that was counted.
  put(148, fmt::format("{:06o}", sum));
  header[154] = '\0';
  return header;
}

uint64_t tar_padding(uint64_t bytes) {
  return (kTarBlock - bytes % kTarBlock) % kTarBlock;
}

/// One member, ready to be put behind the one before it.
struct Member {
  GeneratedFile file;
  std::string tar;  // header, content, padding; for the last member also the archive's end
  GzipPiece piece;
};

/// An archive that grows member by member, with its MD5.
class Archive {
 public:
  static Result<Archive> create(const std::string& folder, const std::string& name) {
    TARN_ASSIGN(UniqueFd fd, open_at(AT_FDCWD, folder + "/" + name, O_WRONLY | O_CREAT | O_TRUNC));
    return Archive(std::move(fd), name);
  }
  Status append(std::string_view bytes) {
    md5_.update(as_bytes(bytes));
    bytes_ += bytes.size();
    return write_all(fd_.get(), as_bytes(bytes));
  }
  /// Writes NAME.md5 beside it.
  Result<GeneratedFile> finish(const std::string& folder) {
    const std::string hex = md5_.finish()[digest::Algorithm::kMd5].hex();
    TARN_TRY(replace_file(folder + "/" + name_ + ".md5", fmt::format("{}  {}\n", hex, name_)));
    return GeneratedFile{name_, bytes_, hex};
  }

 private:
  Archive(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

  UniqueFd fd_;
  std::string name_;
  uint64_t bytes_ = 0;
  digest::MultiDigest md5_{{digest::Algorithm::kMd5}};
};

class Generator {
 public:
  Generator(std::string out_dir, const GenerateOptions& options)
      : out_dir_(std::move(out_dir)),
        options_(options),
        batches_(kBatchesACopy * options.augment),
        pictures_(options.seed, kBatchesACopy * options.images_per_batch,
                  options.images_per_batch) {}

  Result<Generated> run() {
    TARN_TRY(make_directories(out_dir_ + "/" + std::string(kFolder)));
    if (options_.has_gzip_archive) {
      TARN_ASSIGN(gzip_, Archive::create(out_dir_, "cifar-10-python.tar.gz"));
      TARN_TRY(gzip_->append(GzipAssembler::header()));
    }
    if (options_.has_plain_archive) {
      TARN_ASSIGN(plain_, Archive::create(out_dir_, "cifar-10-python.tar"));
    }
    for (uint64_t i = 0; i < member_count(); ++i) lengths_.push_back(0);
    TARN_TRY(write_members());
    return finish();
  }

 private:
  /// Batches, then test_batch, then batches.meta.
  uint64_t member_count() const { return batches_ + 2; }

  std::string pickle_member(uint64_t i) const {
    if (i == batches_ + 1) {
      return pickle_meta(options_.images_per_batch, kCifarClasses, kCifarRowBytes);
    }
    const Split split = i < batches_ ? Split::kTrain : Split::kTest;
    const uint64_t copy = i < batches_ ? i / kBatchesACopy : 0;
    const uint64_t first = i < batches_ ? i % kBatchesACopy * options_.images_per_batch : 0;
    BatchContent content;
    content.batch_label = split == Split::kTrain
                              ? fmt::format("training batch {} of {}", i + 1, batches_)
                              : "testing batch 1 of 1";
    const auto labels = pictures_.labels(split).subspan(first, options_.images_per_batch);
    content.labels.assign(labels.begin(), labels.end());
    for (uint64_t k = 0; k < labels.size(); ++k) {
      content.filenames.push_back(pictures_.filename(split, first + k));
    }
    content.fill_rows = [&, split, copy, first](std::span<std::byte> rows) {
      for (uint64_t k = 0; k < options_.images_per_batch; ++k) {
        const auto row = rows.subspan(k * kCifarRowBytes, kCifarRowBytes);
        if (copy == 0) {
          pictures_.draw(split, first + k, row);
        } else {
          pictures_.draw_augmented(copy, first + k, row);
        }
      }
    };
    return pickle_batch(content);
  }

  std::string member_name(uint64_t i) const {
    const std::string name = i < batches_    ? fmt::format("data_batch_{}", i + 1)
                             : i == batches_ ? "test_batch"
                                             : "batches.meta";
    return fmt::format("{}/{}", kFolder, name);
  }

  /// Everything about a member that does not depend on the others; on a thread of its own.
  Result<Member> make_member(uint64_t i) {
    Member member;
    const std::string content = pickle_member(i);
    member.file = {member_name(i), content.size(), digest::md5(as_bytes(content)).hex()};
    const std::string path = out_dir_ + "/" + member.file.path;
    TARN_ASSIGN(const UniqueFd fd, open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC));
    TARN_TRY(write_all(fd.get(), as_bytes(content)));
    if (!gzip_ && !plain_) return member;
    const uint64_t padding = tar_padding(content.size());
    member.tar.reserve(content.size() + 2 * kTarBlock + 2 * kTarRecord);
    member.tar += tar_header(member.file.path, content.size());
    member.tar += content;
    member.tar.append(padding, '\0');
    const bool is_last = i + 1 == member_count();
    // Two blocks of zeros, and zeros to a whole record, as tar writes them. The last member is
    // made when the lengths of all others are known.
    if (is_last) {
      uint64_t total = member.tar.size() + 2 * kTarBlock;
      for (const auto& length : lengths_) total += length;
      member.tar.append(2 * kTarBlock + (kTarRecord - total % kTarRecord) % kTarRecord, '\0');
    }
    if (gzip_) member.piece = deflate_piece(as_bytes(member.tar), is_last);
    return member;
  }

  Status append_member(Result<Member> made, uint64_t i) {
    TARN_ASSIGN(Member member, std::move(made));
    lengths_[i] = member.tar.size();
    if (plain_) TARN_TRY(plain_->append(member.tar));
    if (gzip_) {
      trailer_.add(member.piece);
      TARN_TRY(gzip_->append(member.piece.deflated));
    }
    out_.bytes += member.file.bytes;
    out_.members.push_back(std::move(member.file));
    return Status::ok();
  }

  /// Threads make the members; this one puts them together in their order.
  Status write_members() {
    const uint64_t parallel = member_count() - 1;
    const auto threads_max = std::max(2u, std::thread::hardware_concurrency());
    std::vector<std::promise<Result<Member>>> made(parallel);
    std::atomic<uint64_t> next = 0;
    // Members that are made and not yet appended hold about 90 MB each.
    std::counting_semaphore<> room(static_cast<std::ptrdiff_t>(threads_max) + 1);
    const auto work = [&] {
      while (true) {
        room.acquire();
        const uint64_t i = next++;
        if (i >= parallel) {
          room.release();
          return;
        }
        made[i].set_value(make_member(i));
      }
    };
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < threads_max; ++t) threads.emplace_back(work);
    Status status;
    for (uint64_t i = 0; i < parallel; ++i) {
      Result<Member> member = made[i].get_future().get();
      if (status.is_ok()) {
        status = append_member(std::move(member), i);
        // The rest is not made once something failed.
        if (!status.is_ok()) {
          const uint64_t begun = next.exchange(parallel);
          for (uint64_t j = begun; j < parallel; ++j) made[j].set_value(status);
        }
      }
      room.release();
    }
    threads.clear();
    TARN_TRY(status);
    return append_member(make_member(parallel), parallel);
  }

  Result<Generated> finish() {
    std::string manifest;
    for (const GeneratedFile& file : out_.members) {
      manifest += fmt::format("{}  {}\n", file.md5, file.path);
    }
    TARN_TRY(replace_file(out_dir_ + "/MD5SUMS", manifest));
    if (gzip_) {
      TARN_TRY(gzip_->append(trailer_.trailer()));
      TARN_ASSIGN(GeneratedFile file, gzip_->finish(out_dir_));
      out_.archives.push_back(std::move(file));
    }
    if (plain_) {
      TARN_ASSIGN(GeneratedFile file, plain_->finish(out_dir_));
      out_.archives.push_back(std::move(file));
    }
    return std::move(out_);
  }

  std::string out_dir_;
  GenerateOptions options_;
  uint64_t batches_;
  LookAlike pictures_;
  std::optional<Archive> gzip_, plain_;
  GzipAssembler trailer_;
  std::vector<uint64_t> lengths_;  // of the members in the archive; 0: not appended yet
  Generated out_;
};

}  // namespace

Result<Generated> generate(const std::string& out_dir, const GenerateOptions& options) {
  if (options.images_per_batch == 0 || options.images_per_batch > kImagesPerBatchMax) {
    return Status(Code::kInvalidArgument,
                  fmt::format("{} images a batch; 1 to {} are made", options.images_per_batch,
                              kImagesPerBatchMax));
  }
  if (options.augment == 0 || options.augment > kAugmentMax) {
    return Status(Code::kInvalidArgument, fmt::format("{} copies of the training data; 1 to {}",
                                                      options.augment, kAugmentMax));
  }
  return Generator(out_dir, options).run();
}

}  // namespace tarn::dataset
