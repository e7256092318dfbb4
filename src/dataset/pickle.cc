#include "dataset/pickle.h"

#include <bit>
#include <cstring>
#include <unordered_map>

#include <fmt/format.h>

#include "base/file.h"
#include "dataset/pickle_globals.h"
#include "dataset/pickle_store.h"
#include "dataset/pickle_text.h"

namespace tarn::dataset {
namespace {

Status bad(std::string message) {
  return {Code::kBadFormat, std::move(message)};
}

/// The opcodes of pickletools.py by their names there.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kFloat = 'F',
  kInt = 'I',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kLong = 'L',
  kBinInt2 = 'M',
  kNone = 'N',
  kPersId = 'P',
  kBinPersId = 'Q',
  kReduce = 'R',
  kString = 'S',
  kBinString = 'T',
  kShortBinString = 'U',
  kUnicode = 'V',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kGet = 'g',
  kBinGet = 'h',
  kInst = 'i',
  kLongBinGet = 'j',
  kList = 'l',
  kObj = 'o',
  kPut = 'p',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kBinFloat = 'G',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kNewObj = 0x81,
  kExt1 = 0x82,
  kExt2 = 0x83,
  kExt4 = 0x84,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
  kNextBuffer = 0x97,
  kReadonlyBuffer = 0x98,
};

/// Why an opcode that exists is not executed; empty for every other.
std::string_view reason_of_refusal(uint8_t opcode) {
  switch (opcode) {
    case kPersId:
    case kBinPersId:
      return "it refers to an object outside the pickle (PERSID)";
    case kInst:
    case kObj:
    case kNewObj:
    case kNewObjEx:
      return "it makes an instance of a class (INST, OBJ or NEWOBJ)";
    case kExt1:
    case kExt2:
    case kExt4:
      return "it uses an extension registry (EXT)";
    case kNextBuffer:
    case kReadonlyBuffer:
      return "its data are in buffers outside the pickle (NEXT_BUFFER)";
    default:
      return {};
  }
}

/// The containers below `root`: none contains itself, none is nested deeper than the limit.
Status check_tree(const Value& root, uint64_t depth_max) {
  struct Step {
    const Value* value;
    size_t next = 0;
    uint64_t height = 0;
  };
  const auto child = [](const Value& value, size_t i) -> const Value* {
    if (const Dict* dict = value.get_if<Dict>()) {
      if (i / 2 >= dict->items.size()) return nullptr;
      const auto& [key, item] = dict->items[i / 2];
      return i % 2 == 0 ? key : item;
    }
    return i < value.items().size() ? value.items()[i] : nullptr;
  };
  constexpr uint64_t kUnderWay = UINT64_MAX;
  std::unordered_map<const Value*, uint64_t> heights;
  std::vector<Step> path = {{&root}};
  heights[&root] = kUnderWay;
  while (!path.empty()) {
    Step& step = path.back();
    const Value* below = child(*step.value, step.next++);
    if (below == nullptr) {
      const uint64_t height = step.height + 1;
      if (height > depth_max) {
        return bad(fmt::format("values are nested deeper than {}", depth_max));
      }
      heights[step.value] = height;
      path.pop_back();
      if (!path.empty()) path.back().height = std::max(path.back().height, height);
    } else if (child(*below, 0) != nullptr) {
      const auto [known, is_new] = heights.try_emplace(below, kUnderWay);
      if (is_new) {
        path.push_back({below});
      } else if (known->second == kUnderWay) {
        return bad("a container contains itself");
      } else {
        step.height = std::max(step.height, known->second);
      }
    }
  }
  return Status::ok();
}

/// The stack machine that a pickle is a program for.
class Machine {
 public:
  Machine(std::span<const std::byte> in, const PickleLimits& limits)
      : in_(as_text(in)), store_(std::make_unique<Document::Store>(limits, in.size())) {}

  Result<Document> run() {
    while (!is_done_) {
      const size_t begin = at_;
      const Status status = step();
      if (!status.is_ok()) return status.with_context(fmt::format("pickle, byte {}", begin));
    }
    store_->bytes_read = at_;
    TARN_TRY(check_tree(*store_->root, store_->limits.depth_max));
    return Document(std::move(store_));
  }

 private:
  Status step() {
    TARN_ASSIGN(const uint64_t opcode, number(1));
    switch (const auto op = static_cast<uint8_t>(opcode)) {
      case kProto:
        return set_protocol();
      case kFrame:
        return enter_frame();
      case kStop:
        return stop();
      case kMark:
        TARN_TRY(store_->charge(1));
        marks_.push_back(stack_.size());
        return Status::ok();
      case kReduce:
        return reduce();
      case kBuild:
        return build();
      case kGlobal:
        return global();
      case kStackGlobal:
        return stack_global();
      default:
        if (const auto reason = reason_of_refusal(op); !reason.empty()) {
          return bad(fmt::format("refused: {}", reason));
        }
        return step_number(op);
    }
  }

