// The commands `digest`, `verify` (against a manifest) and `check` (without one).
#include <sys/stat.h>

#include <optional>
#include <unordered_map>

#include <fmt/format.h>

#include "app/file_digests.h"
#include "app/tree.h"
#include "app/worker_context.h"

namespace tarn::app {
namespace {

// Files looked up together: enough to keep every thread busy, small against the frame limit.
constexpr size_t kFilesABatch = 256;
// For fewer look-ups starting threads costs more than it saves.
constexpr size_t kParallelFrom = 4;

struct NamedFile {
  std::string path;
  fs::Attributes attributes;
};

/// Collects files of a walk and hands them over in batches.
class Batcher {
 public:
  using Sink = std::function<Status(std::vector<NamedFile>&)>;
  explicit Batcher(Sink sink) : sink_(std::move(sink)) {}
  Status add(const std::string& path, const fs::Attributes& attributes) {
    batch_.push_back({path, attributes});
    return batch_.size() < kFilesABatch ? Status() : flush();
  }
  Status flush() {
    if (batch_.empty()) return {};
    const Status handed = sink_(batch_);
    batch_.clear();
    return handed;
  }

 private:
  Sink sink_;
  std::vector<NamedFile> batch_;
};

/// Every regular file at or below `start`; `path` stands in front of the names.
Status for_each_file(ControlCall& call, WorkerContext& context, const std::string& path,
                     bool is_recursive, const Batcher::Sink& sink) {
  const fs::Caller caller = caller_of(call);
  TARN_ASSIGN(const fs::Attributes start, resolve(context.file_system, caller, kRootIno, path));
  Batcher batcher(sink);
  if (S_ISDIR(start.mode) && is_recursive) {
    TARN_TRY(walk_files(
        context.file_system, caller, start.ino, [&call] { return call.is_cancelled(); },
        [&](const std::string& below, const fs::Attributes& attributes) {
          return batcher.add(below, attributes);
        }));
  } else {
    TARN_TRY(batcher.add("", start));
  }
  return batcher.flush();
}

Json digest_item(const NamedFile& file, const Result<FileDigests>& found) {
  Json item = {{"path", to_wire(file.path)}};
  if (!found.is_ok()) {
    item["error"] = status_to_json(found.status());
    return item;
  }
  item["size"] = file.attributes.size;
  for (const auto& [name, hex] :
       {std::pair{"md5", &found->md5}, std::pair{"crc64nvme", &found->crc64nvme},
        std::pair{"sha256", &found->sha256}, std::pair{"etag", &found->etag}})
    if (!hex->empty()) item[name] = *hex;
  return item;
}

Result<Json> digest(ControlCall& call, WorkerContext& context) {
  TARN_ASSIGN(const std::string path, path_argument(call.arguments(), "path"));
  TARN_ASSIGN(const bool is_recursive, flag_argument(call.arguments(), "recursive"));
  WantedDigests wanted;
  for (const auto& [name, flag] :
       {std::pair{"md5", &wanted.md5}, std::pair{"crc64nvme", &wanted.crc64nvme},
        std::pair{"sha256", &wanted.sha256}, std::pair{"etag", &wanted.etag}}) {
    TARN_ASSIGN(*flag, flag_argument(call.arguments(), name));
  }
  const fs::Caller caller = caller_of(call);
  uint64_t files = 0, failed = 0;
  TARN_TRY(for_each_file(call, context, path, is_recursive, [&](std::vector<NamedFile>& batch) {
    std::vector<Json> items(batch.size());
    for_each_parallel(batch.size(), kParallelFrom, [&](size_t i) {
      items[i] = digest_item(batch[i], digests_of(context.file_system, context.health, caller,
                                                  batch[i].attributes, wanted));
    });
    files += items.size();
    for (const Json& item : items) failed += item.contains("error") ? 1 : 0;
    return call.items(Json(std::move(items)));
  }));
  return Json{{"files", files}, {"failed", failed}};
}

/// One line of a manifest and what became of it.
struct Claim {
  std::string hex, path;
  std::string outcome;  // empty: matches
  std::string detail;
  uint64_t size = 0;
};

Result<std::vector<Claim>> claims_argument(const Json& arguments) {
  const auto list = arguments.find("entries");
  if (list == arguments.end() || !list->is_array())
    return Status(Code::kInvalidArgument, "argument 'entries' must be a list");
  std::vector<Claim> claims;
  for (const Json& entry : *list) {
    Claim claim;
    claim.hex = entry.at(0).get<std::string>();
    TARN_ASSIGN(claim.path, from_wire(entry.at(1).get<std::string>()));
    claims.push_back(std::move(claim));
  }
  return claims;
}

/// The digest that a claim's length means.
WantedDigests wanted_by(const Claim& claim) {
  return {.md5 = claim.hex.size() == 32,
          .crc64nvme = claim.hex.size() == 16,
          .sha256 = claim.hex.size() == 64,
          .etag = false};
}

Status damage_status(const KnownDamage& damage) {
  return {Code::kCorrupt,
          fmt::format("bytes {} to {} of blob {}: {}", damage.offset, damage.offset + damage.length,
                      damage.blob.value, damage.what)};
}

class Verifier {
 public:
  Verifier(WorkerContext& context, fs::Caller caller, Ino base, bool is_reread)
      : context_(context), caller_(std::move(caller)), base_(base), is_reread_(is_reread) {}

