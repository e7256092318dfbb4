#include "app/commands/dataset_text.h"

#include <algorithm>

#include <fmt/format.h>

#include "app/machine.h"

namespace tarn::app {
namespace {

// Longer lists and strings are only counted.
constexpr size_t kShownItemsMax = 64, kShownBytesMax = 256;

using dataset::Value;

/// A scalar or string as JSON; bytes as the characters of latin-1 that are ASCII, else escaped.
Json scalar_json(const Value& value) {
  if (const auto* held = value.get_if<bool>()) return *held;
  if (const auto* held = value.get_if<int64_t>()) return *held;
  if (const auto* held = value.get_if<double>()) return *held;
  if (const auto* held = value.get_if<dataset::Text>()) return std::string(held->utf8);
  if (const auto* held = value.get_if<dataset::Bytes>()) {
    std::string out;
    for (const char c : held->view) {
      if (c >= ' ' && c <= '~') {
        out += c;
      } else {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
    }
    return out;
  }
  return nullptr;
}

bool is_scalar(const Value& value) {
  if (const auto text = value.string()) return text->size() <= kShownBytesMax;
  return value.get_if<bool>() || value.get_if<int64_t>() || value.get_if<double>() ||
         value.get_if<dataset::None>();
}

/// A key of any kind as the text of a JSON key.
std::string key_text(const Value& key) {
  const Json shown = scalar_json(key);
  return shown.is_string() ? shown.get<std::string>() : shown.dump();
}

void describe_array(const std::string& key, const dataset::Array& array, Json& out) {
  out["dtypes"][key] = array.dtype.name();
  out["shapes"][key] = array.shape;
  out["orders"][key] = array.is_fortran ? "F" : "C";
  out["md5s"][key] = dataset::md5_in_c_order(array).hex();
}

void describe_value(const std::string& key, const Value& value, Json& out) {
  out["types"][key] = value.type_name();
  const auto items = value.items();
  if (const dataset::Array* array = value.array()) {
    describe_array(key, *array, out);
  } else if (is_scalar(value)) {
    out["values"][key] = scalar_json(value);
  } else if (!items.empty()) {
    out["lengths"][key] = items.size();
    const bool is_labels = key == "labels" || key == "fine_labels" || key == "coarse_labels";
    const bool are_scalars =
        std::ranges::all_of(items, [](const Value* item) { return is_scalar(*item); });
    if (!are_scalars || (!is_labels && items.size() > kShownItemsMax)) return;
    Json list = Json::array();
    for (const Value* item : items) list.push_back(scalar_json(*item));
    (is_labels ? out[key] : out["values"][key]) = std::move(list);
  }
}

Json split_json(const dataset::Dataset& dataset, const dataset::SplitReport& split) {
  Json classes = Json::object();
  for (uint32_t label = 0; label < split.by_label.size(); ++label) {
    classes[dataset::class_name(dataset, label)] = split.by_label[label];
  }
  return {{"count", split.count}, {"classes", std::move(classes)}};
}

std::string group_text(const dataset::Dataset& dataset, const dataset::DuplicateGroup& group) {
  std::string out;
  constexpr size_t kShownMax = 4;
  for (size_t i = 0; i < group.items.size() && i < kShownMax; ++i) {
    const uint64_t item = group.items[i];
    if (i > 0) out += " = ";
    out += fmt::format("{} ({})", dataset.location(item),
                       dataset::class_name(dataset, dataset.label(item)));
  }
  if (group.items.size() > kShownMax) {
    out += fmt::format(" = {} more", group.items.size() - kShownMax);
  }
  return out;
}

}  // namespace

Json describe_pickle(const dataset::Document& document) {
  const Value& root = document.root();
  Json out = {{"protocol", document.protocol()}, {"bytes", document.bytes_read()},
              {"type", root.type_name()},        {"keys", Json::array()},
              {"types", Json::object()},         {"dtypes", Json::object()},
              {"shapes", Json::object()},        {"orders", Json::object()},
              {"md5s", Json::object()},          {"lengths", Json::object()},
              {"values", Json::object()}};
  if (const auto* dict = root.get_if<dataset::Dict>()) {
    for (const auto& [key, value] : dict->items) {
      out["keys"].push_back(key_text(*key));
      describe_value(key_text(*key), *value, out);
    }
  } else {
    describe_value("", root, out);
  }
  const Json& md5s = out["md5s"];
  if (const auto data = md5s.find("data"); data != md5s.end()) {
    out["data_md5"] = *data;
  } else if (md5s.size() == 1) {
    out["data_md5"] = *md5s.begin();
  }
  return out;
}

std::string pickle_text(const Json& description) {
  std::string out = fmt::format(
      "a pickled {}, protocol {}, {}\n", description["type"].get<std::string>(),
      description["protocol"].get<int>(), human_bytes(description["bytes"].get<uint64_t>()));
  for (const auto& [key, type] : description["types"].items()) {
    out += fmt::format("  {:<24} {}", key.empty() ? "(the value)" : key, type.get<std::string>());
    const auto add = [&](const char* part, const char* label) {
      const Json& of_part = description[part];
      if (const auto found = of_part.find(key); found != of_part.end()) {
        const std::string shown = found->is_string() ? found->get<std::string>() : found->dump();
        out += fmt::format(" {}{}", label, shown);
      }
    };
    add("dtypes", "");
    add("shapes", "");
    add("orders", "order ");
    add("md5s", "md5 ");
    add("lengths", "of ");
    add("values", "");
    out += '\n';
  }
  return out;
}

Json report_json(const dataset::Dataset& dataset, const dataset::DatasetReport& report) {
  Json groups = Json::array();
  for (const auto& group : report.examples) {
    Json items = Json::array();
    for (const uint64_t item : group.items) {
      items.push_back({{"location", dataset.location(item)},
                       {"class", dataset::class_name(dataset, dataset.label(item))}});
    }
    groups.push_back({{"items", std::move(items)},
                      {"train", group.has_train},
                      {"test", group.has_test},
                      {"different_labels", group.has_different_labels}});
  }
  return {{"format", dataset.format()},
          {"count", dataset.count()},
          {"labels", report.labels},
          {"train", split_json(dataset, report.split(dataset::Split::kTrain))},
          {"test", split_json(dataset, report.split(dataset::Split::kTest))},
          {"duplicates",
           {{"train", report.duplicates_train},
            {"test", report.duplicates_test},
            {"across", report.duplicates_across},
            {"groups", report.groups},
            {"different_labels", report.groups_with_different_labels},
            {"examples", std::move(groups)}}}};
}

std::string report_text(const dataset::Dataset& dataset, const dataset::DatasetReport& report) {
  const auto& train = report.split(dataset::Split::kTrain);
  const auto& test = report.split(dataset::Split::kTest);
  std::string out =
      fmt::format("{}: {} images of {} classes, {} train, {} test\n", dataset.format(),
                  dataset.count(), report.labels, train.count, test.count);
  out += fmt::format("  {:<20}{:>10}{:>10}\n", "class", "train", "test");
  for (uint32_t label = 0; label < report.labels; ++label) {
    out += fmt::format("  {:<20}{:>10}{:>10}\n", dataset::class_name(dataset, label),
                       train.by_label[label], test.by_label[label]);
  }
  for (const auto* split : {&train, &test}) {
    if (split->count == 0) continue;
    const auto [low, high] = std::ranges::minmax(split->by_label);
    const std::string ratio =
        low == 0 ? "a class is empty"
                 : fmt::format("{:.2f}", static_cast<double>(high) / static_cast<double>(low));
    out += fmt::format("largest class over smallest, {}: {}\n", split == &train ? "train" : "test",
                       ratio);
  }
  out += fmt::format("exact duplicates: {} within train, {} within test, {} of test are in train\n",
                     report.duplicates_train, report.duplicates_test, report.duplicates_across);
  if (report.groups_with_different_labels > 0) {
    out += fmt::format("{} groups of duplicates have different labels\n",
                       report.groups_with_different_labels);
  }
  for (const auto& group : report.examples) out += "  " + group_text(dataset, group) + "\n";
  if (report.groups > report.examples.size()) {
    out += fmt::format("  and {} more groups\n", report.groups - report.examples.size());
  }
  return out;
}

Json sum_json(const dataset::RecordSum& sum) {
  Json files = Json::array();
  for (const auto& file : sum.files) {
    files.push_back({{"path", file.path},
                     {"records", file.records},
                     {"record_bytes", file.record_bytes},
                     {"sum", file.sum}});
  }
  return {{"files", std::move(files)},
          {"records", sum.records},
          {"record_bytes", sum.record_bytes},
          {"sum", sum.sum},
          {"labels", sum.labels}};
}

std::string sum_text(const dataset::RecordSum& sum) {
  std::string out;
  for (const auto& file : sum.files) {
    out += fmt::format("{:>16} {:>8} records  {}\n", file.sum, file.records, file.path);
  }
  out += fmt::format("{:>16} {:>8} records, {}\n", sum.sum, sum.records,
                     human_bytes(sum.record_bytes));
  for (size_t label = 0; label < sum.labels.size(); ++label) {
    out += fmt::format("label {}: {}\n", label, sum.labels[label]);
  }
  return out;
}

Json generated_json(const dataset::Generated& generated) {
  const auto list = [](const std::vector<dataset::GeneratedFile>& files) {
    Json out = Json::array();
    for (const auto& file : files) {
      out.push_back({{"path", file.path}, {"bytes", file.bytes}, {"md5", file.md5}});
    }
    return out;
  };
  return {{"bytes", generated.bytes},
          {"files", list(generated.members)},
          {"archives", list(generated.archives)}};
}

std::string generated_text(const dataset::Generated& generated, const std::string& out_dir) {
  std::string out = fmt::format("{} files, {} in {}\n", generated.members.size(),
                                human_bytes(generated.bytes), out_dir);
  for (const auto& archive : generated.archives) {
    out += fmt::format("{}/{}: {}, md5 {}\n", out_dir, archive.path, human_bytes(archive.bytes),
                       archive.md5);
  }
  return out;
}

}  // namespace tarn::app