  Status step_number(uint8_t op) {
    switch (op) {
      case kNone:
        return push(None{});
      case kNewTrue:
      case kNewFalse:
        return push(op == kNewTrue);
      case kBinInt1:
        return push_number(1);
      case kBinInt2:
        return push_number(2);
      case kBinInt: {
        TARN_ASSIGN(const uint64_t bits, number(4));
        return push(int64_t{static_cast<int32_t>(static_cast<uint32_t>(bits))});
      }
      case kLong1:
      case kLong4: {
        TARN_ASSIGN(const std::string_view bytes, counted(op == kLong1 ? 1 : 4));
        TARN_ASSIGN(const int64_t value, parse_long_bytes(bytes));
        return push(value);
      }
      case kBinFloat: {
        TARN_ASSIGN(const std::string_view bytes, take(8));
        uint64_t bits = 0;
        for (const char byte : bytes) bits = bits << 8 | static_cast<unsigned char>(byte);
        return push(std::bit_cast<double>(bits));
      }
      case kInt:
      case kLong: {
        TARN_ASSIGN(const std::string_view text, line());
        if (op == kInt && (text == "00" || text == "01")) return push(text == "01");
        TARN_ASSIGN(const int64_t value, parse_integer_line(text));
        return push(value);
      }
      case kFloat: {
        TARN_ASSIGN(const std::string_view text, line());
        TARN_ASSIGN(const double value, parse_float_line(text));
        return push(value);
      }
      default:
        return step_string(op);
    }
  }

  Status step_string(uint8_t op) {
    switch (op) {
      case kShortBinString:
      case kShortBinBytes:
        return push_bytes(1);
      case kBinString:
      case kBinBytes:
        return push_bytes(4);
      case kBinBytes8:
      case kByteArray8:
        return push_bytes(8);
      case kShortBinUnicode:
        return push_text(1);
      case kBinUnicode:
        return push_text(4);
      case kBinUnicode8:
        return push_text(8);
      case kString: {
        TARN_ASSIGN(const std::string_view text, line());
        TARN_ASSIGN(std::string decoded, parse_string_line(text));
        TARN_ASSIGN(const std::string_view kept, store_->keep(std::move(decoded)));
        return push(Bytes{kept});
      }
      case kUnicode: {
        TARN_ASSIGN(const std::string_view text, line());
        TARN_ASSIGN(std::string decoded, parse_unicode_line(text));
        TARN_ASSIGN(const std::string_view kept, store_->keep(std::move(decoded)));
        return push(Text{kept});
      }
      default:
        return step_container(op);
    }
  }

  Status step_container(uint8_t op) {
    switch (op) {
      case kEmptyList:
        return push(List{});
      case kEmptyTuple:
        return push(Tuple{});
      case kEmptyDict:
        return push(Dict{});
      case kEmptySet:
        return push(Set{});
      case kList:
        return gather<List>();
      case kTuple:
        return gather<Tuple>();
      case kFrozenSet:
        return gather<Set>();
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return short_tuple(static_cast<size_t>(op - kTuple1) + 1);
      case kDict: {
        TARN_ASSIGN(const std::vector<Value*> items, pop_to_mark());
        TARN_TRY(push(Dict{}));
        return set_items(items);
      }
      case kAppend: {
        TARN_ASSIGN(Value * item, pop());
        return append<List>({item});
      }
      case kAppends:
      case kAddItems: {
        TARN_ASSIGN(const std::vector<Value*> items, pop_to_mark());
        return op == kAppends ? append<List>(items) : append<Set>(items);
      }
      case kSetItem: {
        TARN_ASSIGN(Value * value, pop());
        TARN_ASSIGN(Value * key, pop());
        return set_items({key, value});
      }
      case kSetItems: {
        TARN_ASSIGN(const std::vector<Value*> items, pop_to_mark());
        return set_items(items);
      }
      default:
        return step_memo(op);
    }
  }

