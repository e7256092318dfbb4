#include "trainer.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>

#include "base/file.h"

namespace tarn::algorithms {
namespace {

constexpr const char* kLibrary = "image-classification-torch.so";

Result<std::string> folder_of_program() {
  std::array<char, 4096> path{};
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length <= 0) return last_errno("readlink /proc/self/exe");
  const std::string program(path.data(), static_cast<size_t>(length));
  return program.substr(0, program.rfind('/'));
}

}  // namespace

Result<Trainer> Trainer::load() {
  TARN_ASSIGN(const std::string folder, folder_of_program());
  void* library = dlopen((folder + "/" + kLibrary).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Status(Code::kNotFound, dlerror());
  void* found = dlsym(library, "tarn_train");
  if (found == nullptr) return Status(Code::kNotFound, dlerror());
  return Trainer(reinterpret_cast<Train>(found));
}

TrainingOutcome Trainer::run(const Images& images, const TrainingSettings& settings,
                             const std::string& model_path) const {
  TrainingOutcome outcome;
  train_(images, settings, model_path.c_str(), outcome);
  return outcome;
}

}  // namespace tarn::algorithms