  /// Finds the inodes one after another (the files of a directory share its look-up), then reads or
  /// looks up in parallel.
  void judge(std::vector<Claim>& claims) {
    std::vector<std::optional<fs::Attributes>> files(claims.size());
    for (size_t i = 0; i < claims.size(); ++i) {
      const auto found = find(claims[i].path);
      if (found.is_ok()) {
        files[i] = found.value();
      } else {
        fail(claims[i], found.is(Code::kNotFound) ? "missing" : "unreadable", found.status());
      }
    }
    if (is_reread_) return judge_again(claims, files);
    for_each_parallel(claims.size(), kParallelFrom, [&](size_t i) {
      if (files[i].has_value()) judge_stored(claims[i], *files[i]);
    });
  }

 private:
  static void fail(Claim& claim, const char* outcome, const Status& status) {
    claim.outcome = outcome;
    claim.detail = std::string(status.message());
  }

  Result<fs::Attributes> find(const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash);
    auto known = folders_.find(folder);
    if (known == folders_.end()) {
      const auto found = resolve(context_.file_system, caller_, base_, folder);
      known = folders_
                  .emplace(folder,
                           found.is_ok() ? Result<Ino>(found->ino) : Result<Ino>(found.status()))
                  .first;
    }
    TARN_ASSIGN(const Ino parent, known->second);
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    auto found = context_.file_system.lookup(caller_, parent, name);
    if (found.is_ok() && S_ISLNK(found->mode))
      return resolve(context_.file_system, caller_, parent, name);
    return found;
  }

  void judge_stored(Claim& claim, const fs::Attributes& file) {
    const auto found =
        digests_of(context_.file_system, context_.health, caller_, file, wanted_by(claim));
    if (found.is(Code::kCorrupt)) return fail(claim, "damaged", found.status());
    if (!found.is_ok()) return fail(claim, "unreadable", found.status());
    compare(claim, file, found.value());
  }

  void judge_again(std::vector<Claim>& claims,
                   const std::vector<std::optional<fs::Attributes>>& files) {
    std::vector<size_t> indexes;
    std::vector<fs::Attributes> there;
    std::vector<WantedDigests> wanted;
    for (size_t i = 0; i < claims.size(); ++i) {
      if (!files[i].has_value()) continue;
      indexes.push_back(i);
      there.push_back(*files[i]);
      wanted.push_back(wanted_by(claims[i]));
    }
    const auto results = read_again(context_.file_system, context_.health, caller_, there, wanted);
    for (size_t k = 0; k < results.size(); ++k) {
      Claim& claim = claims[indexes[k]];
      if (!results[k].status.is_ok()) {
        fail(claim, "unreadable", results[k].status);
      } else if (!results[k].damage.empty()) {
        fail(claim, "damaged", damage_status(results[k].damage.front()));
      } else {
        compare(claim, there[k], results[k].found);
      }
    }
  }

  static void compare(Claim& claim, const fs::Attributes& file, const FileDigests& found) {
    claim.size = file.size;
    const std::string& hex = claim.hex.size() == 32   ? found.md5
                             : claim.hex.size() == 16 ? found.crc64nvme
                                                      : found.sha256;
    if (hex != claim.hex)
      fail(claim, "differs", Status(Code::kCorrupt, fmt::format("the file has {}", hex)));
  }

