#include "dataset/pickle_globals.h"

#include <array>
#include <bit>
#include <cstring>

namespace tarn::dataset {

enum class Callable : uint8_t {
  kReconstruct,
  kNdarray,
  kDtype,
  kScalar,
  kFromBuffer,
  kEncode,
  kBytes,
  kByteArray,
  kSet,
  kOrderedDict,
};

struct AllowedGlobal {
  std::string_view module, name;
  Callable callable;
};

namespace {

// numpy 2 moved numpy.core to numpy._core; Python 3 calls __builtin__ builtins.
constexpr std::array kAllowed = {
    AllowedGlobal{"numpy.core.multiarray", "_reconstruct", Callable::kReconstruct},
    AllowedGlobal{"numpy._core.multiarray", "_reconstruct", Callable::kReconstruct},
    AllowedGlobal{"numpy.core.multiarray", "scalar", Callable::kScalar},
    AllowedGlobal{"numpy._core.multiarray", "scalar", Callable::kScalar},
    AllowedGlobal{"numpy.core.numeric", "_frombuffer", Callable::kFromBuffer},
    AllowedGlobal{"numpy._core.numeric", "_frombuffer", Callable::kFromBuffer},
    AllowedGlobal{"numpy", "ndarray", Callable::kNdarray},
    AllowedGlobal{"numpy", "dtype", Callable::kDtype},
    AllowedGlobal{"_codecs", "encode", Callable::kEncode},
    AllowedGlobal{"__builtin__", "bytes", Callable::kBytes},
    AllowedGlobal{"builtins", "bytes", Callable::kBytes},
    AllowedGlobal{"__builtin__", "bytearray", Callable::kByteArray},
    AllowedGlobal{"builtins", "bytearray", Callable::kByteArray},
    AllowedGlobal{"__builtin__", "set", Callable::kSet},
    AllowedGlobal{"builtins", "set", Callable::kSet},
    AllowedGlobal{"__builtin__", "frozenset", Callable::kSet},
    AllowedGlobal{"builtins", "frozenset", Callable::kSet},
    AllowedGlobal{"collections", "OrderedDict", Callable::kOrderedDict},
};

using Arguments = std::span<const Value* const>;

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

Status wrong_arguments(const AllowedGlobal& global, Arguments arguments) {
  std::string types;
  for (const Value* argument : arguments.first(std::min<size_t>(arguments.size(), 6))) {
    if (!types.empty()) types += ", ";
    types += argument->type_name();
  }
  return bad(fmt::format("{}.{} is not called with {} arguments ({})", global.module, global.name,
                         arguments.size(), types));
}

/// The bytes that latin-1 has for a text in UTF-8.
Result<std::string> encode_latin1(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    if (lead < 0x80) {
      out.push_back(utf8[i]);
      continue;
    }
    // U+0080 to U+00FF are C2 80 to C3 BF.
    const auto next = i + 1 < utf8.size() ? static_cast<unsigned char>(utf8[i + 1]) : 0u;
    if ((lead != 0xc2 && lead != 0xc3) || (next & 0xc0u) != 0x80u) {
      return bad(fmt::format("a text has no latin-1 encoding at its byte {}", i));
    }
    out.push_back(static_cast<char>((lead & 3u) << 6 | (next & 0x3fu)));
    ++i;
  }
  return out;
}

Result<Value*> encode(Document::Store& store, const AllowedGlobal& global, Arguments arguments) {
  const Text* text = arguments.size() == 2 ? arguments[0]->get_if<Text>() : nullptr;
  if (text == nullptr) return wrong_arguments(global, arguments);
  const auto encoding = arguments[1]->string();
  if (encoding != "latin1" && encoding != "latin-1") {
    return bad(fmt::format("encoding '{}' is refused; byte strings are written as latin1",
                           encoding.value_or("?").substr(0, 40)));
  }
  TARN_ASSIGN(std::string encoded, encode_latin1(text->utf8));
  TARN_ASSIGN(const std::string_view kept, store.keep(std::move(encoded)));
  return store.make(Bytes{kept});
}

Result<Value*> make_bytes(Document::Store& store, const AllowedGlobal& global,
                          Arguments arguments) {
  if (arguments.empty()) return store.make(Bytes{});
  if (global.callable == Callable::kByteArray) {
    if (arguments.size() == 2) return encode(store, global, arguments);
    if (arguments.size() == 1 && arguments[0]->get_if<Bytes>() != nullptr) {
      return store.make(*arguments[0]->get_if<Bytes>());
    }
  }
  return wrong_arguments(global, arguments);
}

Result<Value*> make_set(Document::Store& store, const AllowedGlobal& global, Arguments arguments) {
  if (arguments.empty()) return store.make(Set{});
  if (arguments.size() != 1) return wrong_arguments(global, arguments);
  const auto items = arguments[0]->items();
  if (items.empty() && arguments[0]->get_if<List>() == nullptr) {
    return wrong_arguments(global, arguments);
  }
  // The items are copied, so a list of many could be copied again and again.
  TARN_TRY(store.charge(items.size()));
  return store.make(Set{{items.begin(), items.end()}});
}

Result<Value*> make_ordered_dict(Document::Store& store, const AllowedGlobal& global,
                                 Arguments arguments) {
  Dict out;
  if (arguments.size() > 1) return wrong_arguments(global, arguments);
  if (arguments.size() == 1) {
    const auto pairs = arguments[0]->items();
    TARN_TRY(store.charge(pairs.size()));
    for (const Value* pair : pairs) {
      const auto both = pair->items();
      if (both.size() != 2) return wrong_arguments(global, arguments);
      out.items.emplace_back(both[0], both[1]);
    }
  }
  return store.make(std::move(out));
}

Result<Value*> make_dtype(Document::Store& store, const AllowedGlobal& global,
                          Arguments arguments) {
  const auto code = arguments.empty() ? std::nullopt : arguments[0]->string();
  if (!code || arguments.size() > 3) return wrong_arguments(global, arguments);
  TARN_ASSIGN(const Dtype dtype, Dtype::parse(*code));
  return store.make(dtype);
}

/// numpy.core.multiarray._reconstruct(ndarray, (0,), 'b'): an empty array that BUILD fills.
Result<Value*> reconstruct(Document::Store& store, const AllowedGlobal& global,
                           Arguments arguments) {
  const Global* type = arguments.size() == 3 ? arguments[0]->get_if<Global>() : nullptr;
  if (type == nullptr) return wrong_arguments(global, arguments);
  if (type->entry->callable != Callable::kNdarray) {
    return bad(fmt::format("an array of class {}.{} is refused; only numpy.ndarray is read",
                           type->entry->module, type->entry->name));
  }
  TARN_ASSIGN(Value * value, store.make_array());
  // An array that BUILD never reaches is what _reconstruct was asked for: of no items.
  std::get<Array*>(value->data)->shape = {0};
  return value;
}

Result<std::vector<uint64_t>> read_shape(const Value& value) {
  std::vector<uint64_t> shape;
  if (const auto length = value.integer(); length && *length >= 0) {
    shape.push_back(static_cast<uint64_t>(*length));
    return shape;
  }
  if (value.get_if<Tuple>() == nullptr) {
    return bad(fmt::format("an array's shape is a {}, not a tuple", value.type_name()));
  }
  if (value.items().size() > kDimensionsMax) {
    return bad(fmt::format("an array of {} dimensions, the limit is {}", value.items().size(),
                           kDimensionsMax));
  }
  for (const Value* item : value.items()) {
    const auto length = item->integer();
    if (!length || *length < 0) return bad("an array's shape has an item that is no length");
    shape.push_back(static_cast<uint64_t>(*length));
  }
  return shape;
}

Status fill_array(Array& array, const Value& shape, const Value& dtype, bool is_fortran,
                  const Value& data) {
  const Dtype* type = dtype.get_if<Dtype>();
  if (type == nullptr) {
    return bad(fmt::format("an array's type is a {}, not a dtype", dtype.type_name()));
  }
  const Bytes* bytes = data.get_if<Bytes>();
  if (bytes == nullptr) {
    return bad(fmt::format("an array's data are a {}, not bytes", data.type_name()));
  }
  TARN_ASSIGN(std::vector<uint64_t> lengths, read_shape(shape));
  TARN_ASSIGN(const uint64_t size, array_bytes(*type, lengths));
  if (size != bytes->view.size()) {
    return bad(fmt::format("an array's shape and type ask for {} bytes, its data have {}", size,
                           bytes->view.size()));
  }
  array = Array{*type, std::move(lengths), is_fortran, std::as_bytes(std::span(bytes->view))};
  return Status::ok();
}

/// numpy.core.numeric._frombuffer(buffer, dtype, shape, order), protocol 5.
Result<Value*> from_buffer(Document::Store& store, const AllowedGlobal& global,
                           Arguments arguments) {
  if (arguments.size() != 4) return wrong_arguments(global, arguments);
  const auto order = arguments[3]->string();
  if (order != "C" && order != "F") return wrong_arguments(global, arguments);
  TARN_ASSIGN(Value * value, store.make_array());
  TARN_TRY(fill_array(*std::get<Array*>(value->data), *arguments[2], *arguments[1], order == "F",
                      *arguments[0]));
  return value;
}

/// numpy.core.multiarray.scalar(dtype, bytes): one number.
Result<Value*> scalar(Document::Store& store, const AllowedGlobal& global, Arguments arguments) {
  const Dtype* dtype = arguments.size() == 2 ? arguments[0]->get_if<Dtype>() : nullptr;
  const Bytes* bytes = dtype != nullptr ? arguments[1]->get_if<Bytes>() : nullptr;
  if (bytes == nullptr || bytes->view.size() != dtype->item_bytes) {
    return wrong_arguments(global, arguments);
  }
  if (dtype->kind == DtypeKind::kBytes) return store.make(*bytes);
  uint64_t bits = 0;
  if (bytes->view.size() <= sizeof bits) {
    for (size_t i = 0; i < bytes->view.size(); ++i) {
      const size_t at = dtype->is_big_endian ? i : bytes->view.size() - 1 - i;
      bits = bits << 8 | static_cast<unsigned char>(bytes->view[at]);
    }
  }
  const unsigned unused_bits = 64 - 8 * dtype->item_bytes;
  switch (dtype->kind) {
    case DtypeKind::kBool:
      return store.make(bits != 0);
    case DtypeKind::kInt:
      return store.make(static_cast<int64_t>(bits << unused_bits) >> unused_bits);
    case DtypeKind::kUint:
      if (bits <= static_cast<uint64_t>(INT64_MAX)) return store.make(static_cast<int64_t>(bits));
      break;
    case DtypeKind::kFloat:
      if (dtype->item_bytes == 8) return store.make(std::bit_cast<double>(bits));
      if (dtype->item_bytes == 4) {
        const auto single = std::bit_cast<float>(static_cast<uint32_t>(bits));
        return store.make(static_cast<double>(single));
      }
      break;
    default:
      break;
  }
  return bad(fmt::format("a scalar of type {} is refused", dtype->name()));
}

/// (version, byte order, subdtype, names, fields, item size, alignment, flags[, metadata])
Status build_dtype(Dtype& dtype, Arguments state) {
  const auto order = state.size() >= 8 && state.size() <= 9 ? state[1]->string() : std::nullopt;
  if (!order || order->size() != 1 ||
      std::string_view("<>|=").find(order->front()) == std::string_view::npos) {
    return bad("a dtype's state is not one that numpy writes");
  }
  for (const size_t field : {2, 3, 4}) {
    if (state[field]->get_if<None>() == nullptr) {
      return bad("a dtype with fields or a shape is refused; arrays of plain numbers are read");
    }
  }
  dtype.is_big_endian = order->front() == '>';
  // Byte strings and texts have their length here and 0 in the code that made them.
  if (const auto size = state[5]->integer(); size && *size >= 0) {
    const bool is_string = dtype.kind == DtypeKind::kBytes || dtype.kind == DtypeKind::kText;
    if (!is_string || *size > (int64_t{1} << 30)) {
      return bad(fmt::format("a dtype {} of {} bytes", dtype.name(), *size));
    }
    dtype.item_bytes = static_cast<uint32_t>(*size);
  }
  return Status::ok();
}

}  // namespace

