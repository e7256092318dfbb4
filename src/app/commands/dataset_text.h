// What `tarn dataset` prints: its results as text and as JSON.
//
// The JSON keys are for programs and stay; the text is for people and may change. Plain functions.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "dataset/dataset.h"
#include "dataset/generate.h"
#include "dataset/pickle.h"
#include "dataset/record_sum.h"
#include "dataset/report.h"

namespace tarn::app {

using Json = nlohmann::json;

/// What is in a pickle: `protocol`, `bytes`, `type`, `keys` in the file's order, `types` by key;
/// `dtypes`, `shapes`, `orders` and `md5s` by key of an array (MD5 of its bytes in C order),
/// `data_md5` of the array `data`, or of the only one; `labels`; `values` of short items. A pickled
/// value that is no dict stands under the key "".
Json describe_pickle(const dataset::Document& document);
std::string pickle_text(const Json& description);

Json report_json(const dataset::Dataset& dataset, const dataset::DatasetReport& report);
std::string report_text(const dataset::Dataset& dataset, const dataset::DatasetReport& report);

Json sum_json(const dataset::RecordSum& sum);
std::string sum_text(const dataset::RecordSum& sum);

Json generated_json(const dataset::Generated& generated);
std::string generated_text(const dataset::Generated& generated, const std::string& out_dir);

}  // namespace tarn::app
