#include "contract.h"

#include <dirent.h>
#include <sys/stat.h>

#include <charconv>
#include <cstdlib>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace tarn::algorithms {
namespace {

using Json = nlohmann::json;

constexpr size_t kConfigBytesMax = size_t{1} << 20;
constexpr uint64_t kCountMax = 1'000'000'000;

Status bad(const std::string& name, const std::string& value, std::string_view wanted) {
  return {Code::kInvalidArgument,
          fmt::format("hyper-parameter {} is '{}', not {}", name, value, wanted)};
}

template <class T>
Status read_number(const std::string& name, const std::string& value, T least, T most, T& target) {
  T number{};
  const char* end = value.data() + value.size();
  const auto [at, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || at != end || number < least || number > most)
    return bad(name, value, fmt::format("a number from {} to {}", least, most));
  target = number;
  return Status::ok();
}

Status set(Hyperparameters& all, const std::string& name, const std::string& value) {
  const auto count = [&](uint64_t least, uint64_t& target) {
    return read_number<uint64_t>(name, value, least, kCountMax, target);
  };
  if (name == "epochs") return count(1, all.epochs);
  if (name == "batch_size") return count(1, all.batch_size);
  if (name == "seed") return count(0, all.seed);
  if (name == "threads") return count(1, all.threads);
  if (name == "images_max") return count(0, all.images_max);
  if (name == "learning_rate") return read_number(name, value, 0.0, 1e6, all.learning_rate);
  if (name == "momentum") return read_number(name, value, 0.0, 1.0, all.momentum);
  // The SDK sends parameters of its own to every container.
  if (name.starts_with("sagemaker_")) return Status::ok();
  return {Code::kInvalidArgument,
          fmt::format("hyper-parameter {} is not known; known are epochs, batch_size, "
                      "learning_rate, momentum, seed, threads, images_max",
                      name)};
}

Result<Hyperparameters> read_hyperparameters(const std::string& path) {
  Hyperparameters all;
  const auto text = read_file(path, kConfigBytesMax);
  if (text.is(Code::kNotFound)) return all;
  TARN_TRY(text);
  const Json json = Json::parse(text.value(), nullptr, false);
  if (!json.is_object())
    return Status(Code::kBadFormat, fmt::format("'{}' is not a JSON object", path));
  for (const auto& [name, value] : json.items()) {
    // Values are strings by the contract; people who write the file by hand put numbers.
    TARN_TRY(set(all, name, value.is_string() ? value.get<std::string>() : value.dump()));
  }
  return all;
}

bool is_directory(const std::string& path) {
  struct stat info{};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Result<std::string> find_channel(const std::string& data_dir) {
  for (const char* name : {"training", "train"}) {
    if (is_directory(data_dir + "/" + name)) return data_dir + "/" + name;
  }
  std::vector<std::string> found;
  if (DIR* directory = opendir(data_dir.c_str())) {
    while (const dirent* entry = readdir(directory)) {
      const std::string path = data_dir + "/" + entry->d_name;
      if (entry->d_name[0] != '.' && is_directory(path)) found.push_back(path);
    }
    closedir(directory);
  }
  if (found.size() == 1) return found.front();
  return Status(Code::kNotFound,
                fmt::format("no channel: neither 'training' nor 'train' under '{}', which has {} "
                            "channels",
                            data_dir, found.size()));
}

}  // namespace

Result<Contract> Contract::read(const std::string& base) {
  Contract contract;
  contract.model_dir = base + "/model";
  contract.failure_path = base + "/output/failure";
  TARN_ASSIGN(contract.hyperparameters,
              read_hyperparameters(base + "/input/config/hyperparameters.json"));
  TARN_ASSIGN(contract.channel_dir, find_channel(base + "/input/data"));
  TARN_TRY(make_directories(contract.model_dir));
  return contract;
}

std::string base_directory() {
  const char* base = std::getenv("SAGEMAKER_BASE_DIR");
  return base == nullptr || *base == '\0' ? "/opt/ml" : base;
}

void write_failure(const std::string& base, const std::string& message) {
  Status status = make_directories(base + "/output");
  if (status.is_ok()) status = replace_file(base + "/output/failure", message + "\n");
  if (!status.is_ok()) fmt::print(stderr, "cannot leave the reason: {}\n", status.to_string());
}

}  // namespace tarn::algorithms
