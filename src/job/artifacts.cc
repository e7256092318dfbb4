#include "job/artifacts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include "base/file.h"
#include "fs/objects.h"

namespace tarn::job {
namespace {

namespace stdfs = std::filesystem;

constexpr size_t kBlockBytes = size_t{1} << 20;

using ArchiveWriter = std::unique_ptr<archive, int (*)(archive*)>;
using Entry = std::unique_ptr<archive_entry, void (*)(archive_entry*)>;

Entry make_entry() {
  return {archive_entry_new(), archive_entry_free};
}

/// Where libarchive's output goes.
struct Sink {
  content::Incoming* incoming;
  Status status;
};

la_ssize_t write_to_sink(archive*, void* data, const void* bytes, size_t length) {
  Sink& sink = *static_cast<Sink*>(data);
  sink.status = sink.incoming->append({static_cast<const std::byte*>(bytes), length});
  return sink.status.is_ok() ? static_cast<la_ssize_t>(length) : -1;
}

Status archive_failure(archive* writer, const Sink& sink, const std::string& name) {
  if (!sink.status.is_ok()) return sink.status;
  const char* text = archive_error_string(writer);
  return {Code::kIo, fmt::format("pack '{}': {}", name, text == nullptr ? "failed" : text)};
}

/// Regular files, directories and links; what else a job left (sockets, pipes) is no artifact.
bool is_packed(mode_t mode) {
  return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode);
}

Status pack_data(archive* writer, const Sink& sink, const std::string& path, uint64_t size,
                 std::vector<std::byte>& buffer) {
  TARN_ASSIGN(const UniqueFd file, open_at(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  for (uint64_t offset = 0; offset < size;) {
    TARN_ASSIGN(const size_t got, read_at(file.get(), offset, buffer));
    if (got == 0) break;
    const size_t take = static_cast<size_t>(std::min<uint64_t>(got, size - offset));
    if (archive_write_data(writer, buffer.data(), take) < 0)
      return archive_failure(writer, sink, path);
    offset += take;
  }
  return {};
}

Status pack_one(archive* writer, const Sink& sink, const stdfs::path& path, const std::string& name,
                std::vector<std::byte>& buffer) {
  struct stat info{};
  if (lstat(path.c_str(), &info) != 0) return last_errno(fmt::format("stat '{}'", name));
  const Entry entry = make_entry();
  // Whose files they were on this machine says nothing to who unpacks them.
  info.st_uid = 0;
  info.st_gid = 0;
  archive_entry_copy_stat(entry.get(), &info);
  archive_entry_set_pathname(entry.get(), name.c_str());
  if (S_ISLNK(info.st_mode)) {
    std::error_code error;
    archive_entry_set_symlink(entry.get(), stdfs::read_symlink(path, error).c_str());
    archive_entry_set_size(entry.get(), 0);
  }
  if (archive_write_header(writer, entry.get()) != ARCHIVE_OK)
    return archive_failure(writer, sink, name);
  if (!S_ISREG(info.st_mode)) return {};
  return pack_data(writer, sink, path, static_cast<uint64_t>(info.st_size), buffer);
}

/// Calls `visit(path, relative name)` for everything below `directory` that is packed.
template <class Visit>
Status walk(const std::string& directory, const Visit& visit) {
  std::error_code error;
  stdfs::recursive_directory_iterator at(directory, error), end;
  for (; !error && at != end; at.increment(error)) {
    struct stat info{};
    if (lstat(at->path().c_str(), &info) != 0 || !is_packed(info.st_mode)) continue;
    TARN_TRY(visit(at->path(), at->path().lexically_relative(directory).string(), info));
  }
  if (error) return {Code::kIo, fmt::format("read '{}': {}", directory, error.message())};
  return {};
}

Status put(fs::FileSystem& file_system, const fs::Caller& caller, content::Incoming& incoming,
           const std::string& bucket, const std::string& key, const char* content_type) {
  TARN_ASSIGN(content::Incoming::Done done, incoming.finish());
  fs::Objects objects(file_system);
  fs::PutObject object;
  object.content = std::move(done);
  object.metadata = {{"content-type", content_type}};
  return objects.put(caller, bucket, key, std::move(object))
      .status()
      .with_context(fmt::format("store s3://{}/{}", bucket, key));
}

bool leaves_directory(const std::string& name) {
  if (name.empty() || name.starts_with('/')) return true;
  for (const stdfs::path& part : stdfs::path(name))
    if (part == "..") return true;
  return false;
}

Status unpack_data(archive* reader, archive* disk, uint64_t bytes_max, uint64_t& bytes) {
  const void* block = nullptr;
  size_t length = 0;
  la_int64_t offset = 0;
  while (true) {
    const int status = archive_read_data_block(reader, &block, &length, &offset);
    if (status == ARCHIVE_EOF) return {};
    if (status < ARCHIVE_WARN)
      return {Code::kBadFormat,
              fmt::format("the script archive is damaged: {}", archive_error_string(reader))};
    bytes += length;
    if (bytes > bytes_max)
      return {Code::kFileTooLarge,
              fmt::format("the script archive holds more than {} bytes", bytes_max)};
    if (archive_write_data_block(disk, block, length, offset) < ARCHIVE_WARN)
      return {Code::kIo, fmt::format("unpack the script archive: {}", archive_error_string(disk))};
  }
}

}  // namespace

Result<uint64_t> store_archive(fs::FileSystem& file_system, const fs::Caller& caller,
                               const std::string& directory, const std::string& bucket,
                               const std::string& key) {
  TARN_ASSIGN(const auto incoming, file_system.content().begin_incoming(std::nullopt));
  Sink sink{incoming.get(), {}};
  const ArchiveWriter writer(archive_write_new(), archive_write_free);
  archive_write_set_format_pax_restricted(writer.get());
  archive_write_add_filter_gzip(writer.get());
  // Weights hardly compress; a higher level costs time and gains nothing.
  archive_write_set_filter_option(writer.get(), "gzip", "compression-level", "1");
  archive_write_set_bytes_in_last_block(writer.get(), 1);
  if (archive_write_open(writer.get(), &sink, nullptr, write_to_sink, nullptr) != ARCHIVE_OK)
    return archive_failure(writer.get(), sink, directory);
  std::vector<std::byte> buffer(kBlockBytes);
  uint64_t members = 0;
  TARN_TRY(
      walk(directory, [&](const stdfs::path& path, const std::string& name, const struct stat&) {
        ++members;
        return pack_one(writer.get(), sink, path, name, buffer);
      }));
  if (archive_write_close(writer.get()) != ARCHIVE_OK)
    return archive_failure(writer.get(), sink, directory);
  TARN_TRY(put(file_system, caller, *incoming, bucket, key, "application/x-tar"));
  return members;
}

Result<uint64_t> store_files(fs::FileSystem& file_system, const fs::Caller& caller,
                             const std::string& directory, const std::string& bucket,
                             const std::string& key_prefix) {
  std::vector<std::byte> buffer(kBlockBytes);
  uint64_t files = 0;
  TARN_TRY(walk(
      directory,
      [&](const stdfs::path& path, const std::string& name, const struct stat& info) -> Status {
        if (!S_ISREG(info.st_mode)) return {};
        TARN_ASSIGN(const auto incoming,
                    file_system.content().begin_incoming(static_cast<uint64_t>(info.st_size)));
        TARN_ASSIGN(const UniqueFd file,
                    open_at(AT_FDCWD, path.string(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
        for (uint64_t offset = 0;;) {
          TARN_ASSIGN(const size_t got, read_at(file.get(), offset, buffer));
          if (got == 0) break;
          TARN_TRY(incoming->append(std::span(buffer).first(got)));
          offset += got;
        }
        ++files;
        return put(file_system, caller, *incoming, bucket, key_prefix + name,
                   "application/octet-stream");
      }));
  return files;
}

Result<uint64_t> unpack(std::string_view bytes_in, const std::string& directory,
                        uint64_t bytes_max) {
  const ArchiveWriter reader(archive_read_new(), archive_read_free);
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_memory(reader.get(), bytes_in.data(), bytes_in.size()) != ARCHIVE_OK)
    return Status(Code::kBadFormat, fmt::format("the script archive cannot be read: {}",
                                                archive_error_string(reader.get())));
  const ArchiveWriter disk(archive_write_disk_new(), archive_write_free);
  archive_write_disk_set_options(disk.get(),
                                 ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT);
  uint64_t bytes = 0;
  while (true) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return bytes;
    if (status < ARCHIVE_WARN)
      return Status(Code::kBadFormat, fmt::format("the script archive is damaged: {}",
                                                  archive_error_string(reader.get())));
    const char* raw = archive_entry_pathname(entry);
    const std::string name = raw == nullptr ? "" : raw;
    const mode_t mode = archive_entry_mode(entry);
    if (name == "." || name == "./") continue;
    if (leaves_directory(name) || !is_packed(mode) || archive_entry_hardlink(entry) != nullptr)
      return Status(
          Code::kBadFormat,
          fmt::format("the script archive has a member '{}' that is not allowed there", name));
    archive_entry_set_pathname(entry, (directory + "/" + name).c_str());
    archive_entry_set_perm(entry, S_ISDIR(mode) ? 0755 : (mode & 0111) | 0644);
    if (archive_write_header(disk.get(), entry) < ARCHIVE_WARN)
      return Status(Code::kIo,
                    fmt::format("unpack '{}': {}", name, archive_error_string(disk.get())));
    TARN_TRY(unpack_data(reader.get(), disk.get(), bytes_max, bytes));
    if (archive_write_finish_entry(disk.get()) < ARCHIVE_WARN)
      return Status(Code::kIo,
                    fmt::format("unpack '{}': {}", name, archive_error_string(disk.get())));
  }
}

}  // namespace tarn::job