  Status step_memo(uint8_t op) {
    switch (op) {
      case kPop:
        // Python takes a mark away when it is on top.
        if (!marks_.empty() && marks_.back() == stack_.size()) {
          marks_.pop_back();
          return Status::ok();
        }
        return pop().status();
      case kPopMark:
        return pop_to_mark().status();
      case kDup: {
        TARN_ASSIGN(Value * value, top());
        TARN_TRY(store_->charge(1));
        return push_value(value);
      }
      case kMemoize:
        return put(memo_count_);
      case kPut:
      case kGet: {
        TARN_ASSIGN(const std::string_view text, line());
        TARN_ASSIGN(const int64_t index, parse_integer_line(text));
        return op == kPut ? put(static_cast<uint64_t>(index)) : get(static_cast<uint64_t>(index));
      }
      case kBinPut:
      case kLongBinPut: {
        TARN_ASSIGN(const uint64_t index, number(op == kBinPut ? 1 : 4));
        return put(index);
      }
      case kBinGet:
      case kLongBinGet: {
        TARN_ASSIGN(const uint64_t index, number(op == kBinGet ? 1 : 4));
        return get(index);
      }
      default:
        return bad(fmt::format("no opcode {:#04x}", op));
    }
  }

  // --- the input
  Result<std::string_view> take(uint64_t length) {
    if (length > in_.size() - at_) {
      return bad(fmt::format("{} bytes are announced, {} are left", length, in_.size() - at_));
    }
    const std::string_view out = in_.substr(at_, length);
    at_ += length;
    return out;
  }
  /// A little-endian unsigned number.
  Result<uint64_t> number(size_t bytes) {
    TARN_ASSIGN(const std::string_view raw, take(bytes));
    uint64_t out = 0;
    for (size_t i = bytes; i-- > 0;) out = out << 8 | static_cast<unsigned char>(raw[i]);
    return out;
  }
  /// The bytes that follow a length of `bytes` bytes.
  Result<std::string_view> counted(size_t bytes) {
    TARN_ASSIGN(const uint64_t length, number(bytes));
    return take(length);
  }
  Result<std::string_view> line() {
    const size_t end = in_.find('\n', at_);
    if (end == std::string_view::npos) return bad("a line without its end");
    TARN_ASSIGN(const std::string_view out, take(end - at_));
    ++at_;
    return out;
  }

  // --- the stack
  Status push_value(Value* value) {
    stack_.push_back(value);
    return Status::ok();
  }
  template <class T>
  Status push(T data) {
    TARN_ASSIGN(Value * value, store_->make(std::move(data)));
    return push_value(value);
  }
  Status push_number(size_t bytes) {
    TARN_ASSIGN(const uint64_t value, number(bytes));
    return push(static_cast<int64_t>(value));
  }
  Status push_bytes(size_t length_bytes) {
    TARN_ASSIGN(const std::string_view view, counted(length_bytes));
    return push(Bytes{view});
  }
  Status push_text(size_t length_bytes) {
    TARN_ASSIGN(const std::string_view view, counted(length_bytes));
    return push(Text{view});
  }
  /// Where the topmost mark stands: nothing below it may be taken.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  Result<Value*> top() const {
    if (stack_.size() <= floor()) return bad("the stack is empty");
    return stack_.back();
  }
  Result<Value*> pop() {
    TARN_ASSIGN(Value * value, top());
    stack_.pop_back();
    return value;
  }
  Result<std::vector<Value*>> pop_to_mark() {
    if (marks_.empty()) return bad("there is no mark");
    const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Value*> out(from, stack_.end());
    stack_.erase(from, stack_.end());
    marks_.pop_back();
    return out;
  }

  // --- containers
  template <class T>
  Status gather() {
    TARN_ASSIGN(const std::vector<Value*> items, pop_to_mark());
    return push(T{{items.begin(), items.end()}});
  }
  Status short_tuple(size_t count) {
    Tuple tuple;
    tuple.items.resize(count);
    for (size_t i = count; i-- > 0;) {
      TARN_ASSIGN(tuple.items[i], pop());
    }
    return push(std::move(tuple));
  }
  template <class T>
  Status append(const std::vector<Value*>& items) {
    TARN_ASSIGN(Value * target, top());
    T* container = std::get_if<T>(&target->data);
    if (container == nullptr) {
      return bad(fmt::format("items are added to a {}", target->type_name()));
    }
    container->items.insert(container->items.end(), items.begin(), items.end());
    return Status::ok();
  }
  Status set_items(const std::vector<Value*>& items) {
    TARN_ASSIGN(Value * target, top());
    Dict* dict = std::get_if<Dict>(&target->data);
    if (dict == nullptr) return bad(fmt::format("keys are set in a {}", target->type_name()));
    if (items.size() % 2 != 0) return bad("a key without a value");
    for (size_t i = 0; i < items.size(); i += 2) dict->items.emplace_back(items[i], items[i + 1]);
    return Status::ok();
  }

