#include "dataset/cifar10.h"

#include <cstring>

#include <fmt/format.h>

namespace tarn::dataset {
namespace {

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

/// Labels from a list of integers.
Result<std::vector<uint8_t>> read_labels(const Value& value) {
  std::vector<uint8_t> out;
  if (value.array() != nullptr) return bad("labels are an array; a list of integers is read");
  out.reserve(value.items().size());
  for (const Value* item : value.items()) {
    const auto label = item->integer();
    if (!label || *label < 0 || *label > 255) {
      return bad(fmt::format("label {} is not an integer from 0 to 255", out.size()));
    }
    out.push_back(static_cast<uint8_t>(*label));
  }
  return out;
}

const Value* find_labels(const Dict& dict) {
  // CIFAR-100 has two kinds.
  for (const char* key : {"labels", "fine_labels"}) {
    if (const Value* found = dict.find(key)) return found;
  }
  return nullptr;
}

}  // namespace

Result<Cifar10Batch> Cifar10Batch::parse(std::span<const std::byte> file) {
  TARN_ASSIGN(const Document document, parse_pickle(file));
  const Dict* dict = document.root().get_if<Dict>();
  if (dict == nullptr) {
    return bad(fmt::format("not a CIFAR batch: the pickle holds a {}, not a dict",
                           document.root().type_name()));
  }
  const Value* data = dict->find("data");
  const Array* array = data == nullptr ? nullptr : data->array();
  if (array == nullptr) return bad("not a CIFAR batch: no array 'data'");
  const Value* labels = find_labels(*dict);
  if (labels == nullptr) return bad("not a CIFAR batch: no 'labels'");
  if (array->dtype.name() != "uint8" || array->shape.size() != 2 ||
      array->shape[1] != kCifarRowBytes) {
    return bad(fmt::format("'data' is {} of {} dimensions; a CIFAR batch has uint8 rows of {}",
                           array->dtype.name(), array->shape.size(), kCifarRowBytes));
  }
  Cifar10Batch out;
  TARN_ASSIGN(out.labels_, read_labels(*labels));
  if (out.labels_.size() != array->shape[0]) {
    return bad(fmt::format("{} labels for {} rows", out.labels_.size(), array->shape[0]));
  }
  if (const Value* label = dict->find("batch_label")) {
    out.batch_label_ = label->string().value_or("");
  }
  // The document's own strings go with it; those of the file stay.
  const auto is_in_file = [&](const void* at) {
    return at >= file.data() && at <= file.data() + file.size();
  };
  out.data_ = array->data;
  if (!array->is_c_order()) {
    out.converted_ = copy_in_c_order(*array);
    out.data_ = out.converted_;
  } else if (!is_in_file(array->data.data())) {
    out.converted_.assign(array->data.begin(), array->data.end());
    out.data_ = out.converted_;
  }
  if (const Value* names = dict->find("filenames")) {
    if (names->items().size() != out.labels_.size()) {
      return bad(
          fmt::format("{} filenames for {} rows", names->items().size(), out.labels_.size()));
    }
    out.decoded_.reserve(out.labels_.size());
    for (const Value* item : names->items()) {
      std::string_view name = item->string().value_or("");
      if (!is_in_file(name.data())) name = out.decoded_.emplace_back(name);
      out.filenames_.push_back(name);
    }
  }
  return out;
}

Image Cifar10Batch::image(uint64_t i) const {
  return cifar_image(row(i));
}

Image cifar_image(std::span<const std::byte> row) {
  Image out(kCifarSide, kCifarSide);
  for (size_t i = 0; i < kCifarPlaneBytes; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      out.rgb[3 * i + c] = std::to_integer<uint8_t>(row[c * kCifarPlaneBytes + i]);
    }
  }
  return out;
}

Result<Cifar10Meta> Cifar10Meta::parse(std::span<const std::byte> file) {
  TARN_ASSIGN(const Document document, parse_pickle(file));
  const Dict* dict = document.root().get_if<Dict>();
  const Value* names = dict == nullptr ? nullptr : dict->find("label_names");
  if (names == nullptr) names = dict == nullptr ? nullptr : dict->find("fine_label_names");
  if (names == nullptr) return bad("not a CIFAR batches.meta: no 'label_names'");
  Cifar10Meta out;
  for (const Value* item : names->items()) {
    const auto name = item->string();
    if (!name) return bad("'label_names' has an item that is no string");
    out.label_names.emplace_back(*name);
  }
  const auto number = [&](std::string_view key) -> uint64_t {
    const Value* value = dict->find(key);
    const auto held = value == nullptr ? std::nullopt : value->integer();
    return held && *held > 0 ? static_cast<uint64_t>(*held) : 0;
  };
  out.num_cases_per_batch = number("num_cases_per_batch");
  out.num_vis = number("num_vis");
  return out;
}

}  // namespace tarn::dataset