  WorkerContext& context_;
  const fs::Caller caller_;
  const Ino base_;
  const bool is_reread_;
  std::unordered_map<std::string, Result<Ino>> folders_;
};

Result<Json> verify(ControlCall& call, WorkerContext& context) {
  TARN_ASSIGN(const std::string path, path_argument(call.arguments(), "path"));
  TARN_ASSIGN(const bool is_reread, flag_argument(call.arguments(), "reread"));
  TARN_ASSIGN(std::vector<Claim> claims, claims_argument(call.arguments()));
  const fs::Caller caller = caller_of(call);
  TARN_ASSIGN(const fs::Attributes base, resolve(context.file_system, caller, kRootIno, path));
  Verifier verifier(context, caller, base.ino, is_reread);
  uint64_t matched = 0, bytes = 0;
  for (size_t begin = 0; begin < claims.size(); begin += kFilesABatch) {
    if (call.is_cancelled()) return Status(Code::kInterrupted, "stopped before the end");
    std::vector<Claim> batch(claims.begin() + static_cast<std::ptrdiff_t>(begin),
                             claims.begin() + static_cast<std::ptrdiff_t>(
                                                  std::min(begin + kFilesABatch, claims.size())));
    verifier.judge(batch);
    Json items = Json::array();
    for (const Claim& claim : batch) {
      matched += claim.outcome.empty() ? 1 : 0;
      bytes += claim.size;
      if (!claim.outcome.empty())
        items.push_back(
            {{"path", to_wire(claim.path)}, {"outcome", claim.outcome}, {"detail", claim.detail}});
    }
    if (!items.empty()) TARN_TRY(call.items(std::move(items)));
    TARN_TRY(call.progress(begin + batch.size(), claims.size()));
  }
  return Json{{"checked", claims.size()}, {"matched", matched}, {"bytes", bytes}};
}

struct Soundness {
  uint64_t files = 0, bytes = 0, unsound = 0, newer_than_scrub = 0;
};

std::vector<Status> outcomes_of_reading(WorkerContext& context, const fs::Caller& caller,
                                        const std::vector<NamedFile>& batch) {
  std::vector<fs::Attributes> files;
  for (const NamedFile& file : batch) files.push_back(file.attributes);
  const std::vector<WantedDigests> wanted(files.size(), WantedDigests{.md5 = true});
  std::vector<Status> outcomes;
  for (ReadAgain& result : read_again(context.file_system, context.health, caller, files, wanted)) {
    outcomes.push_back(result.damage.empty() ? std::move(result.status)
                                             : damage_status(result.damage.front()));
  }
  return outcomes;
}

std::vector<Status> outcomes_of_look_up(WorkerContext& context, const fs::Caller& caller,
                                        const std::vector<NamedFile>& batch) {
  std::vector<Status> outcomes(batch.size());
  for_each_parallel(batch.size(), kParallelFrom, [&](size_t i) {
    const fs::Attributes& file = batch[i].attributes;
    // No digest is asked for, only whether damage is known.
    outcomes[i] = file.is_settled
                      ? digests_of(context.file_system, context.health, caller, file, {}).status()
                      : Status(Code::kBusy, "is open for writing");
  });
  return outcomes;
}

/// Judges one batch without a manifest; what is not sound is appended to `items`.
void check_batch(WorkerContext& context, const fs::Caller& caller, bool is_reread,
                 const std::vector<NamedFile>& batch, Soundness& sum, Json& items) {
  const auto scrubbed = context.health.last_scrub();
  const std::vector<Status> outcomes = is_reread ? outcomes_of_reading(context, caller, batch)
                                                 : outcomes_of_look_up(context, caller, batch);
  for (size_t i = 0; i < batch.size(); ++i) {
    ++sum.files;
    sum.bytes += batch[i].attributes.size;
    if (!scrubbed.has_value() || batch[i].attributes.ctime > *scrubbed) ++sum.newer_than_scrub;
    if (outcomes[i].is_ok()) continue;
    ++sum.unsound;
    items.push_back({{"path", to_wire(batch[i].path)},
                     {"outcome", outcomes[i].is(Code::kCorrupt) ? "damaged" : "unreadable"},
                     {"detail", outcomes[i].message()}});
  }
}

Result<Json> check(ControlCall& call, WorkerContext& context) {
  TARN_ASSIGN(const std::string path, path_argument(call.arguments(), "path"));
  TARN_ASSIGN(const bool is_reread, flag_argument(call.arguments(), "reread"));
  const fs::Caller caller = caller_of(call);
  const TimeNs started = Clock::system().now();
  // What was closed a moment ago is settled first.
  TARN_TRY(context.file_system.sync());
  Soundness sum;
  TARN_TRY(for_each_file(call, context, path, true, [&](std::vector<NamedFile>& batch) {
    Json items = Json::array();
    check_batch(context, caller, is_reread, batch, sum, items);
    return items.empty() ? Status() : call.items(std::move(items));
  }));
  const auto scrubbed = context.health.last_scrub();
  Json result = {{"files", sum.files},
                 {"bytes", sum.bytes},
                 {"unsound", sum.unsound},
                 {"not_read_back", is_reread ? 0 : sum.newer_than_scrub},
                 {"read_back_ns", Json()}};
  if (is_reread) {
    result["read_back_ns"] = started;
  } else if (scrubbed.has_value()) {
    result["read_back_ns"] = *scrubbed;
  }
  return result;
}

}  // namespace

void add_digest_handlers(ControlHandlers& handlers, WorkerContext& context) {
  handlers["digest"] = [&context](ControlCall& call) { return digest(call, context); };
  handlers["verify"] = [&context](ControlCall& call) { return verify(call, context); };
  handlers["check"] = [&context](ControlCall& call) { return check(call, context); };
}

}  // namespace tarn::app
