#include "training.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>

namespace tarn::algorithms {
namespace {

constexpr uint64_t kBatchesALine = 2000;
constexpr uint64_t kEvaluationBatch = 500;

class Network : public torch::nn::Module {
 public:
  explicit Network(int64_t classes)
      : first_(register_module("first", torch::nn::Conv2d(3, 6, 5))),
        second_(register_module("second", torch::nn::Conv2d(6, 16, 5))),
        third_(register_module("third", torch::nn::Linear(16 * 5 * 5, 120))),
        fourth_(register_module("fourth", torch::nn::Linear(120, 84))),
        fifth_(register_module("fifth", torch::nn::Linear(84, classes))) {}

  torch::Tensor forward(torch::Tensor x) {
    x = torch::max_pool2d(torch::relu(first_->forward(x)), 2);
    x = torch::max_pool2d(torch::relu(second_->forward(x)), 2);
    x = x.view({x.size(0), 16 * 5 * 5});
    x = torch::relu(third_->forward(x));
    x = torch::relu(fourth_->forward(x));
    return fifth_->forward(x);
  }

 private:
  torch::nn::Conv2d first_, second_;
  torch::nn::Linear third_, fourth_, fifth_;
};

double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct Batch {
  torch::Tensor images, labels;
};

/// The images at places [begin, end) of `order`, scaled to -1 to 1.
Batch take(const ImageSet& set, const std::vector<uint32_t>& order, uint64_t begin, uint64_t end) {
  const auto count = static_cast<int64_t>(end - begin);
  torch::Tensor pixels = torch::empty({count, 3, kSide, kSide}, torch::kUInt8);
  torch::Tensor labels = torch::empty({count}, torch::kInt64);
  for (uint64_t i = begin; i < end; ++i) {
    std::memcpy(pixels.data_ptr<uint8_t>() + (i - begin) * kImageBytes,
                set.planes.data() + order[i] * kImageBytes, kImageBytes);
    labels.data_ptr<int64_t>()[i - begin] = set.labels[order[i]];
  }
  return {pixels.to(torch::kFloat32).div_(127.5).sub_(1.0), labels};
}

std::vector<uint32_t> identity(uint64_t count) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  return order;
}

/// Fisher and Yates with mt19937_64, written out because std::shuffle differs between libraries.
void shuffle(std::vector<uint32_t>& order, std::mt19937_64& random) {
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
}

double accuracy_of(Network& network, const ImageSet& set) {
  if (set.count() == 0) return 0;
  torch::NoGradGuard no_gradients;
  const std::vector<uint32_t> order = identity(set.count());
  int64_t right = 0;
  for (uint64_t begin = 0; begin < set.count(); begin += kEvaluationBatch) {
    const uint64_t end = std::min(begin + kEvaluationBatch, set.count());
    const Batch batch = take(set, order, begin, end);
    right += network.forward(batch.images).argmax(1).eq(batch.labels).sum().item<int64_t>();
  }
  return static_cast<double>(right) / static_cast<double>(set.count());
}

/// One pass over `order`; the mean loss.
double run_epoch(Network& network, torch::optim::SGD& optimizer, const ImageSet& set,
                 const std::vector<uint32_t>& order, uint64_t batch_size, uint64_t epoch,
                 double& data_seconds) {
  double all = 0, line = 0;
  uint64_t batches = 0;
  for (uint64_t begin = 0; begin < set.count(); begin += batch_size) {
    const double before = now();
    const Batch batch = take(set, order, begin, std::min(begin + batch_size, set.count()));
    data_seconds += now() - before;
    optimizer.zero_grad();
    torch::Tensor loss =
        torch::nn::functional::cross_entropy(network.forward(batch.images), batch.labels);
    loss.backward();
    optimizer.step();
    const double value = loss.item<double>();
    all += value;
    line += value;
    if (++batches % kBatchesALine == 0) {
      std::printf("[%llu, %llu] loss: %.3f\n", static_cast<unsigned long long>(epoch),
                  static_cast<unsigned long long>(batches),
                  line / static_cast<double>(kBatchesALine));
      std::fflush(stdout);
      line = 0;
    }
  }
  return all / static_cast<double>(batches);
}

TrainingOutcome train_and_save(const Images& images, const TrainingSettings& settings,
                               const std::string& model_path) {
  torch::set_num_threads(static_cast<int>(settings.threads));
  torch::set_num_interop_threads(1);
  torch::manual_seed(settings.seed);
  std::mt19937_64 random(settings.seed);
  const auto network = std::make_shared<Network>(static_cast<int64_t>(images.class_names.size()));
  torch::optim::SGD optimizer(
      network->parameters(),
      torch::optim::SGDOptions(settings.learning_rate).momentum(settings.momentum));
  std::vector<uint32_t> order = identity(images.train.count());
  TrainingOutcome outcome;
  outcome.seconds_waiting_for_data = images.seconds;
  const double began = now();
  for (uint64_t epoch = 1; epoch <= settings.epochs; ++epoch) {
    shuffle(order, random);
    outcome.final_loss = run_epoch(*network, optimizer, images.train, order, settings.batch_size,
                                   epoch, outcome.seconds_waiting_for_data);
  }
  outcome.samples_per_second =
      static_cast<double>(settings.epochs * images.train.count()) / (now() - began);
  outcome.accuracy = accuracy_of(*network, images.test);
  torch::save(network, model_path);
  return outcome;
}

}  // namespace

void tarn_train(const Images& images, const TrainingSettings& settings, const char* model_path,
                TrainingOutcome& outcome) {
  try {
    outcome = train_and_save(images, settings, model_path);
  } catch (const std::exception& error) {
    outcome.failure = error.what();
  }
}

}  // namespace tarn::algorithms