Result<const AllowedGlobal*> find_global(std::string_view module, std::string_view name) {
  for (const AllowedGlobal& entry : kAllowed) {
    if (entry.module == module && entry.name == name) return &entry;
  }
  return bad(
      fmt::format("global '{}.{}' is refused: a data set does not need it, and to call it "
                  "could run code",
                  module.substr(0, 80), name.substr(0, 80)));
}

Result<Value*> call_global(Document::Store& store, const Value& callable, const Value& arguments) {
  const Global* global = callable.get_if<Global>();
  if (global == nullptr) return bad(fmt::format("a {} is called", callable.type_name()));
  if (arguments.get_if<Tuple>() == nullptr) {
    return bad(fmt::format("{}.{} is called with a {}, not a tuple", global->entry->module,
                           global->entry->name, arguments.type_name()));
  }
  const AllowedGlobal& entry = *global->entry;
  const Arguments items = arguments.items();
  switch (entry.callable) {
    case Callable::kReconstruct:
      return reconstruct(store, entry, items);
    case Callable::kDtype:
      return make_dtype(store, entry, items);
    case Callable::kScalar:
      return scalar(store, entry, items);
    case Callable::kFromBuffer:
      return from_buffer(store, entry, items);
    case Callable::kEncode:
      return encode(store, entry, items);
    case Callable::kBytes:
    case Callable::kByteArray:
      return make_bytes(store, entry, items);
    case Callable::kSet:
      return make_set(store, entry, items);
    case Callable::kOrderedDict:
      return make_ordered_dict(store, entry, items);
    case Callable::kNdarray:
      break;
  }
  return wrong_arguments(entry, items);
}

Status build_value(Value& target, const Value& state) {
  const Arguments items = state.items();
  if (auto* dtype = std::get_if<Dtype>(&target.data)) return build_dtype(*dtype, items);
  if (auto* array = std::get_if<Array*>(&target.data)) {
    // (version, shape, dtype, is Fortran, data); the version came with numpy 1.0.
    const Arguments last = items.size() == 5 ? items.subspan(1) : items;
    const auto is_fortran = last.size() == 4 ? last[2]->integer() : std::nullopt;
    if (!is_fortran) return bad("an array's state is not one that numpy writes");
    return fill_array(**array, *last[0], *last[1], *is_fortran != 0, *last[3]);
  }
  return bad(fmt::format("a {} is given a state; only arrays and dtypes are", target.type_name()));
}

}  // namespace tarn::dataset
