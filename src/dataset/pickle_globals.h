// What a pickle may call: the list of allowed globals and what each of them does here.
//
// Internal to the room; pickle.cc calls it for GLOBAL, REDUCE and BUILD. None of it runs code of
// the pickle's choice: each entry makes one kind of value from checked arguments. Thread rules: as
// the Store.
#pragma once

#include <string_view>

#include "dataset/pickle_store.h"

namespace tarn::dataset {

/// The entry of module.name; BadFormat naming it when it is not on the list.
Result<const AllowedGlobal*> find_global(std::string_view module, std::string_view name);
/// REDUCE: what `callable` gives for the tuple `arguments`.
Result<Value*> call_global(Document::Store& store, const Value& callable, const Value& arguments);
/// BUILD: gives an array or a dtype its state.
Status build_value(Value& target, const Value& state);

}  // namespace tarn::dataset