  // --- the memo
  Status put(uint64_t index) {
    TARN_ASSIGN(Value * value, top());
    // Each entry takes a byte of the pickle at least, so a higher index comes from no pickler.
    if (index > in_.size()) {
      return bad(fmt::format("memo index {} in a pickle of {} bytes", index, in_.size()));
    }
    if (index >= memo_.size()) {
      TARN_TRY(store_->charge(index + 1 - memo_.size()));
      memo_.resize(index + 1);
    }
    if (memo_[index] == nullptr) ++memo_count_;
    memo_[index] = value;
    return Status::ok();
  }
  Status get(uint64_t index) {
    if (index >= memo_.size() || memo_[index] == nullptr) {
      return bad(fmt::format("nothing was memoized as {}", index));
    }
    TARN_TRY(store_->charge(1));
    return push_value(memo_[index]);
  }

  // --- the program
  Status set_protocol() {
    TARN_ASSIGN(const uint64_t version, number(1));
    if (version > 5) return bad(fmt::format("protocol {}; 0 to 5 are read", version));
    store_->protocol = static_cast<int>(version);
    return Status::ok();
  }
  /// Frames only tell a reader how much to read at once; here everything is at hand.
  Status enter_frame() {
    TARN_ASSIGN(const uint64_t length, number(8));
    if (length <= in_.size() - at_) return Status::ok();
    return bad(fmt::format("a frame of {} bytes, {} are left", length, in_.size() - at_));
  }
  Status stop() {
    TARN_ASSIGN(store_->root, pop());
    is_done_ = true;
    return Status::ok();
  }
  Status push_global(std::string_view module, std::string_view name) {
    TARN_ASSIGN(const AllowedGlobal* entry, find_global(module, name));
    return push(Global{entry});
  }
  Status global() {
    TARN_ASSIGN(const std::string_view module, line());
    TARN_ASSIGN(const std::string_view name, line());
    return push_global(module, name);
  }
  Status stack_global() {
    TARN_ASSIGN(const Value* name, pop());
    TARN_ASSIGN(const Value* module, pop());
    const Text* both[] = {module->get_if<Text>(), name->get_if<Text>()};
    if (both[0] == nullptr || both[1] == nullptr) return bad("a global without a name");
    return push_global(both[0]->utf8, both[1]->utf8);
  }
  Status reduce() {
    TARN_ASSIGN(const Value* arguments, pop());
    TARN_ASSIGN(const Value* callable, pop());
    TARN_ASSIGN(Value * result, call_global(*store_, *callable, *arguments));
    return push_value(result);
  }
  Status build() {
    TARN_ASSIGN(const Value* state, pop());
    TARN_ASSIGN(Value * target, top());
    return build_value(*target, *state);
  }

  std::string_view in_;
  size_t at_ = 0;
  bool is_done_ = false;
  std::unique_ptr<Document::Store> store_;
  std::vector<Value*> stack_;
  std::vector<size_t> marks_;
  std::vector<Value*> memo_;
  uint64_t memo_count_ = 0;
};

}  // namespace

const Value* Dict::find(std::string_view key) const {
  for (size_t i = items.size(); i-- > 0;) {
    if (items[i].first->string() == key) return items[i].second;
  }
  return nullptr;
}

std::optional<int64_t> Value::integer() const {
  if (const auto* held = get_if<int64_t>()) return *held;
  if (const auto* held = get_if<bool>()) return *held ? 1 : 0;
  return std::nullopt;
}

std::optional<std::string_view> Value::string() const {
  if (const auto* held = get_if<Text>()) return held->utf8;
  if (const auto* held = get_if<Bytes>()) return held->view;
  return std::nullopt;
}

std::span<const Value* const> Value::items() const {
  if (const auto* held = get_if<List>()) return held->items;
  if (const auto* held = get_if<Tuple>()) return held->items;
  if (const auto* held = get_if<Set>()) return held->items;
  return {};
}

std::string_view Value::type_name() const {
  constexpr std::string_view kNames[] = {"None",    "bool",  "int",   "float", "str",
                                         "bytes",   "list",  "tuple", "set",   "dict",
                                         "ndarray", "dtype", "global"};
  static_assert(std::size(kNames) == std::variant_size_v<decltype(data)>);
  return kNames[data.index()];
}

Document::Document(std::unique_ptr<Store> store) : store_(std::move(store)) {}
Document::Document(Document&& other) noexcept = default;
Document& Document::operator=(Document&& other) noexcept = default;
Document::~Document() = default;

const Value& Document::root() const {
  return *store_->root;
}

int Document::protocol() const {
  return store_->protocol;
}

uint64_t Document::bytes_read() const {
  return store_->bytes_read;
}

Result<Document> parse_pickle(std::span<const std::byte> bytes, const PickleLimits& limits) {
  return Machine(bytes, limits).run();
}

}  // namespace tarn::dataset
